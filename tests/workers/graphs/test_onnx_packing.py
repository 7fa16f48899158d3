"""Low-bit weights as ONNX Runtime's kernels read them: nothing is lost on the way."""

from __future__ import annotations

import pytest
import torch

from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_packing import as_bytes, block_of, from_bytes, pack, reordered
from workers.passes.round_nearest import round_nearest
from workers.passes.rounding_grid import Rounding


def rounded(columns: int, bits: int, group: int | None, symmetric: bool = True) -> LowBitWeight:
    weight = torch.randn(6, columns, generator=torch.Generator().manual_seed(0))
    return round_nearest(weight, Rounding(bits, group, symmetric))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_packed_to_bytes_come_out_as_they_went_in(bits: int) -> None:
    codes = torch.randint(0, 2**bits, (5, 3, 19), dtype=torch.uint8)
    packed = as_bytes(codes, bits)
    assert packed.shape[-1] == -(-19 * bits // 8)
    assert torch.equal(from_bytes(packed, bits)[..., :19], codes)


def test_the_first_code_lies_in_the_lowest_bits() -> None:
    assert as_bytes(torch.tensor([[1, 2, 3, 0]], dtype=torch.uint8), 2).tolist() == [[0b00_11_10_01]]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [None, 16, 64])
@pytest.mark.parametrize("columns", [64, 70, 200])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_packed_weight_dequantizes_to_the_same_floats(
    bits: int, columns: int, group: int | None, symmetric: bool
) -> None:
    weight = rounded(columns, bits, group, symmetric)
    block = block_of(weight)
    assert block is not None
    packed = pack(weight, block)
    assert packed.bits == (4 if bits == 3 else bits)
    assert torch.equal(packed.dequantized(), weight.dequantized())


def test_two_bits_may_ride_in_four() -> None:
    weight = rounded(64, 2, 16, symmetric=False)
    packed = pack(weight, 16, bits=4)
    assert packed.codes.shape == (6, 4, 8)
    assert torch.equal(packed.dequantized(), weight.dequantized())


def test_a_group_is_cut_into_the_largest_block_that_divides_it() -> None:
    assert block_of(rounded(200, 4, 64)) == 64
    assert block_of(rounded(2000, 4, 512)) == 256
    assert block_of(rounded(200, 4, 64), allowed=(32,)) == 32
    assert block_of(rounded(200, 4, 16), allowed=(128, 64, 32)) is None


def test_one_scale_per_row_takes_any_block_that_is_not_twice_the_row() -> None:
    assert block_of(rounded(200, 8, None)) == 256
    assert block_of(rounded(100, 8, None)) == 128
    assert block_of(rounded(7, 8, None)) == 16


def test_a_zero_point_outside_the_codes_has_no_block() -> None:
    weight = rounded(64, 4, 16, symmetric=False)
    assert weight.zeros is not None
    weight.zeros[0, 0] = 9
    assert block_of(weight) is None


def test_columns_in_another_order_are_the_same_weight_in_that_order() -> None:
    weight = rounded(12, 4, None)
    order = torch.randperm(12)
    assert torch.equal(reordered(weight, order).dequantized(), weight.dequantized()[:, order])
