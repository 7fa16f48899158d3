"""Movement pruning: what is scored, what goes, and what returns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Prune
from tests import models
from tests.workers.passes.coupled_nets import NETS, Net, export
from workers.passes.base import Applied, PassContext, Samples
from workers.passes.movement import Movement
from workers.passes.prunable_weights import PrunableWeight
from workers.passes.prune import PrunePass
from workers.programs import save_program

SCHEDULE = {"steps": 4, "epochs": 3, "learning_rate": 0.01}


def prune(
    program: ExportedProgram, inputs: torch.Tensor, targets: torch.Tensor | None = None, **settings: object
) -> Applied:
    made = Prune.model_validate({"kind": "unstructured", "method": "movement", "schedule": SCHEDULE, **settings})
    context = PassContext(program, Samples((inputs,), targets), seed=0, max_batch=64, progress=lambda share, what: None)
    return PrunePass().apply(program, made, context)


def matrices(applied: Applied) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in applied.program.named_parameters() if tensor.dim() > 1}


def one_weight(*values: float) -> tuple[PrunableWeight, torch.Tensor, Movement]:
    weight = PrunableWeight("w", "w", "linear", (), None)
    tensor = nn.Parameter(torch.tensor([values]))
    return weight, tensor, Movement({weight: tensor})


def step(tensor: torch.Tensor, gradient: list[float], movement: Movement) -> None:
    """One step of gradient descent at a rate of 1."""
    tensor.grad = torch.tensor([gradient])
    with torch.no_grad():
        tensor -= tensor.grad
    movement.restore()


def test_the_score_is_the_sum_of_minus_gradient_times_weight() -> None:
    weight, tensor, movement = one_weight(2.0, -1.0, 0.5)
    step(tensor, [1.0, 0.5, -1.0], movement)
    assert movement.importance()[weight].tolist() == [[-2.0, 0.5, 0.5]]
    step(tensor, [0.0, 0.0, -1.0], movement)  # the last has become 1.5 meanwhile
    assert movement.importance()[weight].tolist() == [[-2.0, 0.5, 2.0]]


def test_before_any_training_the_magnitude_stands_in() -> None:
    weight, _, movement = one_weight(2.0, -1.0, 0.5)
    assert movement.importance()[weight].tolist() == [[2.0, 1.0, 0.5]]


def test_a_pruned_weight_is_scored_on_and_returns_with_its_value() -> None:
    weight, tensor, movement = one_weight(2.0, -1.0)
    movement.prune({weight: torch.tensor([[False, True]])})
    assert tensor.tolist() == [[2.0, 0.0]]
    step(tensor, [1.0, 3.0], movement)
    assert tensor.tolist() == [[1.0, 0.0]]
    assert movement.importance()[weight].tolist() == [[-2.0, 3.0]]
    movement.prune({weight: torch.tensor([[True, False]])})
    assert tensor.tolist() == [[0.0, -1.0]]
    assert movement.returned == 1


def test_weights_that_came_in_as_zeros_go_first() -> None:
    weight, tensor, movement = one_weight(2.0, 0.0)
    step(tensor, [1.0, 0.0], movement)
    assert movement.importance()[weight].tolist() == [[-2.0, -torch.inf]]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_it_ends_at_the_ratio_and_some_weights_returned(scope: str) -> None:
    torch.manual_seed(0)
    applied = prune(models.program("mlp"), torch.randn(64, 20), ratio=0.75, scope=scope)
    assert applied.changed
    assert applied.figures["zeros"] / applied.figures["weights"] == pytest.approx(0.75, abs=0.01)
    assert applied.figures["returned"] > 0
    assert "moved least away from zero" in applied.layers[0].reason
    for batch in (1, 3, 7):
        applied.program.module()(*models.example("mlp", batch))


def test_with_labels_what_the_task_needs_stays_and_the_rest_goes() -> None:
    """Large weights that the labels push down go, and small ones that they push up stay: magnitude does the reverse."""
    torch.manual_seed(0)
    data = torch.randn(256, 8)
    targets = data[:, :4].sum(1, keepdim=True)
    net = Net(lambda n, x: n.out(x), out=nn.Linear(8, 1))
    with torch.no_grad():
        net.get_parameter("out.weight").copy_(torch.tensor([[0.1] * 4 + [0.5] * 4]))
    schedule = {**SCHEDULE, "epochs": 10, "learning_rate": 0.05, "labels": 1.0}
    found = {
        method: matrices(prune(export(net, data[:4]), data, targets, method=method, schedule=schedule))["out.weight"]
        for method in ("movement", "magnitude")
    }
    assert (found["movement"] == 0).tolist() == [[False] * 4 + [True] * 4]
    assert (found["magnitude"] == 0).tolist() != [[False] * 4 + [True] * 4]


def test_shared_weights_move_as_one() -> None:
    make, inputs = NETS["tied weights"]
    applied = prune(export(make(), inputs(4)), inputs(16))
    assert {float((tensor == 0).double().mean()) for tensor in matrices(applied).values()} == {0.5}


def test_the_same_bytes_come_out_twice(tmp_path: Path) -> None:
    for file in ("one", "two"):
        applied = prune(models.program("concat_cnn"), *models.example("concat_cnn", 16), schedule={"steps": 2})
        save_program(applied.program, tmp_path / file)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_incoming_program_is_unchanged() -> None:
    program = models.program("mlp")
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    prune(program, *models.example("mlp", 16))
    assert all(torch.equal(before[name], tensor) for name, tensor in program.state_dict.items())
