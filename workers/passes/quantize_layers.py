"""The layers of a program that have weights to round, and why others have none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeGuard

import torch
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from burnish.passes import Quantize
from workers.graphs.calls import is_view, operator_name
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS
from workers.graphs.stored_values import attribute
from workers.graphs.weighted_layers import WeightedLayer, weighted_layers

__all__ = ["EMBEDDINGS", "RECURRENT", "Kind", "Layer", "find_layers", "kind_for", "layer_name", "named_kind"]

aten = torch.ops.aten

Kind = Literal["linear", "convolution", "embedding", "recurrent", "other"]

SPATIAL = CONVOLUTIONS | {aten.conv3d.default, aten.conv3d.padding}
EMBEDDINGS = frozenset({aten.embedding.default})
RECURRENT = frozenset({aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input})
_TRANSPOSED = "a transposed convolution's weights have their inputs first, and no backend reads those in few bits"
_DECOMPOSED = "decomposed: export the model without `run_decompositions` to have it as a linear layer"
_FROM_LINEAR = frozenset({aten.addmm.default, aten.mm.default})
"""What a linear layer is decomposed into, behind a transposition of its weight."""
_PRODUCTS = _FROM_LINEAR | {aten.matmul.default, aten.bmm.default}
_OTHERS: dict[object, str] = {
    aten.conv_transpose1d.default: _TRANSPOSED,
    aten.conv_transpose2d.input: _TRANSPOSED,
    aten.conv_transpose3d.input: _TRANSPOSED,
    aten.scaled_dot_product_attention.default: "attention has no weights, and its softmax does not take integers",
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


def find_layers(module: GraphModule, by_weight: bool = False) -> list[Layer]:
    """All layers, in the order of their first call.

    Calls that read a stored matrix and have no form in few bits (`einsum`, `lstm_cell`) are of kind `other`.

    Args:
        by_weight: linear layers and convolutions whose weights have one owner (a `ParameterList`) are layers of their
            own, each with the name of its weight.
    """
    names = _names(module, by_weight)
    found: dict[str, Layer] = {}
    for node, name in names.items():
        kind = _kind(node) or "other"
        layer = Layer(name, kind, (node,), _weights(node, kind), _why_not(node, kind))
        found[name] = _joined(found[name], layer) if name in found else layer
    return list(found.values())


def _names(module: GraphModule, by_weight: bool) -> dict[Node, str]:
    """What each call that counts is called, in the order of the graph.

    A call of kind `other` has the name of its weight where a layer has that of the owner.
    """
    layers = {node: layer_name(node) for node in module.graph.nodes if _kind(node) not in (None, "other")}
    kernels = defaultdict[str, set[str]](set)
    for node, owner in layers.items():
        kernels[owner].update(_stored_names(node))
    others = {each.node: each for each in weighted_layers(module) if _is_row(module, each)}
    names = dict[Node, str]()
    for node in module.graph.nodes:
        if node in layers:
            apart = by_weight and _kind(node) in ("linear", "convolution") and len(kernels[layers[node]]) > 1
            names[node] = next(_stored_names(node), layers[node]) if apart else layers[node]
        elif node in others:
            names[node] = others[node].weights[0] if others[node].name in kernels else others[node].name
        elif _kind(node) == "other":
            names[node] = layer_name(node)
    return names


def _stored_names(node: Node) -> Iterator[str]:
    return (str(each.target) for each in _candidates(node) if _is_stored(each))


def _is_row(module: GraphModule, call: WeightedLayer) -> bool:
    """True for a call of kind `other` that computes with a stored matrix.

    Of what is in no table, views and what depends on no input are told of by the layer that reads the result;
    arithmetic of single elements has no use for few bits.
    """
    node, kind = call.node, _kind(call.node)
    if kind is not None:
        return kind == "other"
    if not isinstance(node.target, OpOverload) or node.target.is_view or torch.Tag.pointwise in node.target.tags:
        return False
    return _depends_on_input(node) and isinstance(attribute(module, call.weights[0]), torch.nn.Parameter)


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


def _why_not(node: Node, kind: Kind) -> str | None:
    """Why the weights of a call can't be rounded; `None` if they can."""
    if kind == "other":
        return _why_other(node)
    for weight in _candidates(node):
        if not isinstance(weight, Node) or not _is_stored(weight):
            return _why_not_stored(weight)
        if weight.meta["val"].dtype is not torch.float32:
            return f"its weights are {weight.meta['val'].dtype}, not float32".replace("torch.", "")
        for user in weight.users:
            if _kind(user) in (None, "other") or weight not in _candidates(user):
                return f"its weights are also read by `{user.name}`, which computes with them"
    return None


def _why_other(node: Node) -> str:
    if node.target in _PRODUCTS:
        return _why_product(node)
    return _OTHERS.get(node.target) or f"no backend computes `{_operator(node)}` from weights in few bits"


def _why_product(node: Node) -> str:
    """Of a product of two tensors, the last two arguments."""
    operands = [each for each in node.args[-2:] if isinstance(each, Node)]
    if _is_stored(operands[-1]) and operands[-1].meta["val"].dim() == 2:
        return (
            "its weight is stored as (inputs, outputs), and backends read (outputs, inputs) in few bits: `nn.Linear` "
            "with the transposed weight computes the same"
        )
    if any(map(_is_stored, operands)):
        return f"no backend computes `{_operator(node)}` from weights in few bits"
    unstored = next((each for each in operands if not _depends_on_input(each)), None)
    if unstored is None:
        return "both operands are activations: it has no weights"
    return _DECOMPOSED if node.target in _FROM_LINEAR else _why_not_stored(unstored)


def _operator(node: Node) -> str:
    return operator_name(node).partition(".")[0]


def _why_not_stored(weight: object) -> str:
    """What a weight is that is no stored tensor, and what makes it one."""
    if not isinstance(weight, Node) or _depends_on_input(weight):
        return "its weights are computed from an input"
    if all(_is_stored(node) or is_view(node) for node in _behind(weight)):
        return "its weights are a view of a stored tensor, not stored themselves"
    return (
        "its weights are computed, not stored: put `simplify` before, or `cache: {kind: constants}` where the result "
        "takes more room than what it is made of"
    )


def _depends_on_input(node: Node) -> bool:
    return any(each.op == "placeholder" for each in _behind(node))


def _behind(root: Node) -> list[Node]:
    """The node and all that it is made of."""
    found, waiting = {root: None}, [root]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return list(found)


def _is_stored(node: object) -> TypeGuard[Node]:
    return isinstance(node, Node) and node.op == "get_attr"


def _kind(node: Node) -> Kind | None:
    if node.target in LINEARS:
        return "linear"
    if node.target in SPATIAL:
        return "convolution"
    if node.target in EMBEDDINGS:
        return "embedding"
    if node.target in RECURRENT:
        return "recurrent"
    return "other" if node.target in _OTHERS or node.target in _PRODUCTS else None


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
