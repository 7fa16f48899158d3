"""Biases of int8 layers as int32, as ONNX Runtime's integer kernels take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

__all__ = ["quantize_biases"]

_LIMIT = 2**30
"""Largest quantized bias: half of int32, so that the sum it starts has room."""


@dataclass(frozen=True)
class _Layer:
    """A convolution or Gemm whose activation and weights are dequantized just before it."""

    node: NodeProto
    weight: NodeProto
    """The DequantizeLinear of the weights."""
    activation_scale: float


def quantize_biases(model: ModelProto) -> int:
    """Replaces the float bias of each quantized `Conv` and `Gemm` by an int32 one, in place; returns how many.

    The scale is that of the products, activation scale × weight scale, per output channel or for all. Without this
    ONNX Runtime runs `Gemm` in float. Where a channel's weights are so small that its bias would not fit int32 (after
    pruning, weights of zero with a bias are common), that channel's weight scale is raised until it fits: the products
    are then below 2⁻¹⁵ of the bias per input, and lose nothing that int8 could show.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    count = 0
    for node in list(model.graph.node):
        layer = _layer(node, makers, constants)
        if layer is not None:
            _quantize(model, layer, constants)
            count += 1
    return count


def _layer(
    node: NodeProto, makers: dict[str, NodeProto], constants: dict[str, npt.NDArray[np.generic]]
) -> _Layer | None:
    if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in constants:
        return None
    activation, weight = (makers.get(name) for name in node.input[:2])
    if activation is None or weight is None:
        return None
    if any(source.op_type != "DequantizeLinear" or source.input[1] not in constants for source in (activation, weight)):
        return None
    scale = constants[activation.input[1]]
    if weight.input[0] not in constants or scale.size != 1 or constants[node.input[2]].dtype != np.float32:
        return None
    if node.op_type == "Gemm" and _attribute(node, "alpha", 1.0) * _attribute(node, "beta", 1.0) != 1.0:
        return None
    return _Layer(node, weight, float(scale.reshape(())))


def _quantize(model: ModelProto, layer: _Layer, constants: dict[str, npt.NDArray[np.generic]]) -> None:
    name = layer.node.output[0]
    bias = constants[layer.node.input[2]].astype(np.float64)
    old = constants[layer.weight.input[1]].astype(np.float64)
    least = np.abs(bias) / (layer.activation_scale * _LIMIT)
    scale = old.astype(np.float32)
    if np.any(least > old):
        scale = np.maximum(old, least).astype(np.float32)
        _rescale(model, layer.weight, constants, old, scale)
    product = (scale.astype(np.float64) * layer.activation_scale).astype(np.float32)
    quantized = np.rint(bias / product).astype(np.int32)
    zero = np.zeros_like(product, dtype=np.int32)
    parts = {f"{name}_bias": quantized, f"{name}_bias_scale": product, f"{name}_bias_zero": zero}
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
    dequantize = helper.make_node(
        "DequantizeLinear", list(parts), [f"{name}_bias_float"], f"{name}_bias_dequantize", axis=0
    )
    layer.node.input[2] = dequantize.output[0]
    model.graph.node.insert(list(model.graph.node).index(layer.node), dequantize)


def _rescale(
    model: ModelProto,
    weight: NodeProto,
    constants: dict[str, npt.NDArray[np.generic]],
    old: npt.NDArray[np.float64],
    new: npt.NDArray[np.float32],
) -> None:
    values = constants[weight.input[0]]
    shape = [1] * values.ndim
    axis = int(_attribute(weight, "axis", 1.0))
    shape[axis] = new.size
    factor = (old / new).reshape(shape)
    rescaled = np.rint(values.astype(np.float64) * factor).astype(values.dtype)
    zeros = np.broadcast_to(constants[weight.input[2]], new.shape)  # ONNX wants both of one shape
    for position, (suffix, value) in enumerate([("rescaled", rescaled), ("scale", new), ("zeros", zeros)]):
        name = f"{weight.output[0]}_{suffix}"
        model.graph.initializer.append(numpy_helper.from_array(value, name))
        weight.input[position] = name


def _attribute(node: NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(helper.get_attribute_value(attribute))
    return default
