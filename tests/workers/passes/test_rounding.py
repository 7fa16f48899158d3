"""Each way of rounding a weight: what it keeps exactly, and that the better ones are better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch

from workers.graphs.low_bit import LowBitWeight
from workers.graphs.low_bit_floats import NF4_LEVELS
from workers.passes.round_floats import round_fp8, round_nf4
from workers.passes.round_gptq import round_gptq
from workers.passes.round_hqq import round_hqq
from workers.passes.round_nearest import round_nearest
from workers.passes.rounding_grid import Rounding
from workers.passes.weight_forms import ratio_db

Round = Callable[[torch.Tensor, Rounding], LowBitWeight]
BITS = [2, 3, 4, 8]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(samples: int, columns: int) -> torch.Tensor:
    """Inputs of very different sizes that depend on each other, as activations do."""
    mixing = noise(columns, columns, seed=1) * 0.3 + torch.eye(columns)
    return (noise(samples, columns, seed=2) @ mixing) * noise(columns, seed=3).exp()


def gptq(weight: torch.Tensor, rounding: Rounding) -> LowBitWeight:
    x = correlated(400, weight[0].numel())
    return round_gptq(weight, rounding, (x.T @ x / len(x))[None], "activation")


WAYS: dict[str, Round] = {"nearest": round_nearest, "hqq": round_hqq, "gptq": gptq}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("way", WAYS)
def test_codes_scales_and_zeros_have_the_shapes_and_ranges_of_the_form(way: str, bits: int, symmetric: bool) -> None:
    low = WAYS[way](noise(5, 100), Rounding(bits, 32, symmetric))
    assert (low.bits, low.group, low.shape) == (bits, 32, (5, 100))
    assert low.codes.shape == (5, 128)
    assert low.scales.shape == (5, 4)
    assert (low.zeros is None) is symmetric
    least, most = low.code_range
    assert least <= int(low.codes.min())
    assert int(low.codes.max()) <= most
    if low.zeros is not None:
        assert least <= int(low.zeros.min())
        assert int(low.zeros.max()) <= most


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("way", WAYS)
def test_zeros_stay_zeros_so_that_what_was_pruned_stays_pruned(way: str, bits: int, symmetric: bool) -> None:
    weight = noise(6, 64)
    weight[noise(6, 64, seed=5) > 0.3] = 0.0
    weight[2] = 0.0
    weight[3] = weight[3].abs()
    rounded = WAYS[way](weight, Rounding(bits, 32, symmetric)).dequantized()
    assert bool((rounded[weight == 0] == 0).all())
    assert bool((rounded[weight.abs() > 1.5] != 0).all())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("way", WAYS)
def test_the_same_weight_gives_the_same_bits(way: str, bits: int) -> None:
    one, other = (WAYS[way](noise(6, 64), Rounding(bits, 32, False)) for _ in range(2))
    assert torch.equal(one.codes, other.codes)
    assert torch.equal(one.scales, other.scales)


@pytest.mark.parametrize(("bits", "least_db"), [(2, 8), (3, 14), (4, 20), (8, 44)])
def test_more_bits_come_nearer(bits: int, least_db: float) -> None:
    weight = noise(64, 256)
    assert ratio_db([(weight, round_nearest(weight, Rounding(bits, 64)).dequantized())]) > least_db


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_clipping_beats_the_extremes(bits: int) -> None:
    weight = noise(32, 256)
    most = 2 ** (bits - 1) - 1
    scales = weight.abs().amax(1, keepdim=True) / most
    plain = (weight / scales).round().clamp(-most - 1, most) * scales
    low = round_nearest(weight, Rounding(bits, None))
    assert ratio_db([(weight, low.dequantized())]) > ratio_db([(weight, plain)]) + 0.3


def test_zero_points_fit_weights_of_one_sign_better() -> None:
    weight = noise(16, 64).abs() + 1
    symmetric, free = (
        ratio_db([(weight, round_nearest(weight, Rounding(4, 32, s)).dequantized())]) for s in (True, False)
    )
    assert free > symmetric


def test_eight_bits_keep_clear_of_the_code_that_has_no_negative_and_of_63_where_kernels_saturate() -> None:
    assert int(round_nearest(noise(8, 64), Rounding(8, None)).codes.min()) >= -127
    narrow = round_nearest(noise(8, 64), Rounding(8, None, narrow=True)).codes
    assert int(narrow.abs().max()) == 63


@pytest.mark.parametrize(
    ("columns", "group", "used"),
    [(9, 64, 16), (20, 64, 32), (100, 64, 64), (64, 128, 64), (27, None, 27), (1, None, 2)],
)
def test_a_group_is_no_wider_than_fills_the_row(columns: int, group: int | None, used: int) -> None:
    low = round_nearest(noise(4, columns), Rounding(4, group))
    assert low.group == used
    assert low.dequantized().shape == (4, columns)


def test_a_convolution_keeps_its_shape() -> None:
    low = round_nearest(noise(8, 3, 3, 3), Rounding(4, 64))
    assert low.dequantized().shape == (8, 3, 3, 3)


def output_db(weight: torch.Tensor, low: LowBitWeight, x: torch.Tensor) -> float:
    return ratio_db([(x @ weight.T, x @ low.dequantized().T)])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_hqq_leaves_less_error_in_the_outputs_than_nearest(bits: int, symmetric: bool) -> None:
    weight = noise(256, 256) + 0.3 * noise(256, 256, seed=7).pow(3)
    x, rounding = noise(2000, 256, seed=8), Rounding(bits, 64, symmetric)
    nearest, hqq = (output_db(weight, way(weight, rounding), x) for way in (round_nearest, round_hqq))
    assert hqq > nearest


def test_hqq_never_leaves_more_error_in_the_weights_than_nearest() -> None:
    weight = noise(64, 128).pow(3)
    nearest, hqq = (way(weight, Rounding(3, 32)).dequantized() for way in (round_nearest, round_hqq))
    errors = [(each - weight).square().reshape(64, 4, 32).sum(2) for each in (nearest, hqq)]
    assert bool((errors[1] <= errors[0] * (1 + 1e-5)).all())


@pytest.mark.parametrize(("order", "gain"), [("activation", 2.0), ("given", 0.8)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gptq_leaves_much_less_error_in_the_outputs_than_nearest(
    bits: int, symmetric: bool, order: Literal["activation", "given"], gain: float
) -> None:
    weight, rounding = noise(48, 192), Rounding(bits, 64, symmetric)
    x = correlated(1000, 192)
    seen, unseen = x[:600], x[600:]
    rounded = round_gptq(weight, rounding, (seen.T @ seen / len(seen))[None], order)
    assert output_db(weight, rounded, unseen) > output_db(weight, round_nearest(weight, rounding), unseen) + gain


def test_gptq_rounds_each_part_of_a_grouped_convolution_by_its_own_inputs() -> None:
    weight, rounding = noise(8, 40), Rounding(3, 64)
    parts = [correlated(300, 40), correlated(300, 40).flip(1)]
    hessians = torch.stack([x.T @ x / len(x) for x in parts])
    whole = round_gptq(weight, rounding, hessians, "given").dequantized()
    for index, hessian in enumerate(hessians):
        rows = slice(4 * index, 4 * index + 4)
        alone = round_gptq(weight[rows], rounding, hessian[None], "given").dequantized()
        torch.testing.assert_close(whole[rows], alone)


def test_gptq_copes_with_few_samples_and_with_inputs_that_are_never_there() -> None:
    weight = noise(8, 64)
    x = correlated(3, 64)
    x[:, 10:20] = 0.0
    low = round_gptq(weight, Rounding(4, 32), (x.T @ x / len(x))[None], "activation")
    assert bool(low.dequantized().isfinite().all())
    nothing = round_gptq(weight, Rounding(4, 32), torch.zeros(1, 64, 64), "activation")
    assert torch.equal(nothing.dequantized(), round_nearest(weight, Rounding(4, 32)).dequantized())


def test_fp8_has_a_scale_per_output_and_keeps_zeros() -> None:
    weight = noise(6, 3, 3, 3)
    weight[0] = 0.0
    weight[1] *= 1e4
    low = round_fp8(weight)
    assert low.codes.dtype is torch.float8_e4m3fn
    assert low.scales.shape == (6, 1, 1, 1)
    assert bool((low.dequantized()[0] == 0).all())
    assert all(ratio_db([(weight[row], low.dequantized()[row])]) > 28 for row in range(1, 6))
    assert low.packed_bytes == 6 * 27 + 6 * 4


def test_nf4_takes_the_nearest_of_its_levels() -> None:
    weight = noise(6, 70)
    low = round_nf4(weight, 64)
    levels = torch.tensor(NF4_LEVELS)
    assert (low.group, tuple(low.scales.shape)) == (64, (6, 2))
    for group in range(2):
        part = weight[:, 64 * group : 64 * group + 64]
        scaled = part / low.scales[:, group : group + 1]
        nearest = (scaled[..., None] - levels).abs().amin(-1)
        error = (low.dequantized()[:, 64 * group : 64 * group + 64] - part).abs() / low.scales[:, group : group + 1]
        torch.testing.assert_close(error, nearest)
    assert low.packed_bytes == 6 * 70 // 2 + 12 * 4


def test_a_group_of_zeros_has_no_nan() -> None:
    weight = torch.zeros(2, 32)
    for low in (
        round_nearest(weight, Rounding(4, 16)),
        round_hqq(weight, Rounding(4, 16, False)),
        round_nf4(weight, 16),
    ):
        assert torch.equal(low.dequantized(), weight)
