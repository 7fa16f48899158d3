"""The forms that a weight can be rounded to, under one interface."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

from burnish.passes import Quantize
from burnish.passes.quantize import BITS
from workers.graphs.low_bit import LowBitWeight, write_weight
from workers.graphs.low_bit_floats import Fp8Weight, Nf4Weight, write_fp8, write_nf4
from workers.passes.input_moments import Moments
from workers.passes.round_floats import round_fp8, round_nf4
from workers.passes.round_gptq import round_gptq
from workers.passes.round_hqq import round_hqq
from workers.passes.round_nearest import round_nearest
from workers.passes.rounding_grid import Rounding

__all__ = ["Form", "ratio_db", "rounded", "rounding_of", "words", "write"]

Form = LowBitWeight | Fp8Weight | Nf4Weight

_EXACT_DB = 200.0


def rounding_of(kind: str, settings: Quantize, narrow: bool) -> Rounding:
    """Bits, groups and symmetry for one kind of weights."""
    bits = BITS[kind]
    return Rounding(bits, settings.group_of(bits), settings.symmetric, narrow)


def rounded(weight: torch.Tensor, kind: str, rounding: Rounding, settings: Quantize, seen: Moments | None) -> Form:
    """A float32 weight in the form of `kind`.

    Args:
        seen: of the layer's inputs, for gptq; without them it rounds to the nearest.
    """
    if kind == "fp8":
        return round_fp8(weight)
    if kind == "nf4":
        return round_nf4(weight, rounding.group or 64)
    if settings.rounding == "hqq":
        return round_hqq(weight, rounding)
    if settings.rounding == "gptq" and seen is not None and seen.hessian is not None:
        return round_gptq(weight, rounding, seen.hessian, settings.column_order)
    return round_nearest(weight, rounding)


def write(module: GraphModule, node: Node, form: Form) -> Node:
    """Puts the form in the place of the weight's `get_attr`; returns the node that gives the weight."""
    if isinstance(form, Fp8Weight):
        return write_fp8(module, node, form)
    if isinstance(form, Nf4Weight):
        return write_nf4(module, node, form)
    return write_weight(module, node, form)


def words(kind: str, rounding: Rounding, forms: Sequence[Form], method: str) -> str:
    """How a layer was rounded."""
    if kind == "fp8":
        return "float8 e4m3, a scale per output channel"
    group = max(form.group for form in forms if not isinstance(form, Fp8Weight))
    share = f"groups of {group}" if rounding.group is not None else "a scale per output channel"
    if kind == "nf4":
        return f"16 levels of a normal distribution, {share}"
    narrow = ", 7 bits, since the int8 kernels of this machine saturate" if rounding.most == 63 else ""
    return f"{share}, {'symmetric' if rounding.symmetric else 'with zero points'}, {method}{narrow}"


def ratio_db(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Signal-to-noise ratio of rounded weights, as (weight, rounded) of each, in dB; 200 where nothing was lost."""
    signal = sum(float(weight.double().square().sum()) for weight, _ in pairs)
    noise = sum(float((weight - other).double().square().sum()) for weight, other in pairs)
    if noise == 0 or signal == 0:
        return _EXACT_DB
    return min(_EXACT_DB, float(10 * torch.log10(torch.tensor(signal / noise, dtype=torch.float64))))
