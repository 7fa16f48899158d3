"""Taking bfloat16 out of what an ONNX model computes with, for runtimes that read it only as a way to store weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["widen_bfloat16"]


def widen_bfloat16(model: ir.Model) -> bool:
    """Lets the model compute in float32 what it computes in bfloat16, in place; returns whether there was any.

    Weights stay bfloat16 and are widened where they are read, which loses nothing. The rounding of activations goes:
    a runtime that is told to compute in bfloat16 does its own.
    """
    found = False
    for value in list(model.graph.initializers.values()):
        if value.dtype is ir.DataType.BFLOAT16:
            found = True
            _widen(model, value)
    for node in model.graph:
        target = node.attributes.get("to") if node.op_type == "Cast" else None
        if target is not None and target.as_int() == ir.DataType.BFLOAT16:
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        for name, attribute in node.attributes.items():
            if attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().dtype is ir.DataType.BFLOAT16:
                wide = attribute.as_tensor().numpy().astype(np.float32)  # such as the zeros that a state starts with
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(wide))
        for output in node.outputs:
            if output.dtype is ir.DataType.BFLOAT16:
                found = True
                output.dtype = ir.DataType.FLOAT
    return found


def _widen(model: ir.Model, value: ir.Value) -> None:
    readers = list(value.uses())
    cast = ir.node("Cast", [value], attributes={"to": int(ir.DataType.FLOAT)})
    wide = cast.outputs[0]
    wide.name, wide.shape, wide.dtype = f"{value.name}_wide", value.shape, ir.DataType.FLOAT
    for node, index in readers:
        node.replace_input_with(index, wide)
    model.graph.insert_before(next(iter(model.graph)), cast)
