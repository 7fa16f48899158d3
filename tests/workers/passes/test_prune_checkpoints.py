"""Gradual pruning goes on from its checkpoint to the same bytes; what prunes at once leaves none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.export import ExportedProgram

from burnish.passes import Prune
from tests import models
from tests.workers.passes.coupled_nets import NETS, context, export
from tests.workers.passes.interruption import Apply, assert_the_same, interrupted
from workers.checkpoint import Checkpoint
from workers.passes.prune import PrunePass

SCHEDULE = {"steps": 3, "epochs": 2, "learning_rate": 0.01}
CALLS = 7
"""Reports of progress by that schedule: one for each epoch, and one at the end."""


def pruning(program: ExportedProgram, **settings: object) -> Apply:
    made = Prune.model_validate({"kind": "unstructured", **settings})
    return lambda context: PrunePass().apply(program, made, context)


@pytest.mark.parametrize("call", [2, 4, 5], ids=["in the first step", "in a later step", "between two steps"])
@pytest.mark.parametrize("method", ["magnitude", "taylor", "movement"])
def test_a_schedule_goes_on_from_its_checkpoint_to_the_same_bytes(method: str, call: int, tmp_path: Path) -> None:
    program = models.program("mlp")
    made = context(program, *models.example("mlp", 48))
    apply = pruning(program, method=method, schedule=SCHEDULE)
    resumed, told = interrupted(apply, made, call, tmp_path)
    assert len(told) == CALLS - (call - 1)
    assert_the_same(apply(made), resumed, tmp_path)


@pytest.mark.parametrize("method", ["magnitude", "movement"])
def test_weights_that_two_layers_share_go_on_as_one(method: str, tmp_path: Path) -> None:
    make, inputs = NETS["tied weights"]
    program = export(make(), inputs(4))
    made = context(program, inputs(48))
    apply = pruning(program, method=method, schedule=SCHEDULE)
    resumed, _ = interrupted(apply, made, 4, tmp_path)
    assert_the_same(apply(made), resumed, tmp_path)


@pytest.mark.parametrize("settings", [{}, {"method": "taylor"}, {"method": "sparsegpt"}, {"kind": "2:4"}])
def test_zeros_at_once_leave_no_checkpoint(settings: dict[str, object], tmp_path: Path) -> None:
    program = models.program("mlp")
    made = context(program, *models.example("mlp", 16))
    place = tmp_path / "checkpoint"
    pruning(program, **settings)(replace(made, checkpoint=Checkpoint(place=place, least_gap=0.0)))
    assert not place.exists()
