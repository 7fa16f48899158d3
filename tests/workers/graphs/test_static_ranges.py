"""Where ranges by percentile and by entropy end."""

from __future__ import annotations

import torch

from workers.graphs.static_ranges import EntropyObserver, PercentileObserver, entropy_bins, percentile_bins

SPEC = {"dtype": torch.uint8, "qscheme": torch.per_tensor_affine, "quant_min": 0, "quant_max": 255}


def histogram(values: torch.Tensor) -> torch.Tensor:
    return torch.histc(values, 2048, float(values.min()), float(values.max()))


def test_a_percentile_cuts_the_rarest_values_on_both_sides() -> None:
    counts = torch.ones(2048) * 1000
    counts[:20] = counts[-20:] = 1  # 40 of two million
    first, last = percentile_bins(counts)
    assert first == 20
    assert last == 2027


def test_a_percentile_keeps_the_heap_at_zero_that_a_relu_leaves() -> None:
    counts = torch.ones(2048) * 10
    counts[0] = 1e6
    assert percentile_bins(counts)[0] == 0


def test_entropy_cuts_a_long_tail_and_keeps_a_short_one() -> None:
    normal = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0)).abs()
    tailed = torch.cat([normal, torch.linspace(5, 200, 50)])
    width = float(tailed.max() - tailed.min()) / 2048
    _, last = entropy_bins(histogram(tailed), float(tailed.min()), float(tailed.max()))
    assert last * width < 100
    _, last = entropy_bins(histogram(normal), float(normal.min()), float(normal.max()))
    assert last > 1024


def test_entropy_does_not_take_few_values_for_a_shape() -> None:
    values = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    first, last = entropy_bins(histogram(values), float(values.min()), float(values.max()))
    assert last - first > 1400


def test_a_constant_has_a_range_all_the_same() -> None:
    assert entropy_bins(torch.ones(2048), 1.0, 1.0) == (0, 2047)


def test_observers_turn_bins_into_scales() -> None:
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    for kind in (PercentileObserver, EntropyObserver):
        observer = kind(**SPEC)
        observer(values)
        scale, zero = observer.calculate_qparams()
        low, high = (float((edge - zero) * scale) for edge in (0, 255))
        assert float(values.min()) - 0.1 < low < -3
        assert 3 < high < float(values.max()) + 0.1
