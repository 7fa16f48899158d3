"""How the outputs of a program are nested, as torch writes it, read into a name for each of them.

The text itself never goes on to torch: its `treespec_loads` imports what a `defaultdict` or an enum in it names, and
refuses a container whose library was not imported. So a container may be of any type; only its keys are of use here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from burnish.formats.grammar import Place, refuse

__all__ = ["Leaves", "read_leaves"]

_LONGEST = 100_000
_LONGEST_NAME = 500
_NAMEDTUPLE = "collections.namedtuple"


@dataclass(frozen=True)
class Leaves:
    """The leaves of a tree, in order."""

    names: tuple[str, ...]
    """The keys and positions on the way to each, joined by underscores as torch joins those of inputs; no two alike."""
    named: bool
    """False if there are but positions."""


def read_leaves(text: Any, fields: Any, place: Place) -> Leaves:
    """Reads what `treespec_dumps` writes.

    In `{"logits": x, "states": (y, z)}` z is `states_1`; so it is if the outer container is a dataclass or a named
    tuple with these fields. What is no letter or digit becomes an underscore, and a name that is taken gets a number.

    Args:
        fields: the names of the fields of each type of named tuple, as the program lists them.

    Raises:
        InvalidModel: it is no such text.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        refuse("A tree as text is expected.", place)
    found = _decoded(text)
    if not isinstance(found, list) or len(found) != 2 or found[0] != 1:
        refuse("The tree is no JSON, or of an unknown version.", place)
    leaves = list(_leaves(found[1], "", False, fields, place))
    return Leaves(tuple(_distinct(name for name, _ in leaves)), any(named for _, named in leaves))


def _leaves(node: Any, name: str, named: bool, fields: Any, place: Place) -> Iterator[tuple[str, bool]]:
    match node:
        case {"type": None, "context": None, "children_spec": []}:
            yield name, named
        case {"type": str(kind), "context": context, "children_spec": [*children]}:
            keys = _keys(kind, context, len(children), fields)
            for key, child in zip(keys or map(str, range(len(children))), children, strict=True):
                inner = f"{name}_{_plain(key)}" if name else _plain(key)
                if len(inner) > _LONGEST_NAME:
                    refuse(f"The name {inner!r:.60} of an output is too long.", place, "Return dicts of shorter keys.")
                yield from _leaves(child, inner, named or bool(keys), fields, place)
        case _:
            refuse("The tree is malformed.", place)


def _keys(kind: str, context: Any, count: int, fields: Any) -> list[str]:
    """The key of each child; empty if there are but positions.

    A dict lists its keys, and so does an output of `transformers`; a dataclass its fields, and in a second list those
    that are `None`; a named tuple says its type.
    """
    listed = _fields_of(context, fields) if kind == _NAMEDTUPLE else _decoded(context)
    if isinstance(listed, list) and len(listed) == 2 and isinstance(listed[0], list):
        listed = listed[0]
    if isinstance(listed, list) and len(listed) == count and all(isinstance(key, str) for key in listed):
        return listed
    return []


def _fields_of(kind: Any, fields: Any) -> Any:
    entry = fields.get(kind) if isinstance(fields, dict) and isinstance(kind, str) else None
    return entry.get("field_names") if isinstance(entry, dict) else None


def _decoded(text: Any) -> Any:
    """What the text is the JSON of; `None` if it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def _plain(key: str) -> str:
    return re.sub(r"\W", "_", key, flags=re.ASCII)


def _distinct(names: Iterator[str]) -> Iterator[str]:
    taken = set[str]()
    for name in names:
        free, number = name, 0
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        yield free
