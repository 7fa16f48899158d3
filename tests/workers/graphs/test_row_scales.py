from __future__ import annotations

import pytest
import torch
from torchao.quantization.pt2e import PerChannelMinMaxObserver

from tests.workers.quantized import random
from workers.graphs.row_scales import LEAST_DB, SharedScaleObserver, can_share_scale

EIGHT_BITS, SEVEN_BITS = 127, 63


def shrunken(factor: float) -> torch.Tensor:
    """Normal weights of 16 rows, the last of them smaller than the others."""
    weight = random(16, 64)
    weight[-1] *= factor
    return weight


def least_row_db(weight: torch.Tensor, limit: int) -> float:
    """Signal-to-noise ratio of the worst row on one scale."""
    rounded = torch.fake_quantize_per_tensor_affine(weight, float(weight.abs().max() / limit), 0, -limit, limit)
    return float((10 * torch.log10(weight.square().sum(1) / (weight - rounded).square().sum(1))).min())


@pytest.mark.parametrize("limit", [EIGHT_BITS, SEVEN_BITS])
@pytest.mark.parametrize("factor", [1.0, 0.7, 0.5, 0.25])
def test_rows_share_a_scale_as_long_as_the_smallest_is_rounded_well(factor: float, limit: int) -> None:
    weight = shrunken(factor)
    assert can_share_scale(weight, limit) == (least_row_db(weight, limit) >= LEAST_DB)


def test_rows_alike_share_and_one_much_smaller_does_not() -> None:
    assert can_share_scale(shrunken(1.0), EIGHT_BITS)
    assert not can_share_scale(shrunken(0.1), EIGHT_BITS)


def test_fewer_bits_need_scales_of_their_own_sooner() -> None:
    assert can_share_scale(shrunken(0.7), EIGHT_BITS)
    assert not can_share_scale(shrunken(0.7), SEVEN_BITS)


def test_rows_that_are_judged_together_may_differ_more() -> None:
    weight = shrunken(0.1)
    assert can_share_scale(weight, EIGHT_BITS, together=True)
    weight[1:] *= 0.1
    assert not can_share_scale(weight, EIGHT_BITS, together=True)


def test_rows_of_zeros_lose_nothing() -> None:
    assert can_share_scale(shrunken(0.0), EIGHT_BITS)
    assert can_share_scale(torch.zeros(3, 4), EIGHT_BITS)


def test_the_shared_scale_is_the_largest_of_the_rows_own() -> None:
    own, shared = (
        observer(dtype=torch.int8, quant_min=-127, quant_max=127, qscheme=torch.per_channel_symmetric, ch_axis=0)
        for observer in (PerChannelMinMaxObserver, SharedScaleObserver)
    )
    weight = shrunken(0.5)
    own(weight)
    shared(weight)
    scales, zeros = shared.calculate_qparams()
    assert torch.equal(scales, own.calculate_qparams()[0].max().expand(16))
    assert not zeros.any()
