"""The places in a graph where ONNX Runtime gets an operator of its own, and the calls that put it there.

The module is traced again before it is exported: so what stands in for a layer is a plain function of tensors, with
its constants as arguments, that calls `contrib` where no torch operator says what is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx import ModelProto
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.reexport import dimensions, user_inputs

__all__ = ["MARKS", "Site", "Sizes", "contrib", "drop_keepers", "kept", "standard"]

MARKS = "burnish"
"""Domain of operators that stand for something until the model is ONNX; none is left in the file."""

Shape = Sequence[int | torch.SymInt]


def contrib(
    operator: str, inputs: Sequence[torch.Tensor | None], attributes: dict[str, Any], like: torch.Tensor, shape: Shape
) -> torch.Tensor:
    """One call of ONNX Runtime's own operators (`com.microsoft`), with one output of `like`'s type."""
    found: torch.Tensor = torch.onnx.ops.symbolic(
        f"com.microsoft::{operator}", inputs, attributes, dtype=like.dtype, shape=shape, version=1
    )
    return found


def standard(
    operator: str, inputs: Sequence[torch.Tensor | None], attributes: dict[str, Any], dtype: torch.dtype, shape: Shape
) -> torch.Tensor:
    """One call of an ONNX operator that no torch operator is exported as."""
    found: torch.Tensor = torch.onnx.ops.symbolic(operator, inputs, attributes, dtype=dtype, shape=shape)
    return found


def kept(constant: torch.Tensor) -> torch.Tensor:
    """The constant itself, hidden from the exporter, which would compute what is made of it and store that instead."""
    found: torch.Tensor = torch.onnx.ops.symbolic(
        f"{MARKS}::Keep", (constant,), {}, dtype=constant.dtype, shape=constant.shape, version=1
    )
    return found


def drop_keepers(model: ModelProto) -> None:
    """Takes out, in place, what `kept` put in."""
    names: dict[str, str] = {}
    for node in list(model.graph.node):
        if node.domain == MARKS and node.op_type == "Keep":
            names[node.output[0]] = node.input[0]
            model.graph.node.remove(node)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)


class Sizes:
    """Sizes of tensors at the batch that a model is made for."""

    def __init__(self, program: ExportedProgram, batch: int) -> None:
        self._values: dict[Any, int] = {}
        for value in user_inputs(program):
            first = dimensions(value)[0] if value.dim() else 0
            if isinstance(first, torch.SymInt):
                self._values[first.node.expr] = batch

    def of(self, node: Node) -> list[int]:
        """The shape of a node's tensor; a dynamic size other than the batch as it was in the example."""
        return [self._size(size) for size in dimensions(node.meta["val"])]

    def rows(self, node: Node) -> int:
        """Elements of a node's tensor over the length of its last dimension."""
        return int(torch.Size(self.of(node)[:-1]).numel())

    def _size(self, size: int | torch.SymInt) -> int:
        if isinstance(size, int):
            return size
        known = size.node.expr.xreplace(self._values)
        return int(known) if not getattr(known, "free_symbols", None) else int(size.node.hint)


class Site:
    """One call of a layer that may be replaced."""

    def __init__(self, module: GraphModule, node: Node, sizes: Sizes) -> None:
        self.module = module
        self.node = node
        self.sizes = sizes

    def constant(self, name: str, value: torch.Tensor | None) -> Node | None:
        """A buffer that the replacement reads; `None` stays `None`."""
        if value is None:
            return None
        unique = f"{self.node.name}_{name}"
        self.module.register_buffer(unique, value.contiguous())
        with self.module.graph.inserting_before(self.node):
            node = self.module.graph.get_attr(unique)
        return node

    def replace(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Lets `function` stand in for the call; it gives what the call gave."""
        with self.module.graph.inserting_before(self.node):
            new = self.module.graph.call_function(function, arguments, options)
        new.meta["val"] = self.node.meta.get("val")
        self.node.replace_all_uses_with(new)
        self.module.graph.erase_node(self.node)
