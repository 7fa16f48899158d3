"""Ranges of activations from a histogram of what was seen: by percentile, and by entropy."""

from __future__ import annotations

import torch
from torch.nn import functional
from torchao.quantization.pt2e import HistogramObserver

__all__ = ["EntropyObserver", "PercentileObserver", "entropy_bins", "percentile_bins"]

_LEVELS = 256
_CUT = 1e-4
"""Share of the values beyond the range by percentile, half of it on either side."""
_VALUES = 500
"""Values that an average over neighbouring bins should hold."""
_STEP = 16
"""Bins between the candidates for a range by entropy."""


class PercentileObserver(HistogramObserver):  # type: ignore[misc]  # torchao ships no types
    """The range that holds all but 0.01 % of the values."""

    def _non_linear_param_search(self) -> tuple[torch.Tensor, torch.Tensor]:
        return _range(self, *percentile_bins(self.histogram))


class EntropyObserver(HistogramObserver):  # type: ignore[misc]  # torchao ships no types
    """The range whose 256 levels keep the most information of the values (`entropy_bins`)."""

    def _non_linear_param_search(self) -> tuple[torch.Tensor, torch.Tensor]:
        return _range(self, *entropy_bins(self.histogram, float(self.min_val), float(self.max_val)))


def percentile_bins(histogram: torch.Tensor) -> tuple[int, int]:
    """First and last bin of the range by percentile."""
    below = histogram.double().cumsum(0) / histogram.double().sum()
    first = int((below <= _CUT / 2).sum())
    last = int((below < 1 - _CUT / 2).sum())
    return min(first, last), min(last, len(histogram) - 1)


def entropy_bins(histogram: torch.Tensor, low: float, high: float) -> tuple[int, int]:
    """First and last bin of the range of least Kullback-Leibler divergence, as in TensorRT's calibration.

    Candidates are the ranges `[-t, t]` within `[low, high]`. What lies beyond counts at the ends of the range; the
    distribution that 256 levels can tell apart is held against that (Migacz, 2017: 8-bit inference with TensorRT).
    """
    width = (high - low) / len(histogram)
    if width <= 0:
        return 0, len(histogram) - 1
    counts = _smooth(histogram.double(), int(-low / width))
    centers = low + width * (torch.arange(len(counts), dtype=torch.float64) + 0.5)
    reach = max(abs(low), abs(high))
    best, chosen = float("inf"), (0, len(counts) - 1)
    for limit in torch.arange(reach, 0, -_STEP * width, dtype=torch.float64).tolist():
        inside = (centers.abs() <= limit).nonzero().flatten()
        if len(inside) < _LEVELS:
            break
        first, last = int(inside[0]), int(inside[-1])
        divergence = _divergence(counts, first, last)
        if divergence < best:
            best, chosen = divergence, (first, last)
    return chosen


def _smooth(counts: torch.Tensor, zero: int) -> torch.Tensor:
    """Counts without the heap at zero that a ReLU leaves, and averaged over neighbours where they are few.

    A level that merges bins loses what sets them apart: with a few thousand values that is chance, and the search
    would rather cut half of them off.
    """
    counts = counts.clone()
    if 0 <= zero < len(counts):
        around = [counts[at] for at in (zero - 1, zero + 1) if 0 <= at < len(counts)]
        counts[zero] = min(float(counts[zero]), float(torch.stack(around).mean()))
    width = int(len(counts) * _VALUES / max(1.0, float(counts.sum()))) // 2 * 2 + 1
    width = min(width, len(counts) // 8 * 2 + 1)
    padded = functional.pad(counts[None, None], (width // 2, width // 2), mode="replicate")
    return functional.avg_pool1d(padded, width, stride=1)[0, 0]


def _divergence(counts: torch.Tensor, first: int, last: int) -> float:
    within = counts[first : last + 1]
    wanted = within.clone()
    wanted[0] += counts[:first].sum()
    wanted[-1] += counts[last + 1 :].sum()
    level = torch.arange(len(within)) * _LEVELS // len(within)
    filled = (within > 0).double()
    totals = torch.zeros(_LEVELS, dtype=torch.float64).index_add_(0, level, within)
    shared = torch.zeros(_LEVELS, dtype=torch.float64).index_add_(0, level, filled).clamp(min=1)
    given = (totals / shared)[level] * filled
    total = given.sum()
    if total == 0:
        return float("inf")
    p, q = wanted / wanted.sum(), given / total
    at = p > 0
    return float((p[at] * (p[at] / q[at].clamp(min=1e-12)).log()).sum())


def _range(observer: HistogramObserver, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = (observer.max_val - observer.min_val) / observer.bins
    return observer.min_val + width * first, observer.min_val + width * (last + 1)
