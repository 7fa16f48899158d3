"""Low-rank factorization: exact where the rank is there, nearest by the outputs elsewhere, honest of what it left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import LowRank, Prune
from tests import models
from tests.workers.quantized import calibration, context, export
from workers.passes.base import Applied
from workers.passes.low_rank import LowRankPass
from workers.programs import batch_range, save_program, summary


def factorize(program: ExportedProgram, *inputs: torch.Tensor, **settings: object) -> Applied:
    given = {"round_to": 1, **settings}
    return LowRankPass().apply(program, LowRank.model_validate(given), context(program, calibration(*inputs)))


def of_rank(rank: int, outputs: int, inputs: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(outputs, rank, generator=generator) @ torch.randn(rank, inputs, generator=generator)


def error(program: ExportedProgram, other: ExportedProgram, x: torch.Tensor) -> float:
    with torch.no_grad():
        wanted, given = program.module()(x), other.module()(x)
    return float((wanted - given).norm() / wanted.norm())


@pytest.mark.parametrize("whiten", [True, False])
def test_a_linear_layer_of_low_rank_is_split_exactly(whiten: bool) -> None:
    layer = nn.Linear(32, 24)
    layer.weight.data = of_rank(5, 24, 32)
    program = export(layer, torch.randn(4, 32))
    applied = factorize(program, torch.randn(64, 32), ratio=0.5, whiten=whiten)
    assert applied.changed
    assert {name: tuple(value.shape) for name, value in applied.program.state_dict.items()} == {
        "weight_down": (6, 32), "weight_up": (24, 6), "bias": (24,),
    }  # fmt: skip
    for batch in (1, 7):
        assert error(program, applied.program, torch.randn(batch, 32)) < 1e-4


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_keeps_stride_padding_and_dilation(stride: int) -> None:
    layer = nn.Conv2d(6, 16, 3, stride, 1, 1)
    layer.weight.data = of_rank(3, 16, 54).reshape(16, 6, 3, 3)
    program = export(layer, torch.randn(4, 6, 9, 9))
    applied = factorize(program, torch.randn(16, 6, 9, 9), ratio=0.6)
    assert applied.changed
    assert error(program, applied.program, torch.randn(3, 6, 9, 9)) < 1e-4


def test_the_multiply_adds_fall_by_the_ratio() -> None:
    program = models.program("mlp")
    applied = factorize(program, *models.example("mlp", 64), ratio=0.5)
    assert applied.changed
    _, before, _ = summary(program)
    _, after, _ = summary(applied.program)
    assert after <= 0.75 * before
    assert batch_range(applied.program) == batch_range(program)


def test_whitening_makes_the_error_of_the_outputs_smaller() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 32)
    scale = torch.logspace(-2, 1, 48)
    program = export(layer, torch.randn(4, 48))
    seen, unseen = torch.randn(256, 48) * scale, torch.randn(64, 48) * scale
    blind, aware = (factorize(program, seen, ratio=0.6, whiten=whiten).program for whiten in (False, True))
    assert error(program, aware, unseen) < 0.5 * error(program, blind, unseen)


def test_with_energy_the_rank_is_the_smallest_that_keeps_it_or_the_layer_is_left_alone() -> None:
    layer = nn.Linear(32, 32)
    layer.weight.data = of_rank(4, 32, 32)
    program = export(layer, torch.randn(4, 32))
    (kept,) = factorize(program, torch.randn(64, 32), energy=0.9999, whiten=False).layers
    assert kept.treatment == "rank 4 of 32"
    full = export(nn.Linear(32, 32), torch.randn(4, 32))
    applied = factorize(full, torch.randn(64, 32), energy=0.9999, whiten=False)
    assert not applied.changed
    assert "saves enough only up to 8" in applied.layers[0].reason


def test_each_layer_tells_what_it_lost() -> None:
    applied = factorize(models.program("residual_cnn"), *models.example("residual_cnn", 32), ratio=0.4)
    treated = [layer for layer in applied.layers if layer.treatment != "left alone"]
    assert treated
    for layer in treated:
        assert layer.bytes_after is not None
        assert layer.bytes_before is not None
        assert layer.bytes_after < layer.bytes_before
        assert layer.error_db is not None


def test_what_it_can_not_treat_is_left_alone_with_the_reason() -> None:
    applied = factorize(models.program("depthwise_cnn"), *models.example("depthwise_cnn", 16), ratio=0.3)
    reasons = {layer.layer: layer.reason for layer in applied.layers if layer.treatment == "left alone"}
    assert any("grouped" in reason for reason in reasons.values())


class Owned(nn.Module):
    """Weights of one owner, each of a rank of its own, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ParameterList([of_rank(3, 16, 16), of_rank(5, 16, 16)])
        self.up = nn.ConvTranspose1d(16, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.all:
            x = nn.functional.linear(x, weight)
        return self.up(x[:, :, None])  # type: ignore[no-any-return]


def test_weights_of_one_owner_are_factorized_each_by_itself() -> None:
    program = export(Owned(), torch.randn(4, 16))
    applied = factorize(program, torch.randn(64, 16), energy=0.999999, ratio=0.1)
    layers = {layer.layer: layer for layer in applied.layers}
    assert layers["all.0"].treatment == "rank 3 of 16"
    assert layers["all.1"].treatment == "rank 5 of 16"
    assert layers["up"].reason == "only linear layers and convolutions are factorized, and this is `conv_transpose1d`"
    assert error(program, applied.program, torch.randn(3, 16)) < 1e-3


class Shared(nn.Module):
    """A layer that is called twice, and one whose weight is also a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(24, 16)
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 24)
        self.head.weight = self.table.weight
        self.body.weight.data = of_rank(3, 16, 16) / 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.body(self.table(x)).tanh()))  # type: ignore[no-any-return]


def test_a_layer_that_is_called_twice_is_factorized_once_for_both_calls() -> None:
    numbers = torch.randint(0, 24, (64, 5))
    program = export(Shared(), numbers[:4])
    applied = factorize(program, numbers, energy=0.999999, ratio=0.1)
    layers = {layer.layer: layer for layer in applied.layers}
    assert layers["body"].treatment == "rank 3 of 16"
    (other,) = (layer for name, layer in layers.items() if name != "body")
    assert other.reason == "its weights are also looked up as a table"
    assert {name for name in applied.program.state_dict if name.startswith("body")} == {
        "body.bias", "body.weight_down", "body.weight_up",
    }  # fmt: skip
    assert error(program, applied.program, numbers[:3]) < 1e-3


def test_a_layer_too_small_for_the_vector_width_is_left_alone() -> None:
    applied = factorize(export(nn.Linear(8, 8), torch.randn(4, 8)), torch.randn(16, 8), round_to=8)
    assert not applied.changed
    assert applied.why_unchanged == f"Every layer was left alone: {applied.layers[0].reason}."
    assert "too small for a rank of 8" in applied.layers[0].reason


def test_patterns_name_other_ratios() -> None:
    program = models.program("mlp")
    applied = factorize(program, *models.example("mlp", 32), layers={"*": 0.0})
    assert applied.program is program
    assert {layer.reason for layer in applied.layers} == {"the settings leave it alone"}


def test_after_sparse_weights_it_is_refused_since_it_would_lose_them() -> None:
    assert "zeros would be lost" in str(LowRank().conflict_with(Prune(kind="unstructured")))
    assert LowRank().conflict_with(Prune()) is None


def test_a_model_without_layers_is_refused() -> None:
    assert LowRankPass().requires(export(nn.ReLU(), torch.randn(4, 8)), LowRank()) != ()
    assert LowRankPass().requires(models.program("mlp"), LowRank()) == ()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        applied = factorize(models.program("residual_cnn"), *models.example("residual_cnn", 32), ratio=0.4)
        save_program(applied.program, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
