"""The kernels of linear layers with weights of few bits."""

from __future__ import annotations

import math

import pytest
import torch

from tests.workers.backends.kernels.libraries import ISAS, Kernel, compiled, has
from tests.workers.backends.kernels.weights import magnitude, random_weight, reference
from workers.graphs.low_bit import LowBitWeight


@pytest.fixture(scope="module", params=[isa for isa in ISAS if has(isa)])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Kernel]:
    kinds, flags = ISAS[request.param]
    return request.param, compiled("linear.cpp", kinds, flags, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_product_agrees_with_the_reference(kernel: tuple[str, Kernel], seed: int) -> None:
    isa, library = kernel
    generator = torch.Generator().manual_seed(seed)

    def pick(*values: int) -> int:
        return values[int(torch.randint(len(values), (), generator=generator))]

    rounded = bool(pick(0, 1, 1))
    bits = pick(2, 3, 4, 8) if isa == "native" else pick(3, 4, 8) if rounded else pick(3, 4)
    group = pick(16, 32, 64, 128, 0) or None
    rows, columns, outputs = pick(*range(1, 34)), pick(*range(1, 300)), pick(*range(1, 200))
    weight = random_weight(generator, outputs, columns, bits, group, bool(pick(0, 1)))
    x = 3 * torch.randn(rows, columns, generator=generator) + pick(0, 0, 5)
    bias = torch.randn(outputs, generator=generator) if pick(0, 1) else None
    torch.set_num_threads(pick(1, 2))
    found = library.linear(x, weight, bias, rounded)
    expected = reference(x, weight, bias, rounded)
    assert (found - expected).abs().max() <= 2e-6 * (magnitude(x, weight) + 1)


def test_integer_sums_are_exact_at_the_extremes(kernel: tuple[str, Kernel]) -> None:
    """All products at their largest: an instruction that saturates would show here."""
    _, library = kernel
    for bits, code in ((4, 7), (4, -8), (8, 127), (8, -128)):
        weight = LowBitWeight(
            codes=torch.full((16, 4096), code, dtype=torch.int8),
            scales=torch.ones(16, 1),
            zeros=None,
            bits=bits,
            group=4096,
            shape=(16, 4096),
        )
        x = torch.full((5, 4096), 255.0)
        x[1] = -255
        x[2, ::2] = 0
        x[3, 0] = -127
        expected = reference(x, weight, None, rounded=True)
        assert (library.linear(x, weight) - expected).abs().max() <= 1e-7 * expected.abs().max()


def test_rows_of_a_batch_are_computed_alike(kernel: tuple[str, Kernel]) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 130, 200, 4, 32, zeros=True)
    x = torch.randn(33, 200, generator=generator)
    whole = library.linear(x, weight)
    assert all(torch.equal(library.linear(x[row : row + 1], weight)[0], whole[row]) for row in range(33))


def test_the_number_of_threads_changes_no_bit(kernel: tuple[str, Kernel]) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 1000, 1000, 8, None, zeros=False)
    x = torch.randn(33, 1000, generator=generator)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(library.linear(x, weight))
    assert torch.equal(*found)


@pytest.mark.parametrize("rounded", [True, False])
def test_inputs_that_lie_in_any_order_and_shape(kernel: tuple[str, Kernel], rounded: bool) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 20, 40, 4, 16, zeros=False)
    x = torch.randn(40, 3, 6, generator=generator).permute(2, 1, 0)[::2]
    found = library.linear(x, weight, rounded=rounded)
    assert found.shape == (3, 3, 20)
    assert torch.equal(found, library.linear(x.contiguous(), weight, rounded=rounded))
    vector = torch.randn(40, generator=generator)
    assert torch.equal(
        library.linear(vector, weight, rounded=rounded), library.linear(vector[None], weight, rounded=rounded)[0]
    )


def test_no_rows_give_no_rows(kernel: tuple[str, Kernel]) -> None:
    _, library = kernel
    weight = random_weight(torch.Generator().manual_seed(0), 20, 40, 4, None, zeros=False)
    assert library.linear(torch.empty(0, 40), weight).shape == (0, 20)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_gives_nan_and_touches_no_other(kernel: tuple[str, Kernel], value: float) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 20, 40, 4, None, zeros=False)
    x = torch.randn(3, 40, generator=generator)
    sound = library.linear(x, weight)
    x[1, 7] = value
    found = library.linear(x, weight)
    assert found[1].isnan().all()
    assert torch.equal(found[::2], sound[::2])
