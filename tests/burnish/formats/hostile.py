"""Every way known here in which a `.pt2` can run code or touch files when torch loads it; each would make a marker.

Each attack is a function of the marker's path that gives the bytes of an archive, built from an honest one.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.burnish.formats.archives import CONSTANTS, MODEL, WEIGHTS, Members, edited, graph_of, honest, pack

META = {
    "dtype": 7, "sizes": [{"as_int": 1}], "requires_grad": False, "device": {"type": "cpu", "index": None},
    "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7,
}  # fmt: skip


class _Touch:
    """A pickle of this makes the marker when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def _code(marker: Path) -> str:
    """A Python expression that makes the marker."""
    return f"__import__('os').mkdir('{marker}')"


def _torch_pickle(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(_Touch(marker), buffer)
    return buffer.getvalue()


def sample_inputs(marker: Path) -> bytes:
    return pack({**honest(), "data/sample_inputs/model.pt": _torch_pickle(marker)})


def pickled_weight(marker: Path) -> bytes:
    def edit(config: Any) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    return pack({**edited(honest(), WEIGHTS, edit), "data/weights/weight_0": _torch_pickle(marker)})


def _constant(path: str, payload: bytes, pickled: bool) -> bytes:
    def edit(config: Any) -> None:
        config["config"]["c"] = {"path_name": path, "is_param": False, "use_pickle": pickled, "tensor_meta": META}

    return pack({**edited(honest(), CONSTANTS, edit), f"data/constants/{path}": payload})


def pickled_constant(marker: Path) -> bytes:
    return _constant("tensor_0", _torch_pickle(marker), True)


def opaque_object(marker: Path) -> bytes:
    return _constant("opaque_obj_0", pickle.dumps(_Touch(marker)), True)


def custom_object(marker: Path) -> bytes:
    return _constant("custom_obj_0", _torch_pickle(marker), False)


def legacy_weights(marker: Path) -> bytes:
    return pack({**honest(), "data/weights/model.pt": _torch_pickle(marker)})


def legacy_constants(marker: Path) -> bytes:
    return pack({**honest(), "data/constants/model.pt": _torch_pickle(marker)})


def torch_2_7_format(marker: Path) -> bytes:
    payload = _torch_pickle(marker)
    return pack({
        "serialized_exported_program.json": honest()[MODEL], "serialized_state_dict.pt": payload,
        "serialized_constants.pt": payload, "serialized_example_inputs.pt": payload, "version": b"8.20",
    })  # fmt: skip


def _in_program(edit: Callable[[Any], None], members: Members | None = None) -> bytes:
    return pack(edited(members or honest(), MODEL, edit))


def expression(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        for meta in graph_of(program)["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = _code(marker)

    return _in_program(edit)


def expression_of_a_constant_size(marker: Path) -> bytes:
    def edit(config: Any) -> None:
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta["sizes"][0] = {"as_expr": {"expr_str": _code(marker), "hint": None}}

    return pack(edited(honest(), WEIGHTS, edit))


def guards(marker: Path) -> bytes:
    return _in_program(lambda program: program.update(guards_code=[_code(marker) + " or True"]))


def operator_outside_torch_ops(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        node = graph_of(program)["nodes"][0]
        node["target"] = "torch.os.mkdir"
        node["inputs"] = [{"name": "path", "arg": {"as_string": str(marker)}, "kind": 1}]

    return _in_program(edit)


def operator_on_files(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        node = graph_of(program)["nodes"][0]
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [
            {"name": "filename", "arg": {"as_string": str(marker)}, "kind": 1},
            {"name": "shared", "arg": {"as_bool": True}, "kind": 1},
            {"name": "size", "arg": {"as_int": 64}, "kind": 1},
        ]

    return _in_program(edit)


def operator_as_argument(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        graph_of(program)["nodes"][0]["inputs"][0]["arg"] = {"as_operator": "torch.os.mkdir"}

    return _in_program(edit)


def _renamed(old: str, new: str) -> bytes:
    """Every value that is called `old` is called `new`."""
    members = honest()
    text = members[MODEL].decode().replace(json.dumps(old), json.dumps(new))
    return pack({**members, MODEL: text.encode()})


def name_of_an_input(marker: Path) -> bytes:
    return _renamed("features", f"features=({_code(marker)})")


def name_of_a_value(marker: Path) -> bytes:
    return _renamed("relu", f"relu = {_code(marker)}; relu")


def name_of_a_forward_argument(marker: Path) -> bytes:
    def edit(program: Any) -> None:
        call = program["graph_module"]["module_call_graph"][0]["signature"]
        call["forward_arg_names"] = [f"features=({_code(marker)})"]

    return _in_program(edit)


def name_of_a_parameter(marker: Path) -> bytes:
    evil = f'x", {_code(marker)}) or getattr(self, "y'.replace(".", "\\x2e")
    members = honest()
    for member in (MODEL, WEIGHTS):
        text = members[member].decode().replace('"layers.0.weight"', json.dumps(evil))
        members = {**members, member: text.encode()}
    return pack(members)


def _importable(marker: Path) -> str:
    """A module beside the marker that makes it when it is imported; the tests put its folder on `sys.path`."""
    name = "burnish_hostile_module"
    (marker.parent / f"{name}.py").write_text(f"import enum\n{_code(marker)}\nclass E(enum.Enum):\n    A = 1\n")
    return name


LEAF = {"type": None, "context": None, "children_spec": []}


def _tree(key: str, node: Any, place: int = 0) -> bytes:
    """An archive whose model, or the part of it at `place`, takes or returns this container."""

    def in_program(program: Any) -> None:
        calls = program["graph_module"]["module_call_graph"]
        calls[place]["signature"] = {**calls[0]["signature"], key: json.dumps([1, node])}

    return _in_program(in_program)


def _defaultdict(marker: Path) -> Any:
    context = {"default_factory_module": _importable(marker), "default_factory_name": "E", "dict_context": ["a"]}
    return {"type": "collections.defaultdict", "context": context, "children_spec": [LEAF]}


def _enum(marker: Path) -> Any:
    key = {"__enum__": True, "fqn": f"{_importable(marker)}:E", "name": "A"}
    return {"type": "builtins.dict", "context": json.dumps([key]), "children_spec": [LEAF]}


def tree_of_a_defaultdict(marker: Path) -> bytes:
    return _tree("out_spec", _defaultdict(marker))


def tree_of_an_enum(marker: Path) -> bytes:
    return _tree("out_spec", _enum(marker))


def _in_tuple(node: Any) -> Any:
    """Another text than the node's: torch keeps what it has read of one, and would not read it again."""
    return {"type": "builtins.tuple", "context": "null", "children_spec": [node]}


def tree_of_inputs(marker: Path) -> bytes:
    return _tree("in_spec", _in_tuple(_enum(marker)))


def tree_of_a_part(marker: Path) -> bytes:
    return _tree("out_spec", _in_tuple(_defaultdict(marker)), place=1)


def name_of_an_output(marker: Path) -> bytes:
    key = f'x": {_code(marker)}, "y'
    return _tree("out_spec", {"type": "builtins.dict", "context": json.dumps([key]), "children_spec": [LEAF]})


def compiled_code(marker: Path) -> bytes:
    return pack({**honest(), "data/aotinductor/model/model.so": b"\x7fELF not loaded"})


NEUTRALISED = (
    sample_inputs, guards, name_of_a_forward_argument, name_of_an_output, tree_of_a_defaultdict, tree_of_an_enum,
    tree_of_inputs, tree_of_a_part,
)  # fmt: skip
"""Accepted, since the part that would run is not in the rewritten archive."""
REFUSED = (
    pickled_weight, pickled_constant, opaque_object, custom_object, legacy_weights, legacy_constants, torch_2_7_format,
    expression, expression_of_a_constant_size, operator_outside_torch_ops, operator_on_files, operator_as_argument,
    name_of_an_input, name_of_a_value, name_of_a_parameter, compiled_code,
)  # fmt: skip
REAL = (
    sample_inputs, guards, pickled_weight, pickled_constant, opaque_object, legacy_weights, legacy_constants,
    expression, operator_on_files, name_of_an_input, tree_of_a_defaultdict, tree_of_an_enum, tree_of_inputs,
    tree_of_a_part,
)  # fmt: skip
"""Those that make their marker when plain torch 2.13 loads the archive and calls the program; the others fail there."""
