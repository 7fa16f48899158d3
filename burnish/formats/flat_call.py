"""Rewrites how a program is called: tensors by position in; a tensor, a tuple of tensors or a dict of them out.

Users call their models by keyword, with nested inputs, with `None` and numbers beside the tensors, and get containers
of any library back. In the graph all of that is a list of inputs and a list of outputs already, so only what is said
around it is rewritten, and whatever reads a program afterwards knows one way to call it:

1. Inputs are the graph's, in its order and under its names: torch names an input after its argument, and a nested one
   after the way to it (`batch["ids"]` is `batch_ids`).
2. An argument that was `None`, a number, a flag or a text is a constant of the graph by then, and no input.
3. An output that is `None` is left out.
4. Outputs that have names come as a dict of them (`trees.py`); others as a tuple, or the tensor itself if it is one.
5. How the parts of the model were called is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from burnish.formats.grammar import Place, refuse
from burnish.formats.trees import Leaves, read_leaves

__all__ = ["FlatProgram", "flat_call"]

_LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}


@dataclass(frozen=True)
class FlatProgram:
    """A program that takes and gives nothing but tensors."""

    program: dict[str, Any]
    """The whole JSON."""
    inputs: tuple[str, ...]
    """The tensors that it takes, as the graph names them."""
    outputs: tuple[str, ...]
    """The tensors that it gives, as the graph names them."""
    output_names: tuple[str, ...]
    """What users know them by: the keys of the dict that it gives, or else the graph's names."""


def flat_call(program: dict[str, Any], place: Place) -> FlatProgram:
    """The same program, called by flat tensors.

    Args:
        program: keeps the rule of `program_json`.

    Raises:
        InvalidModel: what it says of its call is not what its graph has.
    """
    place = (place, "graph_module")
    module = program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    given = [
        (spec, value)
        for spec, value in _pairs(signature["input_specs"], graph["inputs"], (place, "signature"))
        if "constant_input" not in spec
    ]
    returned = _pairs(signature["output_specs"], graph["outputs"], (place, "signature"))
    leaves, others = _called(module, len(returned), (place, "module_call_graph"))
    kept = [
        (spec, value, name)
        for (spec, value), name in zip(returned, leaves.names, strict=True)
        if "as_none" not in spec["user_output"]["arg"]
    ]
    inputs = tuple(spec["user_input"]["arg"]["as_tensor"]["name"] for spec, _ in given if "user_input" in spec)
    if len(set(inputs)) != len(inputs):
        refuse("Two of its inputs have the same name.", (place, "signature"))
    outputs = tuple(spec["user_output"]["arg"]["as_tensor"]["name"] for spec, _, _ in kept)
    names = tuple(name for _, _, name in kept) if leaves.named else outputs
    flat = {
        **module,
        "graph": {**graph, "inputs": [value for _, value in given], "outputs": [value for _, value, _ in kept]},
        "signature": {"input_specs": [spec for spec, _ in given], "output_specs": [spec for spec, _, _ in kept]},
        "module_call_graph": [{"fqn": "", "signature": _call(inputs, _container(names, leaves.named))}, *others],
    }
    return FlatProgram({**program, "graph_module": flat}, inputs, outputs, names)


def _pairs(specs: list[Any], values: list[Any], place: Place) -> list[tuple[Any, Any]]:
    """What the signature says of each input or output, with what the graph has there."""
    if len(specs) != len(values):
        refuse(f"The signature speaks of {len(specs)} values where the graph has {len(values)}.", place)
    return list(zip(specs, values, strict=True))


def _called(module: dict[str, Any], count: int, place: Place) -> tuple[Leaves, list[Any]]:
    """The leaves of what the model returns, `count` of them; and its parts, without how they were called."""
    calls = module["module_call_graph"]
    if not calls or calls[0].get("signature") is None or calls[0]["fqn"] != "":
        refuse("It does not say how the model is called.", place)
    leaves = read_leaves(calls[0]["signature"]["out_spec"], module.get("treespec_namedtuple_fields"), place)
    if len(leaves.names) != count:
        refuse(f"It returns {count} values in a container of {len(leaves.names)}.", place)
    return leaves, [{"fqn": call["fqn"], "signature": None} for call in calls[1:]]


def _container(names: tuple[str, ...], named: bool) -> dict[str, Any]:
    """What holds the outputs, as `treespec_loads` reads it."""
    if named:
        return _node("builtins.dict", list(names), len(names))
    return _LEAF if len(names) == 1 else _node("builtins.tuple", None, len(names))


def _call(inputs: tuple[str, ...], outputs: dict[str, Any]) -> dict[str, Any]:
    arguments = _node("builtins.tuple", None, len(inputs))
    pair = {**_node("builtins.tuple", None, 0), "children_spec": [arguments, _node("builtins.dict", [], 0)]}
    return {
        "inputs": [],
        "outputs": [],
        "in_spec": json.dumps([1, pair]),
        "out_spec": json.dumps([1, outputs]),
        "forward_arg_names": list(inputs),
    }


def _node(kind: str, keys: list[str] | None, leaves: int) -> dict[str, Any]:
    return {"type": kind, "context": json.dumps(keys), "children_spec": [_LEAF] * leaves}
