"""The layers of a program that have weights to round, and why others have none."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from burnish.passes import Quantize
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS

__all__ = ["EMBEDDINGS", "RECURRENT", "Kind", "Layer", "find_layers", "kind_for", "layer_name", "named_kind", "stored"]

aten = torch.ops.aten

Kind = Literal["linear", "convolution", "embedding", "recurrent", "other"]

SPATIAL = CONVOLUTIONS | {aten.conv3d.default, aten.conv3d.padding}
EMBEDDINGS = frozenset({aten.embedding.default})
RECURRENT = frozenset({aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input})
_TRANSPOSED = "a transposed convolution's weights have their inputs first, and no backend reads those in few bits"
_PRODUCT = "both operands are activations: it has no weights"
_OTHERS: dict[object, str] = {
    aten.conv_transpose1d.default: _TRANSPOSED,
    aten.conv_transpose2d.input: _TRANSPOSED,
    aten.conv_transpose3d.input: _TRANSPOSED,
    aten.matmul.default: _PRODUCT,
    aten.bmm.default: _PRODUCT,
    aten.scaled_dot_product_attention.default: "attention has no weights, and its softmax does not take integers",
    aten.addmm.default: "decomposed: export the model without `run_decompositions` to have it as a linear layer",
    aten.convolution.default: "decomposed: export the model without `run_decompositions` to have it as a convolution",
}


@dataclass(frozen=True)
class Layer:
    """One owner of weights with all calls that read them."""

    name: str
    """Of the weights' owner in the model, else of the node."""
    kind: Kind
    """Of its first call that computes: a table that is also a linear layer's weight counts as linear."""
    calls: tuple[Node, ...]
    weights: tuple[Node, ...]
    """The `get_attr` nodes of its matrices and kernels; empty if it can't be treated."""
    reason: str | None = None
    """Why it can't be treated."""


def find_layers(module: GraphModule) -> list[Layer]:
    """All layers, in the order of their first call."""
    found: dict[str, Layer] = {}
    for node in module.graph.nodes:
        kind = _kind(node)
        if kind is None:
            continue
        name = layer_name(node)
        layer = Layer(name, kind, (node,), _weights(node, kind), _why_not(node, kind))
        found[name] = _joined(found[name], layer) if name in found else layer
    return list(found.values())


def named_kind(layer: Layer, settings: Quantize) -> str | None:
    """The kind of weights that `layers` names for it, `float32` to leave it alone; `None` if no pattern fits."""
    return next((kind for pattern, kind in settings.layers.items() if fnmatchcase(layer.name, pattern)), None)


def kind_for(layer: Layer, settings: Quantize) -> str:
    """The kind of weights that the settings ask for; `float32`: none."""
    named = named_kind(layer, settings)
    if named is not None:
        return named
    return "float32" if layer.kind == "embedding" and not settings.embeddings else settings.weights


def layer_name(node: Node) -> str:
    """The layer's name in the model: that of its weights' owner, else the node's own."""
    weight = next(iter(_candidates(node)), None)
    if isinstance(weight, Node) and weight.op == "get_attr":
        return str(weight.target).rpartition(".")[0] or str(weight.target)
    return node.name


def stored(module: GraphModule, node: Node) -> torch.Tensor:
    """The tensor of a `get_attr` node."""
    owner, _, attribute = str(node.target).rpartition(".")
    value = getattr(module.get_submodule(owner), attribute)
    assert isinstance(value, torch.Tensor)
    return value.detach()


def _why_not(node: Node, kind: Kind) -> str | None:
    """Why the weights of a call can't be rounded; `None` if they can."""
    if kind == "other":
        return _OTHERS[node.target]
    for weight in _candidates(node):
        if not isinstance(weight, Node) or weight.op != "get_attr":
            return _why_not_stored(weight)
        if weight.meta["val"].dtype is not torch.float32:
            return f"its weights are {weight.meta['val'].dtype}, not float32".replace("torch.", "")
        for user in weight.users:
            if _kind(user) in (None, "other") or weight not in _candidates(user):
                return f"its weights are also read by `{user.name}`, which computes with them"
    return None


def _why_not_stored(weight: object) -> str:
    """What a weight is that is no stored tensor, and what makes it one."""
    behind: list[Node] = [weight] if isinstance(weight, Node) else []
    for node in behind:
        behind += [source for source in node.all_input_nodes if source not in behind]
    if any(node.op == "placeholder" for node in behind):
        return "its weights are computed from an input"
    if all(node.op == "get_attr" or _only_views(node) for node in behind):
        return "its weights are a view of a stored tensor, not stored themselves"
    return (
        "its weights are computed, not stored: put `simplify` before, or `cache: {kind: constants}` where the result "
        "takes more room than what it is made of"
    )


def _only_views(node: Node) -> bool:
    return node.target is operator.getitem or (isinstance(node.target, OpOverload) and node.target.is_view)


def _kind(node: Node) -> Kind | None:
    if node.target in LINEARS:
        return "linear"
    if node.target in SPATIAL:
        return "convolution"
    if node.target in EMBEDDINGS:
        return "embedding"
    if node.target in RECURRENT:
        return "recurrent"
    return "other" if node.target in _OTHERS else None


def _candidates(node: Node) -> Iterator[object]:
    """The arguments of a call that hold its weights, biases left out."""
    if node.target in EMBEDDINGS:
        yield node.args[0]
    elif node.target in RECURRENT:
        parameters = node.args[2]
        assert isinstance(parameters, list | tuple)
        yield from (each for each in parameters if not isinstance(each, Node) or each.meta["val"].dim() > 1)
    elif len(node.args) > 1:
        yield node.args[1]


def _weights(node: Node, kind: Kind) -> tuple[Node, ...]:
    if _why_not(node, kind) is not None:
        return ()
    return tuple(each for each in _candidates(node) if isinstance(each, Node))


def _joined(first: Layer, other: Layer) -> Layer:
    reason = first.reason or other.reason
    weights = tuple(dict.fromkeys(first.weights + other.weights))
    kind = other.kind if first.kind == "embedding" else first.kind
    return Layer(first.name, kind, first.calls + other.calls, () if reason else weights, reason)
