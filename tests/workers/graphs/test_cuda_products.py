"""The functions that stand for layers on CUDA, against what they stand for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.workers.graphs.test_low_bit import rounded
from workers.graphs import cuda_packing as packing
from workers.graphs import cuda_products as products
from workers.graphs.low_bit_floats import NF4_LEVELS
from workers.passes.round_floats import round_nf4

ops = torch.ops.quantized_decomposed


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded_by_row(x: torch.Tensor) -> torch.Tensor:
    """As `round_input` writes it."""
    scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
    codes = ops.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
    found: torch.Tensor = ops.dequantize_per_token(codes, scale, zero, -128, 127, torch.int8, torch.float32)
    return found


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rows", [(1,), (2, 3), (40,)])
def test_int8_products_are_those_of_the_rounded_factors(symmetric: bool, rows: tuple[int, ...]) -> None:
    weight, bias, x = rounded(random(10, 37), 8, 64, symmetric), random(10, seed=1), random(*rows, 37, seed=2) + 1.0
    held = packing.int8_rows(weight.codes[:, :37], weight.scales, weight.zeros)
    found = products.int8_linear(x, held.codes, held.scales, held.zeros, held.sums, bias, 10)
    wanted = functional.linear(rounded_by_row(x), weight.dequantized(), bias)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_rows_of_zeros_give_the_bias() -> None:
    held = packing.int8_rows(torch.ones(8, 8, dtype=torch.int8), torch.ones(8, 1), None)
    found = products.int8_linear(torch.zeros(3, 8), held.codes, held.scales, None, held.sums, torch.ones(8), 8)
    assert torch.equal(found, torch.ones(3, 8))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8])
def test_static_int8_products_take_the_range_of_the_program(kind: torch.dtype) -> None:
    weight = rounded(random(10, 36), 8, 64)
    codes = torch.randint(0, 127, (3, 36), generator=torch.Generator().manual_seed(3)).to(kind)
    held = packing.int8_rows(weight.codes[:, :36], weight.scales, None)
    found = products.int8_static_linear(codes, 0.03, 17, held.codes, held.scales, held.sums, None, 10)
    torch.testing.assert_close(found, (codes.float() - 17) * 0.03 @ weight.dequantized().t(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 16, 17])
def test_the_int8_kernel_meets_sides_that_it_takes(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    own = torch.ops.aten._int_mm.default

    class Watching:
        def _int_mm(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            seen.append((*x.shape, *other.shape))
            return own(x, other)  # type: ignore[no-any-return]

    monkeypatch.setattr(products, "aten", Watching())
    held = packing.int8_rows(torch.ones(9, 10, dtype=torch.int8), torch.ones(9, 1), None)
    assert products.int8_linear(random(rows, 10), held.codes, held.scales, None, held.sums, None, 9).shape == (rows, 9)
    ((m, k, same, n),) = seen
    assert m > 16
    assert k == same
    assert k % 8 == n % 8 == 0


def test_a_bfloat16_product_answers_in_the_type_of_its_input() -> None:
    x, weight = random(4, 32), random(8, 32, seed=1)
    found = products.linear_in_bfloat16(x, weight, torch.ones(8))
    wanted = functional.linear(x, weight, torch.ones(8))
    assert found.dtype is torch.float32
    assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_packed_table_gives_the_rows_asked_for(bits: int) -> None:
    weight = rounded(random(12, 40), bits, 32, symmetric=False)
    indices = torch.tensor([[3, 0], [11, 3]])
    found = products.embedded(
        packing.packed_codes(weight), weight.scales, packing.packed_zeros(weight), bits, 64, 40, indices
    )
    assert torch.equal(found, weight.dequantized()[indices])


def test_nf4_is_unpacked_to_its_levels() -> None:
    form, levels = round_nf4(random(6, 3, 3), 16), torch.tensor(NF4_LEVELS)
    held = packing.packed(form.codes, 4)
    assert torch.equal(products.level_weight(held, form.scales, levels, 16, [6, 3, 3]), form.dequantized())
    rows = products.embedded_levels(held, form.scales, levels, 16, 9, torch.tensor([5, 1]))
    assert torch.equal(rows, form.dequantized()[[5, 1]].flatten(1))


def test_a_sparse_product_is_cut_to_its_rows_and_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def dense(compressed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        return x @ compressed.t()

    monkeypatch.setattr(products, "_sparse_product", dense)
    weight, x = random(16, 32), random(3, 5, 20, seed=1)
    weight[10:] = weight[:, 20:] = 0
    found = products.sparse_linear(x, weight, torch.ones(10), 32, 10)
    torch.testing.assert_close(found, functional.linear(x, weight[:10, :20], torch.ones(10)))
    assert shapes == [(16, 32)]
