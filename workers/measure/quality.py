"""How well an artifact does on held-out data, next to the original on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from burnish.results import Quality
from workers.measure.statistics import mcnemar, mean_interval

__all__ = ["Assessment", "assess", "metric_of", "sqnr_db"]

Array = np.ndarray[Any, Any]
Metric = Literal["top1", "agreement", "cosine"]
EXACT_DB = 300.0
"""Stands for 'no difference at all', since a report holds no infinity."""
UNIT_TOLERANCE = 1e-2
"""How far a row may be from length 1, so that a model in half precision is told alike."""


@dataclass(frozen=True)
class Assessment:
    """Quality, and for classes how the samples fall on which the two differ."""

    quality: Quality
    only_original: int = 0
    """Samples that only the original gets right (without labels: where the class differs)."""
    only_candidate: int = 0

    @property
    def mcnemar_p(self) -> float:
        """Exact p-value of McNemar's test that both are equally often right."""
        return mcnemar(self.only_original, self.only_candidate)


def metric_of(outputs: Sequence[Array], targets: Array | None) -> Metric:
    """Which metric fits.

    1. A first output of anything but floats of shape (samples, columns), with two columns or more: `cosine`.
    2. Labels, which are integers, one per sample, each the number of a column: `top1`.
    3. Targets of floats say that the columns are numbers to be met, and rows of length 1 that they are an embedding:
       `cosine`. Probabilities are no embedding, though one that is certain has length 1 too.
    4. All else counts as class scores: `agreement`.
    """
    scores = outputs[0]
    if not (scores.ndim == 2 and scores.shape[1] >= 2 and np.issubdtype(scores.dtype, np.floating)):
        return "cosine"
    if targets is not None and _labels(targets, scores.shape) is not None:
        return "top1"
    numbers = targets is not None and np.issubdtype(targets.dtype, np.floating)
    return "cosine" if numbers or _is_embedding(scores) else "agreement"


def assess(original: Sequence[Array], candidate: Sequence[Array], targets: Array | None, seed: int) -> Assessment:
    """Compares outputs on the same held-out samples, each of shape (samples, …).

    The drop is the mean over samples of (original's score - candidate's score), with an interval from resampling
    samples, which keeps the pairing. On right and wrong answers this asks what McNemar's test asks; its exact p-value
    is given too.
    """
    metric = metric_of(original, targets)
    reference, value = _scores(metric, original, candidate, targets)
    drop = mean_interval(reference - value, seed)
    quality = Quality(
        metric=metric,
        original=float(reference.mean()),
        value=float(value.mean()),
        drop=drop,
        samples=reference.size,
        sqnr_db=sqnr_db(original, candidate),
    )
    if metric == "cosine":
        return Assessment(quality)
    return Assessment(quality, int((reference > value).sum()), int((value > reference).sum()))


def sqnr_db(reference: Sequence[Array], outputs: Sequence[Array]) -> float:
    """Signal-to-quantization-noise ratio in dB over all float outputs together: 10 log₁₀(Σ r² / Σ (r - o)²).

    Elements where the reference is not finite are left out. Within ±`EXACT_DB`.
    """
    signal = noise = 0.0
    for one, other in zip(reference, outputs, strict=True):
        if np.issubdtype(one.dtype, np.floating):
            a, b = one.astype(np.float64), other.astype(np.float64)
            finite = np.isfinite(a)
            signal += float(np.square(a[finite]).sum())
            noise += float(np.square(a[finite] - b[finite]).sum())
    if noise == 0:
        return EXACT_DB
    if signal == 0 or not np.isfinite(noise):
        return -EXACT_DB
    return float(np.clip(10 * np.log10(signal / noise), -EXACT_DB, EXACT_DB))


def _scores(
    metric: Metric, original: Sequence[Array], candidate: Sequence[Array], targets: Array | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One score per sample, of the original and of the candidate."""
    if metric == "cosine":
        cosine = _cosine(_flat(original), _flat(candidate))
        return np.ones_like(cosine), cosine
    first, second = original[0].argmax(axis=1), candidate[0].argmax(axis=1)
    truth = first
    if metric == "top1":
        assert targets is not None
        labels = _labels(targets, original[0].shape)
        assert labels is not None
        truth = labels
    return (first == truth).astype(np.float64), (second == truth).astype(np.float64)


def _is_embedding(rows: Array) -> bool:
    """True for rows of Euclidean length 1 that are no probabilities."""
    exact = rows.astype(np.float64)
    unit = np.allclose(np.linalg.norm(exact, axis=1), 1.0, atol=UNIT_TOLERANCE)
    probabilities = bool((exact >= 0).all()) and np.allclose(exact.sum(axis=1), 1.0, atol=UNIT_TOLERANCE)
    return unit and not probabilities


def _labels(targets: Array, shape: tuple[int, ...]) -> Array | None:
    """Targets as class numbers of shape (samples,), or `None` if they are something else."""
    flat = targets.reshape(targets.shape[0], -1)
    if flat.shape != (shape[0], 1) or not np.issubdtype(targets.dtype, np.integer):
        return None
    labels: Array = flat[:, 0]
    return labels if labels.size and labels.min() >= 0 and labels.max() < shape[1] else None


def _flat(outputs: Sequence[Array]) -> NDArray[np.float64]:
    """All outputs of each sample side by side: (samples, values)."""
    return np.concatenate([np.asarray(each, np.float64).reshape(each.shape[0], -1) for each in outputs], axis=1)


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine per row; two zero rows are alike, a zero row beside another is not."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    alike = np.all(one == other, axis=1).astype(np.float64)
    dots = (one * other).sum(axis=1)
    return np.asarray(np.where(norms > 0, np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0), alike))
