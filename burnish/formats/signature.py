"""What a program takes and gives, from its JSON (which was checked by `program_json`)."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from burnish.errors import InvalidModel
from burnish.formats.flat_call import FlatProgram
from burnish.formats.grammar import EXPORT_AGAIN
from burnish.formats.members import MODEL
from burnish.formats.program_json import DTYPES
from burnish.formats.weights import Weights
from burnish.results import Signature, TensorSpec

__all__ = ["read_signature"]

_SYMBOL = re.compile(r"Symbol\('(\w+)'.*\)|(\w+)")


def read_signature(flat: FlatProgram, weights: Weights, constants: Weights) -> Signature:
    """Inputs, outputs, the bound of the batch, and the number of weights.

    Raises:
        InvalidModel: it names a tensor that is not there, takes no input or gives no output.
    """
    module = flat.program["graph_module"]
    for spec in module["signature"]["input_specs"]:
        ((kind, entry),) = spec.items()
        if kind != "user_input":
            _check_weight(kind, entry, weights, constants)
    inputs = tuple(_tensor(name, name, module["graph"]) for name in flat.inputs)
    outputs = tuple(
        _tensor(name, node, module["graph"]) for name, node in zip(flat.output_names, flat.outputs, strict=True)
    )
    if not inputs or not outputs:
        _refuse("The model takes no input, or gives no output.", "Export a model that takes and returns tensors.")
    if not all(tensor.shape for tensor in inputs):
        _refuse("An input has no dimensions.", "Give every input the batch as its first dimension.")
    return Signature(
        inputs=inputs,
        outputs=outputs,
        max_batch=_max_batch(inputs[0].name, flat.program),
        parameters=sum(weights.values()),
    )


def _tensor(name: str, node: str, graph: dict[str, Any]) -> TensorSpec:
    """What users call `name` and the graph `node`."""
    meta = graph["tensor_values"].get(node)
    if meta is None:
        _refuse(f"The tensor {node!r:.100} has no shape.")
    return TensorSpec(name=name, dtype=DTYPES[meta["dtype"]], shape=tuple(size.get("as_int") for size in meta["sizes"]))


def _check_weight(kind: str, entry: dict[str, Any], weights: Weights, constants: Weights) -> None:
    """Buffers that are not persistent are stored with the constants."""
    name = entry[{"parameter": "parameter_name", "buffer": "buffer_name"}.get(kind, "tensor_constant_name")]
    if name not in weights and (kind == "parameter" or name not in constants):
        _refuse(f"The weight {name!r:.100} is not in the archive.")


def _max_batch(first_input: str, program: dict[str, Any]) -> int | None:
    """Upper bound of dimension 0 of the first input, where it is a plain symbol with one."""
    size = program["graph_module"]["graph"]["tensor_values"][first_input]["sizes"][0]
    if "as_int" in size:
        return int(size["as_int"])
    match = _SYMBOL.fullmatch(size["as_expr"]["expr_str"])
    bounds = program["range_constraints"].get(match[1] or match[2]) if match else None
    return bounds["max_val"] if bounds else None


def _refuse(message: str, cure: str = EXPORT_AGAIN) -> NoReturn:
    raise InvalidModel(message, cure=cure, where=MODEL)
