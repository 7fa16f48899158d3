"""The weights whose single elements can be pruned, as matrices of outputs by inputs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from burnish.passes import Prune
from workers.graphs.stored_values import attribute
from workers.graphs.weighted_layers import WeightedLayer, weighted_layers

__all__ = ["PrunableWeight", "columns_last", "prunable_weights", "restored"]

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
_PRODUCTS = ("linear", "mm", "matmul", "addmm", "bmm", "baddbmm")
_LOOKUPS = ("embedding", "embedding_bag", "index", "index_select", "gather")
_FITTED = ("linear", "conv1d", "conv2d", "conv3d")
"""Layers that SparseGPT has a rule for here."""


@dataclass(frozen=True)
class PrunableWeight:
    """One matrix or kernel of a model."""

    name: str
    layer: str
    op: str
    calls: tuple[Node, ...]
    """All that read it."""
    reason: str | None
    """Why it is left alone; `None` if it is pruned."""


def prunable_weights(module: GraphModule, settings: Prune) -> list[PrunableWeight]:
    """All weights of layers, in the order of the calls; one that several calls or names share is there once."""
    calls: dict[int, list[tuple[WeightedLayer, str]]] = defaultdict(list)
    for layer in weighted_layers(module):
        for name in layer.weights:
            calls[id(attribute(module, name))].append((layer, name))
    return [_weight(module, uses, settings) for uses in calls.values()]


def _weight(module: GraphModule, uses: list[tuple[WeightedLayer, str]], settings: Prune) -> PrunableWeight:
    layer, name = uses[0]
    tensor = attribute(module, name)
    assert isinstance(tensor, torch.Tensor)
    reason = next((found for use, _ in uses if (found := _reason(use, name, tensor, settings))), None)
    if reason is None and settings.method == "sparsegpt" and len(uses) > 1:
        reason = "several calls share its weights, and sparsegpt fits them to the inputs of one"
    return PrunableWeight(name, layer.name, layer.op, tuple(use.node for use, _ in uses), reason)


def _reason(use: WeightedLayer, name: str, tensor: torch.Tensor, settings: Prune) -> str | None:
    if not isinstance(tensor, torch.nn.Parameter):
        return "it is a constant of the model, not a weight"
    if use.op not in (*_PRODUCTS, *_CONVOLUTIONS, *_TRANSPOSED, *_RECURRENT):
        return _other_reason(use)
    if use.op in _RECURRENT and tensor.dim() != 2:
        return "it is a state, not a weight"
    if settings.method == "sparsegpt" and (use.op not in _FITTED or use.node.args[1] not in _readers(use, name)):
        return f"sparsegpt has no rule for {use.op}: use `method: magnitude` for it"
    return _two_of_four_reason(use, tensor) if settings.kind == "2:4" else None


def _other_reason(use: WeightedLayer) -> str:
    target = use.node.target
    if use.op in _LOOKUPS:
        return f"{use.op} multiplies nothing by it: zeros would save neither time nor, in most formats, room"
    if isinstance(target, OpOverload) and target.is_view:
        return f"it is read through a view ({use.op}), not by a layer itself"
    return f"{use.op} is none of the layers that are pruned: linear, products of matrices, convolutions, recurrent ones"


def _readers(use: WeightedLayer, name: str) -> list[Node]:
    return [node for node in use.node.all_input_nodes if node.op == "get_attr" and node.target == name]


def _two_of_four_reason(use: WeightedLayer, tensor: torch.Tensor) -> str | None:
    transposed = use.op in _TRANSPOSED or (use.op == "convolution" and bool(use.node.args[6]))
    if transposed or use.op in ("mm", "matmul", "addmm", "bmm", "baddbmm"):
        return f"{use.op} does not read its weight along the last dimension, as 2:4 kernels do"
    if tensor.shape[1] % 4:
        return f"it has {tensor.shape[1]} inputs per output, which is no multiple of 4"
    return None


def columns_last(tensor: torch.Tensor) -> torch.Tensor:
    """As a matrix (outputs, inputs); of a kernel, the input channels of one pixel are neighbours."""
    return tensor.movedim(1, -1).reshape(tensor.shape[0], -1)


def restored(matrix: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The inverse of `columns_last`."""
    return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1).contiguous()
