"""How inputs and outputs are nested, as JSON text that torch hands to `treespec_loads`.

That function imports any module that a `defaultdict` or an enum in it names, so only plain containers are let through.
"""

from __future__ import annotations

import json
from typing import Any

from burnish.formats.grammar import Place, refuse

__all__ = ["flat_inputs", "tree"]

_SEQUENCES = frozenset({"builtins.tuple", "builtins.list", "torch.fx.immutable_collections.immutable_list"})
_DICTS = frozenset({
    "builtins.dict", "collections.OrderedDict", "torch.fx.immutable_collections.immutable_dict",
})  # fmt: skip
_CURE = "Let the model take and return tensors, tuples, lists and dicts of them."
_LONGEST = 100_000


def tree(value: Any, place: Place) -> None:
    """The rule for a tree: leaves in tuples, lists and dicts with text keys."""
    _check(_parse(value, place), place)


def flat_inputs(value: Any, place: Place) -> None:
    """The rule for the inputs of a program: positional tensors, no keywords, nothing nested."""
    match _parse(value, place):
        case {
            "type": "builtins.tuple",
            "children_spec": [{"type": "builtins.tuple", "children_spec": inputs}, {"children_spec": []}],
        } if all(isinstance(leaf, dict) and leaf.get("type") is None for leaf in inputs):
            return
    refuse(
        "The model takes keyword arguments or nested inputs.",
        place,
        "Wrap it in a module whose `forward` takes tensors by position, and export that.",
    )


def _parse(value: Any, place: Place) -> Any:
    if not isinstance(value, str) or len(value) > _LONGEST:
        refuse("A tree as text is expected.", place)
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        refuse("The tree is no JSON.", place)
    if not isinstance(parsed, list) or len(parsed) != 2 or parsed[0] != 1:
        refuse("The tree is of an unknown version.", place)
    return parsed[1]


def _check(node: Any, place: Place) -> None:
    if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
        refuse("The tree is malformed.", place)
    kind, context, children = node["type"], node["context"], node["children_spec"]
    if not isinstance(children, list):
        refuse("The tree is malformed.", place)
    if kind is None and context is None and not children:
        return
    if not isinstance(kind, str) or kind not in _SEQUENCES | _DICTS:
        refuse(f"The model takes or returns a {kind!r:.80}.", place, _CURE)
    keys = _context(context, place)
    if kind in _SEQUENCES and keys is not None:
        refuse("The tree is malformed.", place)
    if kind in _DICTS and not (
        isinstance(keys, list) and len(keys) == len(children) and all(isinstance(key, str) for key in keys)
    ):
        refuse("A dict of the model has keys that are no text.", place, _CURE)
    for child in children:
        _check(child, place)


def _context(context: Any, place: Place) -> Any:
    if not isinstance(context, str):
        refuse("The tree is malformed.", place)
    try:
        return json.loads(context)
    except (ValueError, RecursionError):
        refuse("The tree is malformed.", place)
