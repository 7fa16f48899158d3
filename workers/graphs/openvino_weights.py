"""Low-bit weights on their way into OpenVINO's graph: taken out of the ONNX model, put back as small integers.

ONNX has no packed integers below four bits, and an exporter's optimizer may fold what it knows. So each weight leaves
the exporter as a node that it can't look into (`translation`), becomes an input of the ONNX model (`take_weights`),
and in OpenVINO's graph takes the form that its matrix products read without unpacking it first (`put_weights`):

    codes (u4, …) ─ Convert ─┐
    zeros (u4, …) ─ Convert ─ Subtract ─ Multiply ─ Reshape ─ Convert(f32) ─ the layer
    scales (f16) ────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import openvino
import torch
from onnx import defs
from onnxscript.values import Op, Opset
from openvino import opset13

from workers.graphs.low_bit import bits_of

__all__ = ["GroupedWeight", "put_weights", "take_weights", "translation"]

Array = npt.NDArray[Any]
_DOMAIN, _NAME = "burnish", "LowBitWeight"
_SCALES = (2.0**-14, 65504.0)
"""Range in which float16 keeps eleven bits: scales outside are stored as float32."""
_STORED = {2: 2, 3: 4, 4: 4, 8: 8}
"""Bits of a code → bits it is stored in. OpenVINO's kernels read 2, 4 and 8."""


@dataclass(frozen=True)
class GroupedWeight:
    """A weight as the graph of the program holds it."""

    codes: Array
    """int8 of shape (outputs, columns)."""
    scales: Array
    """float32 of shape (outputs, groups)."""
    zeros: Array | None
    """int32 of the same shape."""
    bits: int


def translation() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What torch's ONNX exporter is told of the operator that widens a low-bit weight."""
    parameter, attribute = defs.OpSchema.FormalParameter, defs.OpSchema.Attribute
    schema = defs.OpSchema(
        _NAME,
        _DOMAIN,
        1,
        inputs=[
            parameter("codes", "tensor(int8)"),
            parameter("scales", "tensor(float)"),
            parameter("zeros", "tensor(int32)", param_option=defs.OpSchema.FormalParameterOption.Optional),
        ],
        outputs=[parameter("weight", "tensor(float)")],
        attributes=[attribute("most", defs.OpSchema.AttrType.INT)],
    )
    operator = Op(Opset(_DOMAIN, 1), _NAME, schema)

    def widened(codes: Any, scales: Any, zeros: Any, least: int, most: int, *_: object, **__: object) -> Any:
        return operator(codes, scales, *([] if zeros is None else [zeros]), most=most)

    return {torch.ops.quantized_decomposed.dequantize_per_channel_group.default: widened}


def take_weights(model: ir.Model) -> dict[str, GroupedWeight]:
    """Makes every low-bit weight of the ONNX model an input; returns the weights by the input's name."""
    found: dict[str, GroupedWeight] = {}
    for node in list(model.graph):
        if (node.domain, node.op_type) != (_DOMAIN, _NAME):
            continue
        codes, scales, *zeros = (_array(value) for value in node.inputs if value is not None)
        name = f"low_bit_{len(found)}"
        found[name] = GroupedWeight(codes, scales, zeros[0] if zeros else None, bits_of(_integer(node, "most")))
        given = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(codes.shape))
        ir.convenience.replace_all_uses_with(node.outputs[0], given)
        model.graph.remove(node, safe=True)
        model.graph.inputs.append(given)
    return found


def put_weights(model: openvino.Model, weights: Mapping[str, GroupedWeight]) -> None:
    """Replaces the inputs that `take_weights` made by constants, in place."""
    for parameter in list(model.get_parameters()):
        names = parameter.output(0).get_names() & weights.keys()
        if names:
            constant = _widened(weights[names.pop()])
            for reader in parameter.output(0).get_target_inputs():
                reader.replace_source_output(constant.output(0))
            model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()


def _widened(weight: GroupedWeight) -> openvino.Node:
    rows, columns = weight.codes.shape
    groups = weight.scales.shape[1]
    sizes = np.abs(weight.scales)
    kind = np.float16 if np.all((sizes >= _SCALES[0]) & (sizes <= _SCALES[1])) else np.float32
    wide = openvino.Type(kind)
    codes, zeros = _integers(weight)
    value = opset13.convert(_constant(*codes, (rows, groups, columns // groups)), wide)
    if zeros is not None:
        value = opset13.subtract(value, opset13.convert(_constant(*zeros, (rows, groups, 1)), wide))
    scales = weight.scales.astype(kind).reshape(rows, groups, 1)
    value = opset13.multiply(value, openvino.op.Constant(scales))
    value = opset13.reshape(value, np.array([rows, columns]), special_zero=False)
    return value if kind is np.float32 else opset13.convert(value, openvino.Type.f32)


Stored = tuple[Array, openvino.Type]
"""Integers as bytes, and the type they are packed to."""


def _integers(weight: GroupedWeight) -> tuple[Stored, Stored | None]:
    """Codes and zeros. There is no signed type of two bits, and signed codes take no zeros: both are then shifted."""
    stored = _STORED[weight.bits]
    if weight.zeros is None and stored != 2:
        return (weight.codes, {4: openvino.Type.i4, 8: openvino.Type.i8}[stored]), None
    shift = 2 ** (weight.bits - 1)
    kind = {2: openvino.Type.u2, 4: openvino.Type.u4, 8: openvino.Type.u8}[stored]
    codes = (weight.codes.astype(np.int16) + shift).astype(np.uint8)
    zeros = np.full(weight.scales.shape, shift) if weight.zeros is None else weight.zeros + shift
    if zeros.min() < 0 or zeros.max() >= 2**stored:  # a group whose values are all on one side of zero
        return (codes, kind), (zeros.astype(np.float32), openvino.Type.f32)
    return (codes, kind), (zeros.astype(np.uint8), kind)


def _constant(values: Array, kind: openvino.Type, shape: tuple[int, ...]) -> openvino.Node:
    """The values; integers packed, the first in the lowest bits of a byte."""
    if kind == openvino.Type.f32:
        return openvino.op.Constant(values.reshape(shape))
    per_byte = 8 // kind.bitwidth
    flat = values.reshape(-1).view(np.uint8) & np.uint8(2**kind.bitwidth - 1)
    flat = np.pad(flat, (0, -flat.size % per_byte))
    packed = np.zeros(flat.size // per_byte, np.uint8)
    for place in range(per_byte):
        packed |= flat[place::per_byte] << np.uint8(kind.bitwidth * place)
    # Not shared: the graph outlives the array.
    return openvino.op.Constant(openvino.Tensor(packed, list(shape), kind), shared_memory=False)


def _array(value: ir.Value) -> Array:
    assert value.const_value is not None
    return value.const_value.numpy()


def _integer(node: ir.Node, name: str) -> int:
    return int(node.attributes[name].as_int())
