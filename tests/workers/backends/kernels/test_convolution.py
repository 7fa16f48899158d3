"""The kernels of convolutions with weights of few bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tests.workers.backends.kernels.libraries import ISAS, Kernel, compiled, has
from tests.workers.backends.kernels.weights import random_weight
from workers.graphs.low_bit import LowBitWeight, ops


@pytest.fixture(scope="module", params=[isa for isa in ISAS if has(isa)])
def convolution(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    folder = tmp_path_factory.mktemp(f"convolution_{request.param}")
    return compiled("convolution.cpp", 0b111, [*ISAS[request.param][1], "-O1"], folder)


def random_filter(
    generator: torch.Generator, outputs: int, channels: int, kernel: Sequence[int], bits: int, group: int | None
) -> LowBitWeight:
    columns = channels * math.prod(kernel)
    weight = random_weight(generator, outputs, columns, bits, group, zeros=bool(outputs % 2))
    return replace(weight, shape=(outputs, channels, *kernel))


def convolved(
    x: torch.Tensor, weight: LowBitWeight, bias: torch.Tensor | None, geometry: Sequence[int]
) -> torch.Tensor:
    """Each sample rounded as eager rounds a row, and a convolution in float64 with the dequantized weight."""
    flat = x.flatten(1)
    scale, zero = ops.choose_qparams_per_token_asymmetric(flat, torch.int8)
    codes = ops.quantize_per_token(flat, scale, zero, -128, 127, torch.int8)
    rounded = ((codes.double() - zero) * scale).reshape(x.shape)
    stride, (above, below, left, right), dilation = geometry[:2], geometry[2:6], geometry[6:]
    padded = functional.pad(rounded, (left, right, above, below))
    biases = None if bias is None else bias.double()
    return functional.conv2d(padded, weight.dequantized().double(), biases, tuple(stride), 0, tuple(dilation))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_convolution_agrees_with_the_reference(convolution: Kernel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def pick(*values: int) -> int:
        return values[int(torch.randint(len(values), (), generator=generator))]

    kernel = pick(1, 2, 3, 5), pick(1, 2, 3, 5)
    channels, outputs = pick(1, 2, 3, 5, 16, 30), pick(1, 5, 16, 40, 70)
    weight = random_filter(generator, outputs, channels, kernel, pick(2, 3, 4, 8), pick(16, 32, 64, 0) or None)
    x = 3 * torch.randn(pick(1, 2, 5), channels, pick(9, 12, 15), pick(9, 11, 17), generator=generator) + pick(0, 5)
    order = pick(0, 1, 2)  # channels second, last, or in no order that the kernel knows
    x = (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3))[order]
    bias = torch.randn(outputs, generator=generator) if pick(0, 1) else None
    pads = (pick(0, 1, 2), pick(0, 1, 3), pick(0, 2), pick(0, 1))
    geometry = (pick(1, 2, 3), pick(1, 2), *pads, pick(1, 2), pick(1, 2))
    torch.set_num_threads(pick(1, 2))
    found = convolution.convolution(x, weight, bias, *geometry)
    expected = convolved(x, weight, bias, geometry)
    size = float(x.abs().max() * weight.dequantized().abs().flatten(1).sum(1).max())
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-6 * (size + 1)


def test_samples_of_a_batch_are_convolved_alike_on_any_number_of_threads(convolution: Kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = random_filter(generator, 40, 24, (3, 3), 4, 32)
    x = torch.randn(5, 24, 30, 31, generator=generator)
    geometry = (1, 1, 1, 1, 1, 1, 1, 1)
    torch.set_num_threads(1)
    alone = [convolution.convolution(x[i : i + 1], weight, None, *geometry)[0] for i in range(5)]
    torch.set_num_threads(2)
    whole = convolution.convolution(x, weight, None, *geometry)
    assert all(torch.equal(one, other) for one, other in zip(alone, whole, strict=True))


def test_a_sample_that_is_not_finite_gives_nan_and_touches_no_other(convolution: Kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = random_filter(generator, 20, 3, (3, 3), 4, None)
    x = torch.randn(3, 3, 8, 8, generator=generator)
    geometry = (1, 1, 1, 1, 1, 1, 1, 1)
    sound = convolution.convolution(x, weight, None, *geometry)
    x[1, 2, 4, 4] = math.inf
    found = convolution.convolution(x, weight, None, *geometry)
    assert found[1].isnan().all()
    assert torch.equal(found[::2], sound[::2])


def test_no_samples_give_no_samples(convolution: Kernel) -> None:
    weight = random_filter(torch.Generator().manual_seed(0), 20, 3, (3, 3), 4, None)
    found = convolution.convolution(torch.empty(0, 3, 8, 8), weight, None, 1, 1, 0, 0, 0, 0, 1, 1)
    assert found.shape == (0, 20, 6, 6)
