"""A graph that computes in bfloat16 or float16 between its float32 inputs and outputs."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from workers.graphs.free_names import free_name
from workers.graphs.functional import writes
from workers.graphs.low_bit import constant_node
from workers.graphs.stored_values import stored_tensor
from workers.graphs.type_checks import drop_type_checks

__all__ = ["FLOAT32", "RECURRENT", "has_submodules", "make_half"]

aten = torch.ops.aten

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
FLOAT32 = RECURRENT | {
    "softmax", "_softmax", "log_softmax", "_log_softmax", "layer_norm", "native_layer_norm", "group_norm",
    "native_group_norm", "batch_norm", "_native_batch_norm_legit_no_training", "instance_norm", "rms_norm",
    "exp", "expm1", "log", "log2", "log10", "log1p", "pow", "rsqrt", "reciprocal", "sum", "prod", "cumsum", "cumprod",
    "logsumexp", "var", "std", "var_mean", "norm", "linalg_vector_norm", "erfinv", "sin", "cos", "tan", "cdist",
}  # fmt: skip
"""Operators that stay float32: they sum many terms, or a small error of their input becomes a large one. Recurrent
layers, too, since few backends run them in half precision."""
_MULTIPLYING = frozenset({
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
    "embedding", "embedding_bag", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention",
})  # fmt: skip


def has_submodules(module: GraphModule) -> bool:
    """True if the graph calls graphs of its own (`cond`, `while_loop`, …), which `make_half` can't treat."""
    return any(isinstance(node.target, HigherOrderOperator) for node in module.graph.nodes)


def make_half(module: GraphModule, dtype: torch.dtype, keep: Collection[Node] = ()) -> None:
    """Rewrites the graph in place.

    1. Float32 inputs are cast to `dtype` at once, outputs back to what they were.
    2. Operators that multiply by weights, and all that read what they made, work in `dtype`. What depends on no float
       input and no weight (positions, say) stays float32 until it meets them.
    3. The operators in `FLOAT32`, the calls in `keep` and those that give complex numbers read float32, cast for them,
       and their result is cast back.
    4. So do quantizing and dequantizing, what computes between the two, and what reads a dequantized tensor: the forms
       of int8 kernels.
    5. Constants are stored in the type in which they are read; the weights of recurrent layers are stored in `dtype`
       and read as float32.

    Casts are explicit, because torch's autocast does not survive Inductor's ahead-of-time compiler.

    No operator runs: on the graph's own fake tensors it could fix their dynamic sizes, here and in the program that
    the graph is a copy of.
    """
    drop_type_checks(module.graph)
    rewriting = _Rewriting(module, dtype, keep)
    for node in list(module.graph.nodes):
        rewriting.visit(node)
    module.graph.eliminate_dead_code()
    module.recompile()


class _Rewriting:
    def __init__(self, module: GraphModule, dtype: torch.dtype, keep: Collection[Node]) -> None:
        self.module, self.dtype, self.keep = module, dtype, frozenset(keep)
        self.halved: set[Node] = set()
        """Nodes whose values are half by rule 2, though rule 3 may have made them float32."""
        self.casts: dict[tuple[Node, torch.dtype], Node] = {}
        self.wanted = {node: _dtype(node) for node in module.graph.nodes}
        """Types before the rewrite."""
        self.state = {node.args[0] for node in module.graph.nodes if writes(node)}
        """What the program writes to, which is read from where it is written."""

    def visit(self, node: Node) -> None:
        if node.op == "placeholder" and _dtype(node) is torch.float32:
            self.halved.add(node)
            self._cast(node, self.dtype)
        elif node.op == "output":
            node.args = map_arg(node.args, lambda each: self._cast(each, self.wanted[each]))
        elif node.op == "call_function" and not writes(node):
            self._visit_call(node)

    def _visit_call(self, node: Node) -> None:
        name = str(node.target).removeprefix("aten.").partition(".")[0].removesuffix("_")
        inputs = [each for each in node.all_input_nodes if each.op != "get_attr"]
        if name not in _MULTIPLYING and not any(each in self.halved for each in inputs):
            return
        complex_ = any(value.is_complex() for value in _tensors(node))
        floats = any(value.is_floating_point() for value in _tensors(node))
        if not floats and not complex_ and not _is_form(node):
            return  # a size, a comparison, an index: it may read either type
        if floats:
            self.halved.add(node)
        if node.target is operator.getitem:
            node.meta["val"] = inputs[0].meta["val"][node.args[1]]
            return
        single = name in FLOAT32 or node in self.keep or complex_ or _is_int8(node)
        dtype = torch.float32 if single else self.dtype
        node.args, node.kwargs = map_arg(
            (node.args, node.kwargs), lambda each: self._read(each, dtype, name in RECURRENT)
        )
        if single:
            return  # it gives what it gave before
        node.args, node.kwargs = self._plain(node.args), self._plain(node.kwargs)
        node.meta["val"] = pytree.tree_map(self._in_half, node.meta["val"])

    def _read(self, node: Node, dtype: torch.dtype, stored: bool) -> Node:
        """`node` in `dtype`; of a recurrent layer, weights come from half precision."""
        if stored and node.op == "get_attr" and _dtype(node) is torch.float32:
            return self._cast(self._cast(node, self.dtype), torch.float32)
        return self._cast(node, dtype)

    def _cast(self, node: Node, dtype: torch.dtype | None) -> Node:
        """`node` as a tensor of `dtype`; what is no float, or in double precision, stays as it is."""
        if _dtype(node) not in (torch.float32, self.dtype) or dtype in (_dtype(node), None):
            return node
        assert dtype is not None
        if (node, dtype) not in self.casts:
            self.casts[node, dtype] = self._new(node, dtype)
        return self.casts[node, dtype]

    def _new(self, node: Node, dtype: torch.dtype) -> Node:
        if node.op == "get_attr" and node not in self.state and dtype is self.dtype:
            name = free_name(self.module, f"{node.target}_{str(dtype).removeprefix('torch.')}")
            made = constant_node(self.module, node, name, stored_tensor(self.module, node).detach().to(dtype))
            made.meta["val"] = self._in_half(node.meta["val"])
            return made
        after = node
        while after.next.op == "placeholder":
            after = after.next
        with self.module.graph.inserting_after(after):
            made = self.module.graph.call_function(aten.to.dtype, (node, dtype))
        made.meta["val"] = node.meta["val"].new_empty(node.meta["val"].shape, dtype=dtype)
        return made

    def _plain(self, arguments: Any) -> Any:
        """Arguments without float32 as a type to make, and without numbers that the type can't hold."""
        if isinstance(arguments, dict):
            return {key: self._plain(each) for key, each in arguments.items()}
        if isinstance(arguments, list | tuple):
            return type(arguments)(self._plain(each) for each in arguments)
        if arguments is torch.float32:
            return self.dtype
        if isinstance(arguments, float) and abs(arguments) != float("inf"):
            most = torch.finfo(self.dtype).max
            return max(-most, min(most, arguments))
        return arguments

    def _in_half(self, value: Any) -> Any:
        """What stands in the place of a value of the graph, once it is computed in half precision."""
        single = isinstance(value, torch.Tensor) and value.dtype is torch.float32
        return value.new_empty(value.shape, dtype=self.dtype) if single else value


def _is_int8(node: Node) -> bool:
    """Rule 4."""
    around = [node, *node.all_input_nodes]
    return any(_is_form(each) for each in around) or (bool(node.users) and all(map(_is_form, node.users)))


def _is_form(node: Node) -> bool:
    return getattr(node.target, "namespace", None) == "quantized_decomposed"


def _tensors(node: Node) -> list[torch.Tensor]:
    """The tensors that the node gives."""
    return [leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, torch.Tensor)]


def _dtype(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None
