"""Quantized programs as modules to train: the same outputs, gradients where rounding has none, and codes again."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from tests import models
from tests.workers.low_bit_programs import exported, low_bit
from tests.workers.quantized import quantize
from workers.graphs.fake_quantization import FakeQuantized, layer_calls, straight_through
from workers.graphs.own_weights import state, with_own_weights
from workers.graphs.rounded_forms import find_rounded

# LSTM keeps its weights in a list too, which torch.export warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm:UserWarning")

QUANTIZED: dict[str, tuple[str, dict[str, Any]]] = {
    "static int8": ("residual_cnn", {}),
    "dynamic int8": ("mlp", {"activations": "dynamic"}),
    "int4": ("encoder", {"weights": "int4", "embeddings": True}),
    "int3 of a recurrent layer": ("lstm", {"weights": "int3"}),
    "int2 of kernels": ("residual_cnn", {"weights": "int2"}),
    "int2 with zero points and a filled group": ("mlp", {"weights": "int2", "group": 16, "symmetric": False}),
    "fp8": ("mlp", {"weights": "fp8"}),
    "nf4": ("residual_cnn", {"weights": "nf4"}),
}


@cache
def quantized(kind: str) -> tuple[str, ExportedProgram]:
    name, settings = QUANTIZED[kind]
    return name, quantize(models.program(name), *models.example(name, 32), **settings).program


def trained(program: ExportedProgram, *inputs: torch.Tensor) -> FakeQuantized:
    """After two large steps on random weights of its outputs."""
    fake = FakeQuantized(with_own_weights(program))
    parameters = [each.requires_grad_() for each in fake.module.parameters() if each.is_floating_point()]
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        outputs = fake.module(*inputs)
        (outputs * torch.arange(outputs.numel()).reshape(outputs.shape).sin()).sum().backward()
        optimizer.step()
    return fake


@pytest.mark.parametrize("kind", QUANTIZED)
def test_it_computes_what_the_program_computes(kind: str) -> None:
    name, program = quantized(kind)
    inputs = models.example(name, 8, seed=5)
    fake = FakeQuantized(with_own_weights(program))
    assert fake.weights
    assert all(layer.reason is None for layer in fake.layers)
    with torch.no_grad():
        assert torch.equal(fake.module(*inputs), program.module(check_guards=False)(*inputs))


@pytest.mark.parametrize("kind", QUANTIZED)
def test_a_program_of_its_codes_computes_what_it_computes_after_training(kind: str) -> None:
    name, program = quantized(kind)
    inputs = models.example(name, 8, seed=5)
    fake = trained(program, *inputs)
    settled = fake.settled()
    again = with_own_weights(program)
    before = state(again)
    assert settled.keys() == before.keys()
    assert any(
        not torch.equal(settled[each.codes_name].float(), before[each.codes_name].float()) for each in fake.weights
    )
    with torch.no_grad():
        for key, tensor in before.items():
            assert settled[key].dtype is tensor.dtype
            tensor.copy_(settled[key])
        assert torch.equal(fake.module(*inputs), again(*inputs))


@pytest.mark.parametrize("kind", QUANTIZED)
def test_every_weight_scale_and_bias_gets_a_gradient(kind: str) -> None:
    name, program = quantized(kind)
    fake = trained(program, *models.example(name, 8, seed=5))
    for each, parameter in fake.module.named_parameters():
        assert parameter.grad is not None, each
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any(), each


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_stay_within_their_range(bits: int, symmetric: bool) -> None:
    (weight,) = FakeQuantized(with_own_weights(one_linear(bits, symmetric))).weights
    with torch.no_grad():
        weight.latent.mul_(100)
    codes = weight.codes()
    least = -(2 ** (bits - 1)) if bits < 8 or not symmetric else -127
    assert codes.min() == least
    assert codes.max() == 2 ** (bits - 1) - 1


def test_7_bit_codes_stay_7_bit() -> None:
    (weight,) = FakeQuantized(with_own_weights(one_linear(8, True, narrow=True))).weights
    with torch.no_grad():
        weight.latent.mul_(100)
    assert [int(weight.codes().min()), int(weight.codes().max())] == [-63, 63]


def test_zero_points_stay() -> None:
    program = one_linear(4, symmetric=False)
    fake = trained(program, torch.randn(4, 40, generator=torch.Generator().manual_seed(0)))
    name = "weight_zeros"
    assert torch.equal(fake.settled()[name], program.state_dict[name])


def test_the_gradient_of_a_weight_ends_at_the_range_of_the_codes() -> None:
    (weight,) = FakeQuantized(with_own_weights(one_linear(4, True))).weights
    with torch.no_grad():
        weight.latent[0, 0] = 20 * weight.scales()[0, 0]
    weight().sum().backward()
    assert weight.latent.grad is not None
    assert weight.latent.grad[0, 0] == 0
    assert (weight.latent.grad[1:] == 1).all()


def test_the_gradient_of_a_scale_is_that_of_lsq() -> None:
    (weight,) = FakeQuantized(with_own_weights(one_linear(4, True))).weights
    with torch.no_grad():
        weight.latent.add_(0.3 * weight.scales().abs().min())
    scales = weight.scales().detach().requires_grad_()
    ratio = weight.latent.detach().reshape(*scales.shape, -1) / scales.detach()[..., None]
    level = ratio.round()
    inside = (level >= -8) & (level <= 7)
    expected = torch.where(inside, level - ratio, level.clamp(-8, 7)).sum(2)
    weight().sum().backward()
    assert weight.log_scale.grad is not None
    torch.testing.assert_close(weight.log_scale.grad, expected * scales.detach(), rtol=1e-3, atol=1e-4)


def test_the_gradient_of_an_activation_ends_at_its_range() -> None:
    source = torch.tensor([-3.0, 0.2, 3.0], requires_grad=True)
    rounded = straight_through(source, torch.tensor([-1.0, 0.0, 1.0]), -1.0, 1.0)
    assert rounded.tolist() == [-1.0, 0.0, 1.0]
    rounded.sum().backward()
    assert source.grad is not None
    assert source.grad.tolist() == [0.0, 1.0, 0.0]


def test_layers_are_named_as_before_they_were_rounded() -> None:
    for kind in ("static int8", "int2 of kernels"):
        _, program = quantized(kind)
        names = [layer.name for layer in FakeQuantized(with_own_weights(program)).layers]
        assert names[:2] == ["stem.0", "blocks.0.conv1"]
        assert "head" in names


def test_calls_that_read_latent_weights_are_found_by_the_name_of_their_layer() -> None:
    _, program = quantized("int2 with zero points and a filled group")
    fake = FakeQuantized(with_own_weights(program))
    assert [name for name, _ in layer_calls(fake.module)] == ["layers.0", "layers.2", "layers.5"]
    assert {call.target for _, call in layer_calls(fake.module)} == {torch.ops.aten.linear.default}


def test_zeros_of_the_last_group_do_not_count() -> None:
    _, program = quantized("int2 with zero points and a filled group")
    first = FakeQuantized(with_own_weights(program)).weights[0]
    assert first.size == 64 * 20
    assert int(first.zeros().sum()) <= first.size
    assert not first.zeros()[:, 20:].any()


def test_a_weight_that_two_layers_share_is_trained_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.one(self.one(x))
            return found

    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    fake = FakeQuantized(with_own_weights(low_bit(exported(Tied(), x), x)))
    assert len(fake.weights) == len(fake.layers) == 1


def test_a_weight_whose_codes_do_not_come_back_is_left_as_it_is() -> None:
    program = one_linear(4, True)
    module = with_own_weights(program)
    with torch.no_grad():
        state(module)["weight_scales"].zero_()
    fake = FakeQuantized(module)
    assert fake.weights == []
    assert [layer.reason for layer in fake.layers] == ["its codes don't come back from the values that they stand for"]


def test_codes_that_are_read_in_two_ways_are_left_as_they_are() -> None:
    module = with_own_weights(one_linear(4, True))
    (rounded,) = find_rounded(module)
    arguments = (*rounded.node.args[:6], 16, torch.float32)
    with module.graph.inserting_before(rounded.node):
        other = module.graph.create_node("call_function", rounded.node.target, arguments)
    (linear,) = (node for node in module.graph.nodes if node.target is torch.ops.aten.linear.default)
    with module.graph.inserting_after(linear):
        product = module.graph.call_function(torch.ops.aten.add.Tensor, (linear, other))
    linear.replace_all_uses_with(product, delete_user_cb=lambda user: user is not product)
    fake = FakeQuantized(module)
    assert fake.weights == []
    assert [layer.reason for layer in fake.layers] == ["its codes are read in two ways"]


def test_a_float_program_is_left_as_it_is() -> None:
    module = with_own_weights(models.program("mlp"))
    names = [node.name for node in module.graph.nodes]
    fake = FakeQuantized(module)
    assert fake.layers == ()
    assert [node.name for node in fake.module.graph.nodes] == names
    assert fake.settled().keys() == state(module).keys()


def one_linear(bits: int, symmetric: bool, narrow: bool = False) -> ExportedProgram:
    """A linear layer of 40 inputs and 24 outputs, its weight under its own name."""

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(24, 40, generator=torch.Generator().manual_seed(1)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight)

    x = torch.randn(4, 40, generator=torch.Generator().manual_seed(0))
    return low_bit(
        exported(One(), x), x, bits=bits, group=None if bits == 8 else 32, symmetric=symmetric, narrow=narrow
    )
