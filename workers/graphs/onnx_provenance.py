"""Taking out of an ONNX file what tells where and how it was made: paths, source lines, stack traces."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto

__all__ = ["name_batch", "strip_provenance"]


def strip_provenance(model: ModelProto) -> None:
    """Clears `doc_string` and `metadata_props` everywhere in the file, in place.

    What is computed does not change. The exporter writes the stack trace of each node's origin there, with local
    paths, which are nobody's business and make the bytes depend on the machine.
    """
    _clear(model)
    del model.graph.value_info[:]


def name_batch(model: ModelProto, name: str = "batch") -> None:
    """Renames the first dimension of the inputs, if dynamic (`s77`, a number of the exporter's), in place."""
    old = {
        value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input if value.type.tensor_type.shape.dim
    } - {""}
    if len(old) != 1:
        return
    for value in [*model.graph.input, *model.graph.output]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in old:
                dimension.dim_param = name


def _clear(message: Any) -> None:
    """`message` is any protobuf message; a field of messages is one, or a sequence of them."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:
                _clear(part)
