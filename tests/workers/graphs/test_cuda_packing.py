"""Weights as bytes for CUDA: unpacked to the same codes, laid out as torch's kernels define it."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.workers.graphs.test_low_bit import rounded
from workers.graphs import cuda_packing as packing
from workers.graphs.cuda_products import grouped_weight, unpacked
from workers.graphs.low_bit import LowBitWeight

aten = torch.ops.aten


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the card's layout: the codes 0 … 15, one to an int32, read as that kernel reads its bytes."""

    def spread(pairs: torch.Tensor, inner: int, device: str) -> torch.Tensor:
        assert inner in (2, 4, 8)
        assert pairs.shape[1] * 2 % (16 * inner) == 0
        assert pairs.shape[0] % 8 == 0
        return torch.stack([pairs >> 4, pairs & 15], -1).flatten(1).to(torch.int32)

    monkeypatch.setattr(packing, "_tiles", spread)


def from_tiles(laid: packing.Int4Tiles, shape: tuple[int, ...]) -> torch.Tensor:
    """What torch's kernel means by its arguments: (code - 8) * scale + zero, in bfloat16 factors."""
    scales, zeros = (part.t().repeat_interleave(laid.group, 1).float() for part in laid.scales_and_zeros.unbind(-1))
    return ((laid.tiles - 8) * scales + zeros)[: shape[0], : shape[1]]


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("columns", [1, 7, 16])
def test_packed_codes_come_back_bit_for_bit(bits: int, columns: int) -> None:
    codes = torch.randint(0, 2**bits, (5, columns), generator=torch.Generator().manual_seed(1))
    held = packing.packed(codes, bits)
    assert held.dtype is torch.uint8
    assert held.shape == (5, -(-columns * bits // 8))
    assert torch.equal(unpacked(held, bits, columns), codes.to(torch.uint8))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_packed_weight_means_the_same_numbers(bits: int, symmetric: bool) -> None:
    weight = rounded(random(6, 40), bits, 16, symmetric)
    found = grouped_weight(
        packing.packed_codes(weight),
        weight.scales,
        packing.packed_zeros(weight),
        weight.stored_bits,
        weight.codes.shape[1],
    )
    assert torch.equal(found[:, :40], weight.dequantized())


def test_three_bits_are_stored_in_four() -> None:
    assert packing.packed_codes(rounded(random(4, 32), 3, 32)).shape == (4, 16)


@pytest.mark.parametrize(
    ("columns", "group", "wanted"),
    [(128, 64, 64), (128, 32, 32), (512, 512, 256), (1024, 512, 256), (48, 16, None), (24, 24, 32), (200, 200, 32)],
)
def test_the_group_is_one_that_the_kernel_takes(columns: int, group: int, wanted: int | None) -> None:
    weight = LowBitWeight(
        torch.zeros(2, columns, dtype=torch.int8), torch.ones(2, columns // group), None, 4, group, (2,)
    )
    assert packing.tile_group(weight) == wanted


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("columns", "group"), [(128, 32), (100, 64), (40, 40), (600, 512)])
def test_tiles_mean_the_weight_but_for_scales_in_bfloat16(bits: int, symmetric: bool, columns: int, group: int) -> None:
    weight = rounded(random(10, columns), bits, group, symmetric)
    chosen = packing.tile_group(weight)
    assert chosen is not None
    laid = packing.int4_tiles(weight, chosen, "cpu")
    assert laid.scales_and_zeros.dtype is torch.bfloat16
    assert laid.scales_and_zeros.shape == (laid.columns // laid.group, 16, 2)
    wanted = weight.dequantized()
    assert (from_tiles(laid, (10, columns)) - wanted).abs().max() <= 2**-7 * wanted.abs().max()


@pytest.mark.usefixtures("plain")
def test_the_processors_kernel_for_four_bits_agrees_on_what_scales_and_zeros_mean() -> None:
    weight, x = rounded(random(32, 128), 4, 32, symmetric=False), random(5, 128).bfloat16()
    laid = packing.int4_tiles(weight, 32, "cpu")
    held = aten._convert_weight_to_int4pack_for_cpu(laid.tiles, 1)
    found = aten._weight_int4pack_mm_for_cpu(x, held, laid.group, laid.scales_and_zeros)
    wanted = x.float() @ weight.dequantized().t()
    assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_the_layout_that_the_cards_kernel_makes_has_the_shape_that_its_product_reads() -> None:
    with FakeTensorMode(), torch.device("cuda"):
        tiles = aten._convert_weight_to_int4pack(torch.empty(16, 64, dtype=torch.uint8), 8)
        x, scales = torch.empty(3, 128, dtype=torch.bfloat16), torch.empty(4, 16, 2, dtype=torch.bfloat16)
        found = aten._weight_int4pack_mm(x, tiles, 32, scales)
    assert (found.shape, found.device.type) == ((3, 16), "cuda")


def test_int8_rows_are_filled_up_with_zeros_and_know_their_sums() -> None:
    codes = torch.randint(-127, 128, (5, 13), dtype=torch.int8, generator=torch.Generator().manual_seed(2))
    rows = packing.int8_rows(codes, random(5, 1), torch.arange(5)[:, None])
    assert rows.codes.shape == (8, 16)
    assert torch.equal(rows.codes[:5, :13], codes)
    assert rows.codes[5:].count_nonzero() == rows.codes[:, 13:].count_nonzero() == 0
    assert torch.equal(rows.sums[:5], codes.sum(1, dtype=torch.int32))
    assert rows.zeros is not None
    assert rows.scales.shape == rows.zeros.shape == rows.sums.shape == (8,)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [([1, 0, 0, 2, 0, 0, 0, 3], True), ([1, 0, 2, 3, 0, 0, 0, 0], False), ([1, 0, 0, 1, 0, 0], False)],
)
def test_two_zeros_in_each_four_are_told_from_fewer(row: list[float], wanted: bool) -> None:
    assert packing.is_2_of_4(torch.tensor([row])) is wanted


def test_a_sparse_weight_is_filled_up_to_what_cusparselt_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_compressed", lambda weight, device: weight)
    laid, columns = packing.compress_2_of_4(torch.ones(10, 20), "cpu")
    assert (laid.shape, columns) == ((16, 32), 32)
    assert laid.sum() == 200
