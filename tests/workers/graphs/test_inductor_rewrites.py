"""The rewrites that come before Inductor compute the same as the program they are made from."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from tests.workers.quantized import THIRD_PARTY, export, quantize
from workers.graphs.affine_batch_norms import make_batch_norms_affine
from workers.graphs.inductor_linear_inputs import make_linear_inputs_contiguous
from workers.graphs.one_channel_convolutions import is_ambiguous, widen_one_channel_convolutions
from workers.graphs.reexport import reexport
from workers.graphs.residual_linears import guard_residual_linears
from workers.programs import batch_range

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)


class Transposed(nn.Module):
    """Two layers read one transposed input, one reads it as it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.plain = nn.Linear(6, 5), nn.Linear(6, 4, bias=False), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x.transpose(0, 1)
        return self.one(y), self.other(y), self.plain(x)


def ops(module: GraphModule) -> Counter[str]:
    return Counter(str(node.target) for node in module.graph.nodes if node.op == "call_function")


def test_a_residual_addition_becomes_a_subtraction_equal_to_the_last_bit() -> None:
    program = quantize(export(Residual(), torch.randn(3, 6)), torch.randn(32, 6)).program
    module = copy.deepcopy(program.module(check_guards=False))
    inputs = torch.randn(5, 6)
    expected = module(inputs)
    assert guard_residual_linears(module) == 1
    assert ops(module)["aten.add.Tensor"] == 0
    assert ops(module)["aten.sub.Tensor"] == 1
    assert torch.equal(module(inputs), expected)
    assert guard_residual_linears(module) == 0


def test_an_addition_to_a_float_layer_is_left_as_it_is() -> None:
    module = copy.deepcopy(export(Residual(), torch.randn(3, 6)).module(check_guards=False))
    assert guard_residual_linears(module) == 0


def test_a_transposed_input_of_a_linear_layer_is_copied_and_computes_the_same() -> None:
    program = quantize(export(Transposed(), torch.randn(3, 7, 6)), torch.randn(32, 7, 6)).program
    module = copy.deepcopy(program.module(check_guards=False))
    inputs = torch.randn(5, 7, 6)
    expected = module(inputs)
    assert make_linear_inputs_contiguous(module) == 2
    for found, other in zip(module(inputs), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-6)
    assert make_linear_inputs_contiguous(module) == 0
    after = reexport(module, program, [torch.randn(2, 7, 6)])
    assert batch_range(after) == batch_range(program)
    assert make_linear_inputs_contiguous(copy.deepcopy(after.module(check_guards=False))) == 0


def test_a_transposed_input_of_a_float_layer_is_left_as_it_is() -> None:
    module = copy.deepcopy(export(Transposed(), torch.randn(3, 7, 6)).module(check_guards=False))
    assert make_linear_inputs_contiguous(module) == 0


@pytest.mark.parametrize("padding", [1, "same"])
def test_a_widened_convolution_computes_the_same(padding: int | str) -> None:
    float_program = export(nn.Conv2d(1, 4, 3, padding=padding), torch.randn(3, 1, 8, 8))
    program = quantize(float_program, torch.randn(32, 1, 8, 8)).program
    module = copy.deepcopy(program.module(check_guards=False))
    inputs = torch.randn(5, 1, 8, 8)
    expected = module(inputs)
    assert widen_one_channel_convolutions(module) == 1
    torch.testing.assert_close(module(inputs), expected, rtol=1e-5, atol=1e-6)
    after = reexport(module, program, [torch.randn(2, 1, 8, 8)])
    assert batch_range(after) == batch_range(program)
    assert {tensor.shape[1] for tensor in after.state_dict.values() if tensor.dim() == 4} == {
        4
    }  # the narrow one is gone
    assert widen_one_channel_convolutions(module) == 0


def test_a_convolution_of_three_channels_is_left_as_it_is() -> None:
    program = quantize(export(nn.Conv2d(3, 4, 3), torch.randn(3, 3, 8, 8)), torch.randn(32, 3, 8, 8)).program
    assert widen_one_channel_convolutions(copy.deepcopy(program.module(check_guards=False))) == 0


@pytest.mark.parametrize(
    ("shape", "ambiguous"), [((2, 1, 8, 8), True), ((2, 16, 1, 1), True), ((2, 3, 8, 8), False), ((2, 3, 1, 8), False)]
)
def test_one_channel_or_one_pixel_has_the_strides_of_both_memory_formats(
    shape: tuple[int, ...], ambiguous: bool
) -> None:
    assert is_ambiguous(torch.Size(shape)) is ambiguous


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_is_a_multiplication_and_an_addition(affine: bool) -> None:
    norm = nn.BatchNorm2d(4, affine=affine)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    module = copy.deepcopy(export(norm, torch.randn(3, 4, 5, 5)).module(check_guards=False))
    inputs = torch.randn(2, 4, 5, 5)
    expected = module(inputs)
    assert make_batch_norms_affine(module) == 1
    assert ops(module)["aten.batch_norm.default"] == 0
    torch.testing.assert_close(module(inputs), expected, rtol=1e-5, atol=1e-5)
    assert make_batch_norms_affine(module) == 0
