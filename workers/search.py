"""The search of a goal without passes: which variants to try next, from what the ones before came to. Pure.

Round 1 tries the program as it is and every rounding that suits the layers that take its time and the machine (by the
profile), on every backend of the target; bfloat16, by itself or beside int8, only on those that compute in it.
Each later round prunes a share of the channels, units and heads, recovers by distillation, and rounds as the best of
round 1 did: first half of them, then more if that kept the quality and was faster, else less, halving the gap. Only
backends that came close to the fastest are tried again.
If the fastest rounding of round 1 loses too much quality, round 2 also distills it. Where that brings the quality back,
later rounds prune, round and recover that way.

It ends when the gap is small, when pruning gains nothing or finds nothing to prune, after `MOST_ROUNDS`, or when the
steps so far took longer than the goal's `search_time`. The same reports lead to the same search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from burnish.passes import Distill, PassSettings, Prune, Quantize
from burnish.recipe import DEFAULT_MAX_DROP, Backend, Recipe
from burnish.results import Candidate
from storage.records import Step
from workers.outcome import candidates
from workers.variants import AS_IS, Variant, searched

__all__ = ["BFLOAT16_BACKENDS", "Round", "next_round"]

MOST_ROUNDS = 4
_CLOSE = 0.85
"""Share of the best speed-up from which on a backend is tried again."""
_SMALL_GAP = 0.13
_FIRST_RATIO = 0.5
_GAIN = 1.03
"""What a stronger variant must gain over a weaker one to be worth going on."""
_TRAINING = 2e10
"""Weights × samples × epochs of one recovery, so that it takes about the same time whatever the model."""
_MOST_EPOCHS = 20
_LOW_BIT_WEIGHTS = 50_000
"""Weights from which on fewer than 8 bits are tried: below, reading them costs nothing."""

_WORTH_IT = 0.2
"""Share of the layers' measured time from which on a kind of layers has a rounding of its own tried."""
BFLOAT16_BACKENDS: frozenset[Backend] = frozenset({"eager", "inductor", "openvino"})
"""Those that compute in bfloat16. The others store weights in it and compute as before, which gains no time."""
_PRODUCTS = ("linear", "addmm", "matmul", "mm", "lstm", "gru", "rnn")


@dataclass(frozen=True)
class Round:
    """What to try next, and what to measure it against."""

    variants: tuple[tuple[Variant, tuple[Backend, ...]], ...]
    """Each with the backends to lower it by."""
    again: tuple[str, ...] = ()
    """Names of the contenders of earlier rounds that are measured once more, beside the new ones."""


@dataclass(frozen=True)
class _Tried:
    """A contender that was measured."""

    name: str
    variant: str
    backend: str
    speedup: float
    good: bool
    """True if its quality holds."""


def next_round(recipe: Recipe, every: Mapping[str, Step], samples: int) -> Round | None:
    """The next round of a search; `None` when it is over.

    Args:
        every: all steps of the job by name, all ended.
        samples: samples of the dataset.
    """
    capture = every["capture"].report or {}
    parameters = int(capture.get("parameters", 0))
    rounds = sum(step.op == "measure" for step in every.values())
    if rounds == 0:
        plain = [searched(), *(searched(each) for each in _roundings(_shares(every)))]
        return Round(_on(recipe.target.backends, plain))
    if rounds >= MOST_ROUNDS or sum(step.seconds or 0.0 for step in every.values()) > recipe.goal.search_time:
        return None
    tried = list(_measured(recipe, every))
    ratio = _next_ratio(tried, every)
    if ratio is None:
        return None
    base = _base(tried)
    recovery = Distill(epochs=_epochs(parameters, samples))
    rounding = list[PassSettings](_rounding_of(base.variant, every))
    if f"{base.variant}/distill" in every:
        rounding.append(recovery)
    variants = [searched(Prune(ratio=ratio), recovery, *rounding)]
    if rounds == 1:
        variants += [searched(each, recovery) for each in _to_recover(tried, every, base)]
    again = (base.name, *_best_pruned(tried, every, base))
    return Round(_on(_close(tried, recipe.target.backends), variants), again)


def _on(backends: Sequence[Backend], variants: Sequence[Variant]) -> tuple[tuple[Variant, tuple[Backend, ...]], ...]:
    """The variants with those of the backends where they can gain time; without one that has none."""
    where = ((each, tuple(name for name in backends if _can_gain(each, name))) for each in variants)
    return tuple((variant, chosen) for variant, chosen in where if chosen)


def _can_gain(variant: Variant, backend: Backend) -> bool:
    return backend in BFLOAT16_BACKENDS or not any(_is_half(settings) for settings in variant.passes)


def _is_half(settings: PassSettings) -> bool:
    return isinstance(settings, Quantize) and settings.half is not None


def _roundings(shares: _Shares) -> Iterator[PassSettings]:
    """Roundings that can pay for a program of these layers, the one that changes least first."""
    if shares.bfloat16 and shares.convolutions + shares.products >= _WORTH_IT:
        yield Quantize(weights="bfloat16")
    if shares.products >= _WORTH_IT:
        yield Quantize(weights="int8", activations="dynamic")
    if shares.convolutions + shares.products >= _WORTH_IT:
        yield Quantize(weights="int8", activations="int8")
        if shares.bfloat16:
            yield Quantize(weights="int8", activations="int8", rest="bfloat16")
    if shares.products >= _WORTH_IT and shares.product_weights >= _LOW_BIT_WEIGHTS:
        yield Quantize(weights="int4", rounding="gptq")


@dataclass(frozen=True)
class _Shares:
    """Of the measured time of all layers with weights."""

    convolutions: float
    products: float
    """Linear and recurrent layers."""
    product_weights: int
    """Number of weights of those."""
    bfloat16: bool
    """True if the machine multiplies bfloat16 faster than float32."""


def _shares(every: Mapping[str, Step]) -> _Shares:
    """By the profile; where it could not be made, every kind of layer may be worth it, and the machine is unknown."""
    report = every["profile"].report or {}
    if (layers := report.get("layers")) is None:
        return _Shares(1.0, 1.0, _LOW_BIT_WEIGHTS, bfloat16=False)
    total = sum(layer["seconds"] for layer in layers) or 1.0
    products = [layer for layer in layers if layer["op"].startswith(_PRODUCTS)]
    return _Shares(
        convolutions=sum(layer["seconds"] for layer in layers if layer["op"].startswith("conv")) / total,
        products=sum(layer["seconds"] for layer in products) / total,
        product_weights=sum(layer["parameters"] for layer in products),
        bfloat16=bool(report.get("bfloat16")),
    )


def _measured(recipe: Recipe, every: Mapping[str, Step]) -> Iterator[_Tried]:
    limit = DEFAULT_MAX_DROP if recipe.goal.max_drop is None else recipe.goal.max_drop
    for each in candidates(every):
        if each.refused is None and each.variant != "original" and _speedup(each) is not None:
            good = each.quality is not None and each.quality.drop.value <= limit
            yield _Tried(each.name, each.variant, each.backend, _speedup(each) or 0.0, good)


def _speedup(candidate: Candidate) -> float | None:
    return None if candidate.speedup_over_eager is None else candidate.speedup_over_eager.value


def _ratio_of(variant: str, every: Mapping[str, Step]) -> float | None:
    """The share that a variant prunes; `None` if it prunes nothing."""
    step = every.get(f"{variant}/prune")
    return None if step is None else float(step.spec["settings"]["ratio"])


def _base(tried: Sequence[_Tried]) -> _Tried:
    """The fastest without pruning whose quality holds. Only those carry no ratio in their name."""
    plain = [each for each in tried if not each.variant.startswith("prune")]
    return max(plain, key=lambda each: (each.good, each.speedup, each.name))


def _is_rounded_as(pruned: str, base: str) -> bool:
    """True if a pruned variant is treated as `base` after its pruning and the recovery of that."""
    return pruned.partition("+distill")[2].removeprefix("+") == ("" if base == AS_IS else base)


def _to_recover(tried: Sequence[_Tried], every: Mapping[str, Step], base: _Tried) -> Iterator[Quantize]:
    """The fastest rounding that loses too much quality, if nothing that keeps it is faster; bfloat16 is not trained."""
    failing = [each for each in tried if not each.good and not all(map(_is_half, _rounding_of(each.variant, every)))]
    if failing and (best := max(failing, key=lambda each: (each.speedup, each.name))).speedup >= base.speedup:
        yield from _rounding_of(best.variant, every)


def _next_ratio(tried: Sequence[_Tried], every: Mapping[str, Step]) -> float | None:
    """The next share to prune, between the largest that worked and the smallest that did not."""
    if not any(not each.variant.startswith("prune") for each in tried):
        return None
    base = _base(tried)
    known = {step.name.rpartition("/")[0] for step in every.values() if step.op == "pass:prune"}
    works, fails = [0.0], [1.0]
    speeds = {0.0: base.speedup}
    shares: list[float] = []
    for variant in sorted(known):
        ratio = _ratio_of(variant, every)
        assert ratio is not None
        fastest = max((each.speedup for each in tried if each.variant == variant and each.good), default=0.0)
        step = every[f"{variant}/prune"]
        if step.state != "done" or not (step.report or {}).get("changed", True):
            return None
        if not _is_rounded_as(variant, base.variant):
            continue
        shares.append(ratio)
        if fastest > base.speedup:
            works.append(ratio)
            speeds[ratio] = fastest
        else:
            fails.append(ratio)
    if not shares:
        return _FIRST_RATIO
    low, high = max(works), min(fails)
    below = max((speed for ratio, speed in speeds.items() if ratio < low), default=0.0)
    if high - low <= _SMALL_GAP or (low and speeds[low] < _GAIN * below):
        return None
    return round((low + high) / 2, 2)


def _close(tried: Sequence[_Tried], backends: Sequence[Backend]) -> tuple[Backend, ...]:
    """The backends whose best speed-up comes close to the best of all."""
    best = {name: max((each.speedup for each in tried if each.backend == name), default=0.0) for name in backends}
    return tuple(name for name in backends if best[name] >= _CLOSE * max(best.values()))


def _best_pruned(tried: Sequence[_Tried], every: Mapping[str, Step], base: _Tried) -> Iterator[str]:
    """The fastest pruned contender so far whose quality holds, if it beats the base."""
    good = [each for each in tried if each.good and _ratio_of(each.variant, every) is not None]
    if good and (best := max(good, key=lambda each: (each.speedup, each.name))).speedup > base.speedup:
        yield best.name


def _rounding_of(variant: str, every: Mapping[str, Step]) -> Iterator[Quantize]:
    """How a variant rounds, if it does."""
    if (step := every.get(f"{variant}/quantize")) is not None:
        yield Quantize.model_validate(step.spec["settings"])


def _epochs(parameters: int, samples: int) -> int:
    return max(1, min(_MOST_EPOCHS, round(_TRAINING / max(1, parameters * samples))))
