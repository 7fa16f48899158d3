"""A quantized program as a module that can be trained: rounding with gradients, and the codes it comes to.

1. Each rounded weight becomes a float weight, its *latent* values, which is rounded whenever the module runs. It starts
   at the values that the codes stand for, so nothing changes at first. The gradient passes the rounding as if it were
   not there, and ends at the range of the codes (straight-through, Bengio et al. 2013, arXiv:1308.3432).
2. Its scales are trained too, with the gradient of LSQ (Esser et al. 2020, arXiv:1902.08153; for groups Chen et al.
   2024, EfficientQAT, arXiv:2407.11062), by their logarithm: a step changes a scale by a share of it, whatever the bits
   are, and never its sign. Zero points stay.
3. Activations that pass through integers do so as before; their gradient passes straight through, within the range.
4. Values are computed by the operators of the program itself. So what the module computes is what the program computes
   that has its codes and scales (`FakeQuantized.settled`), to the bit.

A weight whose codes don't come back from their values, or that is stored once and read in two ways, stays as it is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import Function, once_differentiable
from torch.fx import GraphModule, Node

from workers.graphs.own_weights import state
from workers.graphs.rounded_forms import Form, Rounded, find_rounded
from workers.graphs.stored_values import stored_tensor

__all__ = ["FakeQuantized", "LatentWeight", "RoundedLayer", "layer_calls", "straight_through"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed
_SHAPING = (aten.slice.Tensor, aten.view.default)
_RANGES = (
    ops.choose_qparams_per_token_asymmetric.default,
    ops.choose_qparams.tensor,
    ops.choose_qparams_symmetric.tensor,
)
_QUANTIZE = (ops.quantize_per_tensor.default, ops.quantize_per_tensor.tensor, ops.quantize_per_token.default)
_DEQUANTIZE = (ops.dequantize_per_tensor.default, ops.dequantize_per_tensor.tensor, ops.dequantize_per_token.default)


class LatentWeight(nn.Module):
    """A weight that is rounded whenever it is read.

    Attributes:
        layer: the name of the layer that reads it.
        codes_name: of the codes in the program's state.
        scales_name: of the scales there.
        latent: the float weight, of the codes' shape.
        log_scale: logarithm of what the scales are multiplied by.
    """

    def __init__(self, module: GraphModule, layer: str, rounded: Rounded) -> None:
        super().__init__()
        self.layer, self.form, self._columns = layer, rounded.form, rounded.columns
        self.codes_name, self.scales_name = str(rounded.codes.target), str(rounded.scales.target)
        codes, scales = (stored_tensor(module, node) for node in (rounded.codes, rounded.scales))
        self._scales = scales.detach().clone()
        self.latent = nn.Parameter(self.form.decode(codes, scales).detach().clone())
        self.log_scale = nn.Parameter(torch.zeros_like(self._scales))

    def forward(self) -> torch.Tensor:
        """The values that the codes stand for, of the codes' shape."""
        found: torch.Tensor = _Rounding.apply(self.latent, self.scales(), self.form)  # type: ignore[no-untyped-call]
        return found

    def scales(self) -> torch.Tensor:
        """As the program stores them."""
        return self._scales * self.log_scale.exp()

    @torch.no_grad()
    def codes(self) -> torch.Tensor:
        """As the program stores them."""
        return self.form.encode(self.latent, self.scales())

    def zeros(self) -> torch.Tensor:
        """True where the value is exactly zero, of the codes' shape; False in columns that fill the last group."""
        with torch.no_grad():
            found: torch.Tensor = self() == 0
        if self._columns is not None:
            found[:, self._columns :] = False
        return found

    @property
    def size(self) -> int:
        """Weights, without those that fill the last group."""
        return self.latent.numel() if self._columns is None else len(self.latent) * self._columns


class _Rounding(Function):
    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, scales: torch.Tensor, form: Form) -> torch.Tensor:
        values = form.decode(form.encode(latent, scales), scales)
        ctx.save_for_backward(latent, scales, values)
        ctx.form = form
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        latent, scales, values = ctx.saved_tensors
        form: Form = ctx.form
        passed = gradient * form.in_range(latent, scales)
        # value = scale * level(latent / scale), and the level follows latent / scale within the range.
        spread, wide = form.in_groups(gradient * values - passed * latent, scales)
        return passed, (spread / wide).sum_to_size(wide.shape).reshape(scales.shape), None


class _StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, source: torch.Tensor, rounded: torch.Tensor, low: float, high: float) -> torch.Tensor:
        ctx.save_for_backward(source)
        ctx.range = low, high
        return rounded.clone()  # not a view: some operators write in place

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (source,) = ctx.saved_tensors
        low, high = ctx.range
        if math.isinf(low) and math.isinf(high):
            return gradient, None, None, None
        return gradient * ((source >= low) & (source <= high)), None, None, None


def straight_through(source: torch.Tensor, rounded: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """`rounded`, with a gradient that goes to `source` where that lies between `low` and `high`."""
    found: torch.Tensor = _StraightThrough.apply(source, rounded, low, high)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class RoundedLayer:
    """A layer with rounded weights, and what became of them."""

    name: str
    kind: str
    """Of its weights: `int2`, `nf4`, …"""
    weights: tuple[LatentWeight, ...]
    """Empty if it is not trained."""
    reason: str | None = None
    """Why it is not trained."""


class FakeQuantized:
    """A quantized program's module, rewritten in place by the rules above.

    Attributes:
        module: what is trained. A program without rounded weights is left as it is.
        layers: those with rounded weights, in the order of the graph.
        weights: all that are trained.
    """

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.weights: list[LatentWeight] = []
        layers: dict[str, RoundedLayer] = {}
        for same in _by_codes(module):
            name, reason = _layer_name(same[0]), _why_not(module, same)
            weights = (self._make_latent(name, same),) if reason is None else ()
            made = RoundedLayer(name, same[0].form.kind, weights, reason)
            layers[name] = _joined(layers[name], made) if name in layers else made
        self.layers = tuple(layers.values())
        _let_gradients_through(module)
        module.graph.eliminate_dead_code()
        module.recompile()

    def settled(self) -> dict[str, torch.Tensor]:
        """The state of the program that the module stands for, by the program's own names."""
        found = state(self.module)
        rounded: dict[int, torch.Tensor] = {}
        for weight in self.weights:
            rounded[id(found[weight.codes_name])] = weight.codes()
            rounded[id(found[weight.scales_name])] = weight.scales().detach()
        latent = {id(each) for weight in self.weights for each in weight.parameters()}
        return {name: rounded.get(id(value), value) for name, value in found.items() if id(value) not in latent}

    def _make_latent(self, name: str, same: Sequence[Rounded]) -> LatentWeight:
        weight = LatentWeight(self.module, name, same[0])
        place = f"{weight.codes_name}_latent"
        self.weights.append(weight)
        self.module.add_submodule(place, weight)
        for rounded in same:
            with self.module.graph.inserting_before(rounded.node):
                made = self.module.graph.call_module(place, ())
            made.meta = rounded.node.meta
            rounded.node.replace_all_uses_with(made)
        return weight


def layer_calls(module: GraphModule) -> Iterator[tuple[str, Node]]:
    """The calls that read latent weights, with their layers' names, in the order of the graph."""
    for node in module.graph.nodes:
        weight = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(weight, LatentWeight) and (call := _reader(node)) is not None:
            yield weight.layer, call


def _by_codes(module: GraphModule) -> list[list[Rounded]]:
    """Rounded weights, those with the same codes together."""
    found: dict[int, list[Rounded]] = defaultdict(list)
    for rounded in find_rounded(module):
        found[id(stored_tensor(module, rounded.codes))].append(rounded)
    return list(found.values())


def _why_not(module: GraphModule, same: Sequence[Rounded]) -> str | None:
    first = same[0]
    codes, scales = (stored_tensor(module, node) for node in (first.codes, first.scales))
    if not all(first.same_as(other) for other in same):
        return "its codes are read in two ways"
    again = first.form.encode(first.form.decode(codes, scales), scales)
    if not torch.equal(again.to(torch.float32), codes.to(torch.float32)):
        return "its codes don't come back from the values that they stand for"
    return None


def _let_gradients_through(module: GraphModule) -> None:
    """Rule 3. The operators that round have no gradient of their own, so what they read is detached."""
    for node in list(module.graph.nodes):
        source = node.args[0] if node.target in _RANGES + _QUANTIZE else None
        if isinstance(source, Node):
            with module.graph.inserting_before(node):
                node.update_arg(0, module.graph.call_function(aten.detach.default, (source,)))
    for node in list(module.graph.nodes):
        codes = node.args[0] if node.target in _DEQUANTIZE else None
        if isinstance(codes, Node) and codes.target in _QUANTIZE and isinstance(detached := codes.args[0], Node):
            with module.graph.inserting_after(node):
                made = module.graph.call_function(straight_through, (detached.args[0], node, *_range(codes)))
            made.meta = node.meta
            node.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)


def _range(quantize: Node) -> tuple[float, float]:
    """Of the inputs that keep their distance when they are rounded; ranges found at run time have no end."""
    scale, zero, least, most = quantize.args[1:5]
    if isinstance(scale, float) and isinstance(zero, int) and isinstance(least, int) and isinstance(most, int):
        return (least - zero - 0.5) * scale, (most - zero + 0.5) * scale
    return -math.inf, math.inf


def _layer_name(rounded: Rounded) -> str:
    """The owner of the codes; of static int8 weights, which have no names, the owner of the bias, or else the call."""
    owner = str(rounded.codes.target).rpartition(".")[0]
    call = None if owner else _reader(rounded.node)
    if call is None:
        return owner or str(rounded.codes.target)
    stored = (str(source.target).rpartition(".")[0] for source in call.all_input_nodes if source.op == "get_attr")
    return next(filter(None, stored), call.name)


def _reader(node: Node) -> Node | None:
    """The first call that computes with a weight."""
    for user in node.users:
        return _reader(user) if user.target in _SHAPING else user
    return None


def _joined(first: RoundedLayer, other: RoundedLayer) -> RoundedLayer:
    return RoundedLayer(first.name, first.kind, first.weights + other.weights, first.reason or other.reason)
