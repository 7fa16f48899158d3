"""Settings of pruning: whole channels, single weights, or two of four."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from burnish.document import Document
from burnish.passes.base import Need, PassSettings

__all__ = ["Prune", "PruneSchedule"]


class PruneSchedule(Document):
    """Gradual pruning: the share of zeros grows step by step, and the model recovers after each."""

    steps: int = Field(ge=2, le=100)
    """After step t of n, the share is ratio · (1 - (1 - t / n)³) (Zhu and Gupta 2017, arXiv:1710.01878)."""
    epochs: int = Field(1, ge=1, le=1000)
    """Passes over the calibration data after each step."""
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    """Peak of the one-cycle schedule of each step."""
    labels: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the loss that the dataset's targets have: 0 learns from the original alone, 1 from labels alone."""


class Prune(PassSettings):
    """Removes what matters least: whole channels, heads and units, or single weights. Follow it with `distill`."""

    name: ClassVar[str] = "prune"
    summary: ClassVar[str] = "Removes the least important channels, heads and units for good, or sets weights to zero."
    understands: ClassVar[str] = (
        "Linear layers, convolutions (grouped and depthwise too), LSTM, GRU, RNN and attention, with the norms, "
        "reshapes, sums, joins and splits between them."
    )
    may_need: ClassVar[frozenset[Need]] = frozenset({"calibration", "labels"})
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize", "cache"})

    kind: Literal["structured", "unstructured", "2:4"] = "structured"
    """`structured`: whole channels, heads and hidden units, with everything that depends on them; `unstructured`:
    single weights become zero; `2:4`: two of each four neighbours along the input become zero."""
    ratio: float = Field(0.5, gt=0.0, lt=1.0)
    """Share to remove, 0 < ratio < 1: of the removable channels, of the weights, or with `scope: time` of the time."""
    scope: Literal["layer", "global", "time"] = "layer"
    """`layer`: the same share of every group of coupled layers; `global`: the least important ones anywhere; `time`:
    until the measured time of the layers falls by `ratio`, losing the least importance per second saved."""
    layers: dict[str, float] = Field(default_factory=dict)
    """Ratios of single layers, by name or pattern (`encoder.*`); 0 leaves a layer alone. Where several patterns match,
    the smallest counts."""
    importance: Literal["magnitude", "bn_scale", "taylor"] = "magnitude"
    """Of channels. `magnitude`: squared L2 norm of the weights a channel owns (Li et al. 2017, arXiv:1608.08710),
    normalised per group; `bn_scale`: squared scale of its batch norm (Liu et al. 2017, arXiv:1708.06519); `taylor`:
    first-order change of the loss without it (Molchanov et al. 2019, arXiv:1906.10771)."""
    layer_norm: Literal["keep", "rescale"] = "keep"
    """What becomes of channels that a layer norm takes its statistics over. `keep`: they stay; `rescale`: they may go,
    and the norm counts them as zeros, which is right only where the mean of the others is zero."""
    round_to: int = Field(8, ge=1, le=256)
    """Kept channel counts are multiples of this (the vector width that hardware likes), where the ratio allows it."""
    method: Literal["magnitude", "taylor", "movement", "sparsegpt"] = "magnitude"
    """Which single weights become zero. `magnitude`: the smallest; `taylor`: those that change the loss least;
    `movement`: those that the training of `schedule` moves towards zero (Sanh et al. 2020, arXiv:2005.07683);
    `sparsegpt`: those whose loss the others in their row make up for best (Frantar and Alistarh 2023,
    arXiv:2301.00774)."""
    schedule: PruneSchedule | None = None
    """Zeros in steps with recovery between them, for `kind: unstructured`; without it, all at once."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = list(self._faults())
        if faults:
            raise ValueError(" ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        for pattern, ratio in self.layers.items():
            if not pattern or not 0.0 <= ratio < 1.0:
                yield f"`layers` gives {pattern!r} the ratio {ratio:g}: give a pattern and 0 ≤ ratio < 1."
        yield from self._channel_faults() if self.kind == "structured" else self._weight_faults()
        if self.kind == "2:4":
            yield from self._two_of_four_faults()

    def _channel_faults(self) -> Iterator[str]:
        if self.method != "magnitude":
            yield "`method` is for single weights: set `importance` for channels, or `kind: unstructured`."
        if self.schedule is not None:
            yield "`schedule` is for single weights: leave it out, or set `kind: unstructured`."

    def _weight_faults(self) -> Iterator[str]:
        if self.importance != "magnitude":
            yield f"`importance` ranks channels: set `method` for `kind: {self.kind}`."
        if self.round_to != 8:
            yield f"`round_to` counts channels: leave it out for `kind: {self.kind}`."
        if self.layer_norm != "keep":
            yield f"`layer_norm` is about channels: leave it out for `kind: {self.kind}`."
        if self.scope == "time":
            yield "`scope: time` saves time by removing channels, and zeros save none: set `kind: structured`."
        if self.method == "sparsegpt" and self.scope == "global":
            yield "`method: sparsegpt` chooses within each layer: set `scope: layer`."
        if self.method == "sparsegpt" and self.schedule is not None:
            yield "`method: sparsegpt` prunes at once: leave `schedule` out, and follow with `distill`."
        if self.method == "movement" and self.kind == "unstructured" and self.schedule is None:
            yield "`method: movement` follows the training between steps: set `schedule`, such as `{steps: 5}`."

    def _two_of_four_faults(self) -> Iterator[str]:
        if self.method == "movement":
            yield "`kind: 2:4` prunes at once, and `method: movement` takes steps: set another method or kind."
        if self.ratio != 0.5:
            yield "`kind: 2:4` removes exactly half: leave `ratio` at 0.5, or set `kind: unstructured`."
        if self.scope != "layer":
            yield "`kind: 2:4` removes half of every layer: set `scope: layer`."
        if self.schedule is not None:
            yield "`kind: 2:4` prunes at once: leave `schedule` out, and follow with `distill`."
        if any(ratio != 0.0 for ratio in self.layers.values()):
            yield "`kind: 2:4` removes half of a layer or nothing: the ratios in `layers` can only be 0."

    def reads(self) -> frozenset[Need]:
        from_data = self.importance == "taylor" or self.method != "magnitude" or self.schedule is not None
        if self.schedule is not None and self.schedule.labels:
            return frozenset({"calibration", "labels"})
        return frozenset({"calibration"}) if from_data else self.needs

    def shrunk(self) -> Self:
        if self.schedule is None:
            return self
        return self.model_copy(update={"schedule": self.schedule.model_copy(update={"steps": 2, "epochs": 1})})

    def work(self, samples: int) -> float:
        rounds = 0 if self.schedule is None else self.schedule.steps * self.schedule.epochs
        return float(samples * (1 + rounds)) if self.reads() else 1.0

    def least_size_factor(self) -> float:
        if self.kind != "structured":
            return 1.0  # zeros take as much room as other numbers
        if self.scope == "time":
            return 0.0
        return (1.0 - max(self.ratio, *self.layers.values(), 0.0)) ** 2

    def wants_profile(self) -> bool:
        return self.kind == "structured" and self.scope == "time"
