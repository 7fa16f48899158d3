"""Constants are in an ONNX file once, and only if they are read: tables that are also weights, scales, masks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["drop_unread_constants", "share_constants"]


def share_constants(model: ModelProto) -> int:
    """Keeps the first of equal initializers, in place, and lets all nodes read it; returns how many went.

    An initializer that is an output of the model stays.
    """
    outputs = {value.name for value in model.graph.output}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    names: dict[str, str] = {}
    kept: list[TensorProto] = []
    for tensor in model.graph.initializer:
        key = (tensor.data_type, tuple(tensor.dims), _content(tensor))
        if tensor.name in outputs or key not in first:
            first.setdefault(key, tensor.name)
            kept.append(tensor)
        else:
            names[tensor.name] = first[key]
    if names:
        _rename(model.graph.node, names)
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    return len(names)


def drop_unread_constants(model: ModelProto) -> None:
    """Takes out, in place, the initializers that no node reads any longer, those in bodies included."""
    read = set(_read(model.graph.node)) | {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _read(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read(attribute.g.node)
                yield from (value.name for value in attribute.g.output)


def _content(tensor: TensorProto) -> bytes:
    """A digest of a tensor's value."""
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    bare.ClearField("metadata_props")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def _rename(nodes: Iterable[NodeProto], names: dict[str, str]) -> None:
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g.node, names)
