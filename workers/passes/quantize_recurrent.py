"""Which parts of a recurrent layer bear the bits asked for, found by running the program with one of them rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from burnish.passes import Quantize
from workers.graphs.stored_values import stored_tensor
from workers.measure.quality import sqnr_db
from workers.passes.quantize_layers import Layer
from workers.passes.rounding_grid import Rounding
from workers.passes.weight_forms import Form, rounded

__all__ = ["Spared", "sensitive_parts"]

SPOILED_DB = 20.0
"""Signal-to-noise ratio at the outputs of the program below which one part alone spoils them: a hundredth of their
power, or half a point of the cosine."""
HARMLESS_DB = 30.0
"""What a finer form of a sensitive matrix has to leave."""
_TIMES = 4.0
"""How much greater than its share of the layer's weights a sensitive matrix's share of the noise is."""
_FINE_GROUP = 16


@dataclass(frozen=True)
class Spared:
    """What of a recurrent layer is treated otherwise than the settings ask."""

    fine: Mapping[Node, Form] = field(default_factory=dict)
    """Matrices that get 8 bits in small groups."""
    floats: frozenset[Node] = frozenset()
    """Matrices that stay float32."""
    reasons: tuple[str, ...] = ()
    """Why, for each."""
    float_input: str | None = None
    """Why the input of the first layer is not rounded; `None` if it may be."""


def sensitive_parts(
    module: GraphModule, layer: Layer, kind: str, rounding: Rounding, settings: Quantize, inputs: Sequence[torch.Tensor]
) -> Spared:
    """Finds the sensitive parts of a recurrent layer whose weights are still float32.

    1. The program runs with one matrix at a time rounded to the nearest of its levels. The noise of several adds up.
    2. A matrix is sensitive if it alone leaves less than `SPOILED_DB` at the outputs, and its share of the noise is
       at least `_TIMES` its share of the weights. So it holds a quarter of the weights at most: what would take more
       bits than that is another width for the layer, and the user's to choose.
    3. It gets 8 bits in groups of `_FINE_GROUP` if these leave `HARMLESS_DB`, else it stays float32.
    4. The input of the first layer is sensitive if int8 with one range for the whole call, the coarsest that a backend
       takes, leaves less than `SPOILED_DB`. Layers above read states, which lie between -1 and 1.

    Args:
        inputs: of the program: the samples that it runs with.
    """
    runs = _Runs(module, inputs)
    weights = {node: stored_tensor(module, node).detach() for node in layer.weights}
    forms = {node: rounded(weight, kind, rounding, settings, None) for node, weight in weights.items()}
    ratios = {node: runs.with_weight(node, form) for node, form in forms.items()}
    fine: dict[Node, Form] = {}
    floats: list[Node] = []
    reasons: list[str] = []
    for node, share in _sensitive(weights, ratios):
        form = rounded(weights[node], "int8", replace(rounding, bits=8, group=_FINE_GROUP), settings, None)
        if (left := runs.with_weight(node, form)) >= HARMLESS_DB:
            fine[node] = form
            became = f"has 8 bits in groups of {_FINE_GROUP}, which leave {left:.1f} dB"
        else:
            floats.append(node)
            became = "stays float32"
        others = ", ".join(f"{ratio:.1f}" for each, ratio in ratios.items() if each is not node)
        name = str(node.target).rpartition(".")[2]
        reasons.append(
            f"{name} ({share:.1%} of the weights) {became}: as {kind} it alone would leave {ratios[node]:.1f} dB at "
            f"the outputs, the others {others}"
        )
    return Spared(fine, frozenset(floats), tuple(reasons), _spoiled_input(runs, layer))


def _sensitive(weights: Mapping[Node, torch.Tensor], ratios: Mapping[Node, float]) -> Iterator[tuple[Node, float]]:
    """Rule 2: matrices, each with its share of the weights."""
    noise = {node: 10 ** (-ratio / 10) for node, ratio in ratios.items()}
    total = sum(weight.numel() for weight in weights.values())
    for node, ratio in ratios.items():
        share = weights[node].numel() / total
        if ratio < SPOILED_DB and noise[node] >= _TIMES * share * sum(noise.values()):
            yield node, share


def _spoiled_input(runs: _Runs, layer: Layer) -> str | None:
    """Rule 4."""
    ratio = runs.with_rounded_input(layer.calls)
    return None if ratio >= SPOILED_DB else f"int8 with one range would leave {ratio:.1f} dB at the outputs"


class _Runs:
    """The program, run with one thing changed at a time."""

    def __init__(self, module: GraphModule, inputs: Sequence[torch.Tensor]) -> None:
        self._module, self._inputs = module, inputs
        self._exact = self._outputs(module)

    def with_weight(self, node: Node, form: Form) -> float:
        """Signal-to-noise ratio of the outputs, in dB, with a weight in this form."""
        with _replaced(stored_tensor(self._module, node).detach(), form.dequantized()):
            return sqnr_db(self._exact, self._outputs(self._module))

    def with_rounded_input(self, calls: Sequence[Node]) -> float:
        """The same, with the input of these calls in int8, one range for each call."""
        return sqnr_db(self._exact, self._outputs(_Rounding(self._module, calls).run))

    def _outputs(self, run: Any) -> list[Any]:
        with torch.no_grad():
            return [leaf.numpy() for leaf in pytree.tree_leaves(run(*self._inputs)) if isinstance(leaf, torch.Tensor)]


@contextmanager
def _replaced(weight: torch.Tensor, other: torch.Tensor) -> Iterator[None]:
    """For its block, the weight has the other's values."""
    kept = weight.clone()
    weight.copy_(other)
    try:
        yield
    finally:
        weight.copy_(kept)


class _Rounding(Interpreter):
    def __init__(self, module: GraphModule, calls: Sequence[Node]) -> None:
        super().__init__(module)
        self._calls = frozenset(calls)

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[Any, Any]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return ((_int8(args[0]), *args[1:]), kwargs) if n in self._calls else (args, kwargs)


def _int8(x: torch.Tensor) -> torch.Tensor:
    """In 256 levels between its extremes, zero among them."""
    least, most = float(x.min().clamp(max=0.0)), float(x.max().clamp(min=0.0))
    step = max((most - least) / 255, torch.finfo(torch.float32).eps)
    return torch.fake_quantize_per_tensor_affine(x, step, round(-128 - least / step), -128, 127)
