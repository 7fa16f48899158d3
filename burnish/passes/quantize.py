"""Settings of quantization, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from burnish.passes.base import Need, PassSettings

__all__ = ["BITS", "Activations", "Half", "LayerWeights", "Quantize", "Weights"]

LayerWeights = Literal["float32", "int8", "int4", "int3", "int2", "fp8", "nf4"]
Weights = Literal["int8", "int4", "int3", "int2", "fp8", "nf4", "bfloat16", "float16", "mixed"]
Activations = Literal["int8", "dynamic", "float32", "bfloat16", "float16"]
Half = Literal["bfloat16", "float16"]

BITS: dict[str, int] = {
    "float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "fp8": 8, "nf4": 4, "int4": 4, "int3": 3, "int2": 2,
}  # fmt: skip
"""Bits of one weight by kind."""
_HALVES = ("bfloat16", "float16")
_INTEGERS = ("int8", "int4", "int3", "int2", "mixed")
_ACTIVATIONS: dict[str, Activations] = {
    "int8": "int8", "int4": "dynamic", "int3": "dynamic", "int2": "dynamic", "mixed": "dynamic",
    "fp8": "float32", "nf4": "float32", "bfloat16": "bfloat16", "float16": "float16",
}  # fmt: skip
"""What goes with each kind of weights unless something else is asked for."""


class Quantize(PassSettings):
    """Stores weights in fewer bits, and computes in int8 or in half precision where that is asked for."""

    name: ClassVar[str] = "quantize"
    summary: ClassVar[str] = "Fewer bits: int8 to 2-bit integers, fp8, nf4, half precision, or bits chosen per layer."
    understands: ClassVar[str] = (
        "Linear layers, convolutions, LSTM, GRU, RNN and embeddings; with `activations: int8` sums, joins, pools and "
        "activations between them; in half precision every operator."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"calibration"})
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize", "cache"})

    weights: Weights = "int8"
    """Form of the weights. Integers have scales per output channel or per group; `fp8` is float8 e4m3 with a scale per
    output channel; `nf4` the 16 levels of QLoRA with a scale per group; `bfloat16` and `float16` change the whole
    program; `mixed` chooses 8, 4 or 2 bits per layer by the profile."""
    activations: Activations | None = None
    """What layers compute with. `int8`: one range per tensor, from the calibration data (weights `int8` alone);
    `dynamic`: int8 with a range per row, found when the model runs; `float32`: as before; `bfloat16` and `float16` go
    with the same weights. Left out: `int8` for int8, `dynamic` for fewer bits, `float32` for fp8 and nf4."""
    rest: Literal["float32", "bfloat16", "float16"] = "float32"
    """What computes everything beside the layers of static int8: attention, sums, layers that are left alone."""
    group: Annotated[int, Field(ge=16, le=65536)] | None = None
    """Neighbours in a row that share a scale, a power of two; more than a row is the row. Left out: the row for int8,
    64 for fewer bits."""
    symmetric: bool = True
    """Codes around zero; false: each group also has a zero point, which fits weights of one sign better."""
    rounding: Literal["nearest", "hqq", "gptq"] = "nearest"
    """`nearest`: with the clipping of least squared error; `hqq`: scales fitted without data, large errors discounted;
    `gptq`: each column's error is made up for by the columns after it, as the calibration data weigh them."""
    column_order: Literal["activation", "given"] = "activation"
    """Of `gptq`: columns with the largest inputs first, or as they stand."""
    calibration: Literal["minmax", "histogram", "percentile", "entropy"] = "histogram"
    """Range of activations `int8`. `minmax`: the extremes seen; `histogram`: the range with the least mean squared
    error; `percentile`: all but 0.01 % of the values; `entropy`: least Kullback-Leibler divergence."""
    bias_correction: bool = False
    """Takes the mean error that rounding the weights makes in each output, over the calibration data, off the bias."""
    embeddings: bool = False
    """Rounds embedding tables, too."""
    protect: bool = True
    """Looks for the parts of recurrent layers that alone spoil the outputs, by running some calibration samples: such a
    matrix gets 8 bits in groups of 16 or stays float32, such an input stays float. False: all as asked."""
    average_bits: float | None = Field(None, ge=2.0, le=8.0)
    """Budget of `mixed`: bits per weight over all treated layers. 4, unless `least_db` is given."""
    least_db: float | None = Field(None, gt=0.0, le=100.0)
    """Budget of `mixed`: the fewest bits whose expected signal-to-noise ratio at the outputs is this, in dB."""
    layers: dict[str, LayerWeights] = Field(default_factory=dict)
    """Other weights for some layers, by pattern of their names (`features.*: int8`, `head: float32`); the first that
    fits counts."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Fills in what depends on the weights, so that equal recipes are equal documents."""
        if not isinstance(given, Mapping):
            return given
        filled = dict(given)
        weights = filled.get("weights", "int8")
        if filled.get("activations") is None and isinstance(weights, str):
            filled["activations"] = _ACTIVATIONS.get(weights)
        if weights == "mixed" and filled.get("average_bits") is None and filled.get("least_db") is None:
            filled["average_bits"] = 4.0
        return filled

    @model_validator(mode="after")
    def _check(self) -> Quantize:
        for wrong, sentence in _refusals(self):
            if wrong:
                raise ValueError(sentence)
        return self

    @property
    def is_static(self) -> bool:
        """True if activations have ranges fixed beforehand."""
        return self.activations == "int8"

    @property
    def half(self) -> Half | None:
        """The half precision that the program computes in, wholly or beside int8; `None`: in none."""
        asked = self.weights if self.weights in _HALVES else self.rest
        return None if asked == "float32" else cast(Half, asked)

    def group_of(self, bits: int) -> int | None:
        """Columns that share a scale, for weights of that many bits; `None`: the whole row."""
        return self.group if self.group is not None else None if bits == 8 else 64

    def least_size_factor(self) -> float:
        if self.weights == "mixed":
            return (self.average_bits or 2.0) / 32
        return min(BITS[kind] for kind in (self.weights, *self.layers.values())) / 32

    def wants_profile(self) -> bool:
        return self.weights == "mixed"


def _refusals(asked: Quantize) -> list[tuple[bool, str]]:
    """Every combination that makes no sense, each with what to do instead."""
    weights, activations = asked.weights, asked.activations
    half, integer = weights in _HALVES, weights in _INTEGERS
    layers = set(asked.layers.values())
    rounded = (integer and not asked.is_static) or bool(layers & {"int4", "int3", "int2"})
    grouped = rounded or "nf4" in layers | {weights}
    return [
        (
            activations == "int8" and weights != "int8",
            f"Static int8 activations go with int8 weights alone. Use `activations: {_ACTIVATIONS[weights]}` for "
            f"{weights} weights.",
        ),
        (
            activations == "dynamic" and not integer,
            f"Int8 arithmetic needs integer weights. Use `activations: {_ACTIVATIONS[weights]}` for {weights} weights.",
        ),
        (
            (activations in _HALVES or half) and activations != weights,
            f"Half precision is for weights and activations alike. Use `activations: {_ACTIVATIONS[weights]}` for "
            f"{weights} weights.",
        ),
        (
            asked.rest != "float32" and not asked.is_static,
            f"`rest` is what computes beside static int8, and activations {activations} have nothing beside them. "
            f"Leave it out, or use `activations: int8`; `weights: {asked.rest}` changes the whole program.",
        ),
        (
            asked.group is not None and asked.group & (asked.group - 1) != 0,
            "`group` must be a power of two. Use 32, 64 or 128.",
        ),
        (
            asked.group is not None and not grouped,
            f"Activations {activations} with weights {weights} have no groups: one scale per output channel at most. "
            "Leave `group` out, or use `activations: dynamic` with integer weights.",
        ),
        (
            not asked.symmetric and not rounded,
            "Zero points are for integer weights without static int8, whose kernels take symmetric ones. Leave "
            "`symmetric` out, or use `activations: dynamic` with integer weights.",
        ),
        (
            asked.rounding != "nearest" and not rounded,
            f"Rounding by {asked.rounding} is for integer weights without static int8. Use `rounding: nearest`, or "
            "`activations: dynamic` with integer weights.",
        ),
        (
            asked.column_order != "activation" and asked.rounding != "gptq",
            "`column_order` is a setting of gptq. Leave it out, or use `rounding: gptq`.",
        ),
        (
            asked.calibration != "histogram" and not asked.is_static,
            f"`calibration` finds the ranges of static int8 activations, and {activations} has none. Leave it out.",
        ),
        (
            asked.bias_correction and not integer,
            f"`bias_correction` is for integer weights: the error of {weights} has no mean to speak of. Leave it out.",
        ),
        (
            asked.embeddings and half,
            f"{weights} converts embedding tables anyway. Leave `embeddings` out.",
        ),
        (
            (asked.average_bits is not None or asked.least_db is not None) and weights != "mixed",
            "`average_bits` and `least_db` are budgets of mixed weights. Leave them out, or use `weights: mixed`.",
        ),
        (
            asked.average_bits is not None and asked.least_db is not None,
            "`average_bits` and `least_db` are two budgets, and one decides. Leave one of them out.",
        ),
        (
            half and bool(layers - {"float32"}),
            f"In a {weights} program a layer can only stay `float32`. Use integer weights for the others to differ.",
        ),
    ]  # fmt: skip
