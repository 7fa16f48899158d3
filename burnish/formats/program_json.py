"""The rule that `models/model.json` must keep: the schema of torch's programs, narrowed to what only computes.

Spec: `torch/_export/serde/schema.py` (version 8). Names are narrow because `torch.fx` writes them, unquoted, into
Python source that it executes; strings are quoted there. Custom objects, tokens and operator arguments are left out.
"""

from __future__ import annotations

from typing import Any

from burnish.formats.expressions import expression_fault
from burnish.formats.grammar import (
    EXPORT_AGAIN,
    Place,
    Rule,
    anything,
    flag,
    integer,
    later,
    list_of,
    mapping_of,
    number,
    one_of,
    optional,
    record,
    refuse,
    text,
    union,
)
from burnish.formats.operators import operator_fault

__all__ = ["DTYPES", "FQN", "PROGRAM", "TENSOR_META"]

DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
"""Element types by their number in the schema."""

_EVAL = "Call `module.eval()` before you export, and keep state out of the model."
_RETURN_TENSORS = "Return tensors only (a number as `torch.tensor(x)`); what is `None` is left out by itself."
_FIXED = "Export it with that number fixed (without a `Dim` for it), or let the model take a tensor."
_CPU = "Move the model to the CPU (`module.cpu()`) before you export it; Burnish moves it to the target."

_NAME = text(r"[A-Za-z_]\w*", 500, "name of a value")
_ARGUMENT_NAME = text(r"(?:[A-Za-z_]\w*)?", 500, "name of an argument")
FQN = text(r"[\w.\-/:+@ ]*", 1000, "name of a parameter or module")
"""Dotted path of a parameter, buffer or module."""
_STRING = text(r"[ -~\n]*", 2000, "text")
_WORD = text(r"[\w.+<>=\-]{0,64}", 64, "version")


def _expression(value: Any, place: Place) -> None:
    fault = expression_fault(value)
    if fault is not None:
        refuse(f"The size {value!r:.80} is refused: {fault}.", place)


def _operator(value: Any, place: Place) -> None:
    fault = operator_fault(value)
    if fault is not None:
        cure = "Export a model of stock torch operators; custom operators are code that Burnish does not run."
        refuse(f"The operator {value!r:.80} is refused: {fault}.", place, cure)


_HINT = optional(union({"as_int": integer, "as_bool": flag, "as_float": number}))
_EXPR = record({"expr_str": _expression}, {"hint": _HINT})
_SYM_INT = union({"as_expr": _EXPR, "as_int": integer})
_SYM_FLOAT = union({"as_expr": _EXPR, "as_float": number})
_SYM_BOOL = union({"as_expr": _EXPR, "as_bool": flag})
_DTYPE = one_of(*DTYPES)
_STRIDED = one_of(7, cure="Export a model of dense tensors.")
_DEVICE = record({"type": one_of("cpu", cure=_CPU)}, {"index": optional(one_of(0))})
TENSOR_META = record({
    "dtype": _DTYPE, "sizes": list_of(_SYM_INT), "requires_grad": flag, "device": _DEVICE,
    "strides": list_of(_SYM_INT), "storage_offset": _SYM_INT, "layout": _STRIDED,
})  # fmt: skip
"""The rule for a tensor's type, shape and layout."""

_TENSOR = record({"name": _NAME})
_OPTIONAL_TENSOR = union({"as_tensor": _TENSOR, "as_none": flag})
_INT_ARGUMENT = union({"as_name": _NAME, "as_int": integer})
_FLOAT_ARGUMENT = union({"as_name": _NAME, "as_float": number})
_BOOL_ARGUMENT = union({"as_name": _NAME, "as_bool": flag})
_ARGUMENT = union({
    "as_none": flag, "as_tensor": _TENSOR, "as_tensors": list_of(_TENSOR), "as_int": integer,
    "as_ints": list_of(integer),
    "as_float": number, "as_floats": list_of(number), "as_string": _STRING, "as_strings": list_of(_STRING),
    "as_sym_int": _INT_ARGUMENT, "as_sym_ints": list_of(_INT_ARGUMENT), "as_scalar_type": _DTYPE,
    "as_memory_format": one_of(0, 1, 2, 3, 4), "as_layout": _STRIDED, "as_device": _DEVICE, "as_bool": flag,
    "as_bools": list_of(flag), "as_sym_bool": _BOOL_ARGUMENT, "as_sym_bools": list_of(_BOOL_ARGUMENT),
    "as_sym_float": _FLOAT_ARGUMENT, "as_sym_floats": list_of(_FLOAT_ARGUMENT),
    "as_optional_tensor": _OPTIONAL_TENSOR, "as_optional_tensors": list_of(_OPTIONAL_TENSOR),
    "as_complex": record({"real": number, "imag": number}), "as_nested_tensors": list_of(list_of(_TENSOR)),
    "as_int_lists": list_of(list_of(integer)), "as_float_lists": list_of(list_of(number)),
    "as_graph": record({"name": _NAME, "graph": later(lambda: _GRAPH)}),
}, {
    "as_custom_obj": ("A custom object is code in disguise.", "Export a model of plain tensors."),
    "as_operator": ("An operator as an argument is not supported.", EXPORT_AGAIN),
})  # fmt: skip
_NODE = record(
    {"target": _operator, "outputs": list_of(_ARGUMENT), "metadata": anything,
     "inputs": list_of(record({"name": _ARGUMENT_NAME, "arg": _ARGUMENT}, {"kind": optional(one_of(0, 1, 2))}))},
    {"is_hop_single_tensor_return": optional(flag), "name": optional(_NAME)},
)  # fmt: skip
_GRAPH: Rule = record(
    {"inputs": list_of(_ARGUMENT), "outputs": list_of(_ARGUMENT), "nodes": list_of(_NODE),
     "tensor_values": mapping_of(_NAME, TENSOR_META), "sym_int_values": mapping_of(_NAME, _SYM_INT),
     "sym_bool_values": mapping_of(_NAME, _SYM_BOOL)},
    {"is_single_tensor_return": flag, "custom_obj_values": one_of({}, cure="Export a model of plain tensors."),
     "sym_float_values": mapping_of(_NAME, _SYM_FLOAT)},
)  # fmt: skip

_FREE = ("The model takes a number that may change from call to call.", _FIXED)
_NUMBER = ("The model returns a value that is no tensor.", _RETURN_TENSORS)
_OBJECT = ("A custom object is code in disguise.", "Export a model of plain tensors.")
_NUMBERS = ("as_sym_int", "as_sym_float", "as_sym_bool")
_CONSTANTS = ("as_int", "as_float", "as_bool", "as_string")
_INPUT_SPEC = union({
    "user_input": record({
        "arg": union({"as_tensor": _TENSOR}, {"as_custom_obj": _OBJECT, **dict.fromkeys(_NUMBERS, _FREE)}),
    }),
    "parameter": record({"arg": _TENSOR, "parameter_name": FQN}),
    "buffer": record({"arg": _TENSOR, "buffer_name": FQN, "persistent": flag}),
    "tensor_constant": record({"arg": _TENSOR, "tensor_constant_name": FQN}),
    "constant_input": anything,
}, {"custom_obj": _OBJECT})  # fmt: skip
_OUTPUT_SPEC = union({
    "user_output": record({
        "arg": union({"as_tensor": _TENSOR, "as_none": flag}, dict.fromkeys((*_CONSTANTS, *_NUMBERS), _NUMBER)),
    }),
}, {
    "buffer_mutation": ("The model changes its own buffers when it runs.", _EVAL),
    "parameter_mutation": ("The model changes its own parameters when it runs.", _EVAL),
    "user_input_mutation": ("The model changes its input when it runs.", "Let it work on a copy of its input."),
    "loss_output": ("The model was exported with its training loss.", _EVAL),
})  # fmt: skip
_CALL = record(
    {"inputs": anything, "outputs": anything, "in_spec": anything, "out_spec": anything},
    {"forward_arg_names": anything},
)
_GRAPH_MODULE = record(
    {"graph": _GRAPH,
     "signature": record({"input_specs": list_of(_INPUT_SPEC), "output_specs": list_of(_OUTPUT_SPEC)}),
     "module_call_graph": list_of(record({"fqn": FQN}, {"signature": optional(_CALL)}))},
    {"metadata": anything, "treespec_namedtuple_fields": anything},
)  # fmt: skip
_RANGE = record({"min_val": optional(integer), "max_val": optional(integer)})
PROGRAM = record(
    {"graph_module": _GRAPH_MODULE, "range_constraints": mapping_of(_expression, _RANGE),
     "opset_version": mapping_of(_NAME, integer),
     "schema_version": record({"major": one_of(8), "minor": integer})},
    {"verifiers": list_of(one_of("TRAINING", "ATEN")), "torch_version": _WORD, "guards_code": anything},
)  # fmt: skip
"""The rule for a whole program. How it is called is not looked at here: `flat_call` says that anew."""
