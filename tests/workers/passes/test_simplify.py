"""Graph clean-up: the same outputs from fewer calls, and nothing merged that must not be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Simplify
from tests import models
from tests.workers.quantized import calibration, context, export
from workers.passes.base import Applied
from workers.passes.simplify import SimplifyPass
from workers.programs import batch_range, save_program, summary


def simplify(program: ExportedProgram, **settings: bool) -> Applied:
    given = context(program, calibration(torch.zeros(1)))
    return SimplifyPass().apply(program, Simplify.model_validate(settings), given)


def ops(program: ExportedProgram) -> dict[str, int]:
    return summary(program)[2]


class Wasteful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        constant = self.scale.exp() * self.shift
        unused = torch.tanh(x)
        del unused
        one, two = torch.sigmoid(x), torch.sigmoid(x)
        return self.dropout(one + two)[:] * constant


@pytest.mark.parametrize("name", models.NAMES)
def test_the_outputs_stay_what_they_were_at_every_batch(name: str) -> None:
    program = models.program(name)
    applied = simplify(program)
    assert batch_range(applied.program) == batch_range(program)
    for batch in (1, 5):
        inputs = models.example(name, batch, seed=batch)
        torch.testing.assert_close(applied.program.module()(*inputs), program.module()(*inputs), rtol=1e-4, atol=1e-4)


def test_repeated_idle_and_constant_calls_are_gone() -> None:
    program = export(Wasteful(), torch.randn(4, 8))
    applied = simplify(program)
    left = ops(applied.program)
    assert left == {"aten.add.Tensor": 1, "aten.mul.Tensor": 1, "aten.sigmoid.default": 1}
    assert {layer.treatment.partition(" ")[0] for layer in applied.layers} == {"removed", "merged", "precomputed"}
    x = torch.randn(3, 8)
    torch.testing.assert_close(applied.program.module()(x), program.module()(x))


def test_batch_norms_are_folded_and_their_tensors_gone() -> None:
    applied = simplify(models.program("residual_cnn"))
    assert not any("batch_norm" in name for name in ops(applied.program))
    assert not any("running" in name for name in applied.program.state_dict)
    assert applied.figures["batch_norms_folded"] > 0


def test_each_part_can_be_left_out() -> None:
    program = export(Wasteful(), torch.randn(4, 8))
    assert ops(simplify(program, merge_repeated=False).program)["aten.sigmoid.default"] == 2
    assert "aten.exp.default" in ops(simplify(program, fold_constants=False).program)
    kept = simplify(models.program("residual_cnn"), fold_batch_norms=False).program
    assert any("batch_norm" in name for name in ops(kept))


def test_random_calls_and_what_is_written_to_are_not_merged() -> None:
    class Careful(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one, two = x * 2, x * 2
            one.add_(1)
            return one + two + torch.rand_like(x) - torch.rand_like(x)

    program = export(Careful(), torch.randn(4, 8))
    left = ops(simplify(program).program)
    assert left["aten.mul.Tensor"] == 2
    assert left["aten.rand_like.default"] == 2


def test_a_program_with_nothing_to_tidy_is_handed_back() -> None:
    program = export(nn.Linear(4, 4), torch.randn(4, 4))
    applied = simplify(program)
    assert not applied.changed
    assert applied.program is program
    assert applied.why_unchanged == (
        "The graph has no idle call, no repeated call, no batch norm of its own behind a convolution, and nothing to "
        "compute from weights alone that takes no more bytes than they do."
    )
    assert simplify(program, fold_constants=False, fold_batch_norms=False, merge_repeated=False).why_unchanged == (
        "The graph has no idle call."
    )


def test_the_incoming_program_is_unchanged() -> None:
    program = export(Wasteful(), torch.randn(4, 8))
    before = ops(program)
    simplify(program)
    assert ops(program) == before


def test_the_same_program_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_program(simplify(models.program("residual_cnn")).program, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
