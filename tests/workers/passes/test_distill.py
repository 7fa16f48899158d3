"""Recovery by distillation: it gets closer to the original, never hands back worse, and leaves its inputs alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Distill
from tests import models
from tests.workers.passes.coupled_nets import NETS, Net, context, export, image, prune, rows
from tests.workers.passes.interruption import assert_the_same, interrupted
from workers.graphs.batch_norms import batch_norms, recalibrate
from workers.passes.base import Applied, PassContext, Samples
from workers.passes.distill import DistillPass
from workers.passes.distill_data import Mixture
from workers.passes.distill_features import Tapped, points, similarity_loss
from workers.passes.distill_loss import label_loss
from workers.programs import save_program

QUICK = {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3}


def given(program: ExportedProgram, *inputs: torch.Tensor, targets: torch.Tensor | None = None) -> PassContext:
    made = context(program, *inputs)
    return type(made)(**{**vars(made), "calibration": Samples(inputs, targets)})


def distill(program: ExportedProgram, context: PassContext, **settings: object) -> Applied:
    return DistillPass().apply(program, Distill.model_validate({**QUICK, **settings}), context)


def distance(program: ExportedProgram, original: ExportedProgram, *inputs: torch.Tensor) -> float:
    with torch.no_grad():
        return float((program.module()(*inputs) - original.module()(*inputs)).square().mean())


@pytest.mark.parametrize("name", ["residual_cnn", "mlp", "encoder"])
def test_a_pruned_model_gets_closer_to_the_original_on_new_data(name: str) -> None:
    original = models.program(name)
    pruned = prune(original, ratio=0.25).program
    applied = distill(pruned, given(original, *models.example(name, 96)), epochs=4)
    unseen = models.example(name, 64, seed=9)
    assert applied.changed
    assert applied.figures["loss_after"] < applied.figures["loss_before"]
    assert distance(applied.program, original, *unseen) < 0.8 * distance(pruned, original, *unseen)


def test_batch_norm_statistics_are_measured_anew() -> None:
    (images,) = models.example("residual_cnn", 64)
    module = models.module("residual_cnn").train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = 1.0
    module(images)  # so that the statistics are those of the data, as in a trained model
    original = export(copy.deepcopy(module), images[:4])
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(4)
    worse = export(module, images[:4])
    applied = distill(worse, given(original, images), epochs=1, learning_rate=1e-9)
    assert applied.figures["loss_recalibrated"] < 0.1 * applied.figures["loss_before"]
    assert applied.changed


def test_measuring_anew_is_undone_where_it_does_harm() -> None:
    original = models.program("residual_cnn")  # its statistics are invented, so the data's are wrong
    pruned = prune(original, ratio=0.05).program
    applied = distill(pruned, given(original, *models.example("residual_cnn", 32)), epochs=1, learning_rate=1e-6)
    assert applied.figures["loss_recalibrated"] > applied.figures["loss_before"]
    name = "stem.1.running_mean"
    assert torch.equal(applied.program.state_dict[name], pruned.state_dict[name])


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # from torch's own copy of the program
@pytest.mark.parametrize("decomposed", [False, True])
def test_recalibrated_statistics_are_those_of_the_data(decomposed: bool) -> None:
    program = copy.deepcopy(models.program("residual_cnn"))  # its buffers change, and decompositions share them
    module = (program.run_decompositions() if decomposed else program).module(check_guards=False)
    (images,) = models.example("residual_cnn", 48)
    recalibrate(module, [(part,) for part in images.split(16)])
    first = nn.functional.conv2d(images, module.get_parameter("stem.0.weight"), padding=1)
    assert len(batch_norms(module)) == 8
    torch.testing.assert_close(module.get_buffer("stem.1.running_mean"), first.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.get_buffer("stem.1.running_var"), first.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_the_incoming_program_is_unchanged() -> None:
    original = models.program("residual_cnn")
    before = copy.deepcopy(original.state_dict)
    distill(original, given(original, *models.example("residual_cnn", 24)), epochs=1)
    assert all(torch.equal(before[key], value) for key, value in original.state_dict.items())


def test_a_program_that_can_not_get_better_is_handed_back() -> None:
    original = models.program("mlp")
    applied = distill(original, given(original, *models.example("mlp", 32)))
    assert not applied.changed
    assert "No epoch did better" in (applied.why_unchanged or "")
    assert applied.program is original
    assert applied.figures["loss_before"] == applied.figures["loss_after"] < 1e-6


def test_training_that_diverges_hands_the_incoming_program_back() -> None:
    original = models.program("mlp")
    pruned = prune(original, ratio=0.1).program
    applied = distill(pruned, given(original, *models.example("mlp", 32)), learning_rate=1.0)
    assert applied.program is pruned


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    original = models.program("mlp")
    pruned = prune(original).program
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        made = given(original, *models.example("mlp", 32))
        made = type(made)(**{**vars(made), "seed": seed})
        save_program(distill(pruned, made).program, tmp_path / name)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_global_random_state_is_left_alone() -> None:
    original = models.program("mlp")
    state = torch.get_rng_state()
    distill(prune(original).program, given(original, *models.example("mlp", 32)))
    assert torch.equal(torch.get_rng_state(), state)


def test_integer_inputs_are_not_augmented() -> None:
    original = models.program("encoder")
    pruned = prune(original).program
    made = given(original, *models.example("encoder", 32))
    with_it, without = (distill(pruned, made, augment=augment) for augment in (True, False))
    assert with_it.figures == without.figures


def test_noise_that_changes_the_originals_answers_is_left_out() -> None:
    power = torch.logspace(0, -4, 6)  # of features whose weights make up for it
    net = Net(lambda n, x: n.out(torch.tanh(n.up(x))), up=nn.Linear(6, 16), out=nn.Linear(16, 4))
    inputs = rows(48)
    bearing = distill(export(net, rows(4)), given(export(net, rows(4)), inputs), epochs=1)
    with torch.no_grad():
        net.up.weight /= power
    original = export(net, rows(4) * power)
    drowned = distill(prune(original).program, given(original, inputs * power), epochs=4)
    assert bearing.figures["input_noise"] == 0.05
    assert drowned.figures["input_noise"] == 0
    assert drowned.figures["loss_after"] < drowned.figures["loss_before"]


def test_outputs_of_any_shape_can_be_matched() -> None:
    net = Net(lambda n, x: n.out(torch.relu(n.up(x))), up=nn.Linear(6, 16), out=nn.Linear(16, 4))
    original = export(net, rows(4))
    applied = distill(prune(original).program, given(original, rows(48)), epochs=4)
    assert applied.changed


def test_probabilities_are_matched_as_class_scores() -> None:
    net = Net(lambda n, x: n.out(torch.relu(n.up(x))).mean((2, 3)).softmax(1), up=nn.Conv2d(6, 16, 1),
              out=nn.Conv2d(16, 4, 1))  # fmt: skip
    original = export(net, image(4))
    applied = distill(prune(original).program, given(original, image(48)), epochs=4)
    assert applied.changed


def test_several_outputs_are_matched_together() -> None:
    net = Net(lambda n, x: {"a": n.one(n.up(x)), "b": n.two(n.up(x))},  # type: ignore[arg-type,return-value]
              up=nn.Linear(6, 16), one=nn.Linear(16, 2), two=nn.Linear(16, 1))  # fmt: skip
    original = export(net, rows(4))
    applied = distill(prune(original).program, given(original, rows(48)), epochs=4)
    assert applied.changed
    assert set(applied.program.module()(rows(2))) == {"a", "b"}


def test_targets_that_are_numbers_tell_that_outputs_are_no_class_scores() -> None:
    original = models.program("mlp")
    pruned = prune(original).program
    inputs = models.example("mlp", 32)
    scores = distill(pruned, given(original, *inputs, targets=torch.zeros(32, dtype=torch.int64)))
    numbers = distill(pruned, given(original, *inputs, targets=torch.zeros(32, 4)))
    assert scores.figures["loss_before"] != numbers.figures["loss_before"]


# LSTM keeps its weights in a list too, which torch.export warns of.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm:UserWarning")
def test_recurrent_layers_learn() -> None:
    original = models.program("lstm")
    worse = export(models.module("lstm", seed=1), *models.example("lstm"))
    applied = distill(worse, given(original, *models.example("lstm", 48)))
    assert applied.changed


def test_a_program_with_a_fixed_batch_learns() -> None:
    net = models.module("mlp")
    fixed = torch.export.export(net, models.example("mlp", 8))
    worse = torch.export.export(models.module("mlp", seed=1), models.example("mlp", 8))
    applied = distill(worse, given(fixed, *models.example("mlp", 30)))
    assert applied.changed
    assert applied.program.module()(*models.example("mlp", 8)).shape == (8, 4)


def test_tied_weights_stay_tied() -> None:
    original = export(NETS["tied weights"][0](), rows(4))
    pruned = prune(original).program
    applied = distill(pruned, given(original, rows(48)), epochs=4)
    assert applied.changed
    assert sum(p.numel() for p in applied.program.parameters()) == sum(p.numel() for p in pruned.parameters())


def test_a_single_sample_is_enough() -> None:
    original = models.program("mlp")
    distill(prune(original).program, given(original, *models.example("mlp", 1)))


def test_progress_is_told_for_each_epoch() -> None:
    original = models.program("mlp")
    told: list[float] = []
    made = given(original, *models.example("mlp", 16))
    distill(original, type(made)(**{**vars(made), "progress": lambda share, _: told.append(share)}), epochs=4)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_requires_refuses_a_program_without_weights() -> None:
    reasons = DistillPass().requires(export(Net(lambda n, x: x + 1), rows(4)), Distill())
    assert reasons == ["The program has no floating-point weights to train. Leave `distill` out of the recipe."]


def test_requires_refuses_a_model_that_returns_no_numbers() -> None:
    net = Net(lambda n, x: n.up(x).argmax(-1), up=nn.Linear(6, 8))
    reasons = DistillPass().requires(export(net, rows(4)), Distill())
    assert reasons == ["The model has no floating-point output to learn from. Leave `distill` out of the recipe."]


def test_requires_allows_what_can_learn() -> None:
    assert DistillPass().requires(models.program("mlp"), Distill()) == []


def taught(
    student: ExportedProgram, original: ExportedProgram, targets: torch.Tensor | None, **settings: object
) -> Applied:
    made = given(original, *models.example("mlp", 96), targets=targets)
    return distill(original, type(made)(**{**vars(made), "student": student}), student="small", **settings)


class Small(nn.Module):
    """Another architecture with the signature of `models.program("mlp")`."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.only = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.only(x)  # type: ignore[no-any-return]


def small() -> ExportedProgram:
    (x,) = models.example("mlp", 4)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return export(Small(x.shape[1], models.module("mlp")(x).shape[1]), x)


@pytest.mark.parametrize("features", [0.0, 1.0])
def test_a_student_of_the_user_takes_the_place_of_the_program_and_learns(features: float) -> None:
    original, student = models.program("mlp"), small()
    applied = taught(student, original, None, epochs=10, learning_rate=0.03, features=features)
    assert set(applied.program.state_dict) == {"only.weight", "only.bias"}
    assert applied.changed
    assert applied.figures["loss_after"] < 0.7 * applied.figures["loss_before"]


def test_a_student_that_training_only_makes_worse_is_handed_back_as_it_came() -> None:
    student = small()
    applied = taught(student, models.program("mlp"), None, epochs=1, learning_rate=1.0, batch_size=4)
    assert applied.changed
    assert applied.figures["best_epoch"] == 0
    assert applied.program is student


def test_labels_teach_what_the_original_does_not_know() -> None:
    original, student = models.program("mlp"), small()
    (x,) = models.example("mlp", 96)
    targets = (x[:, 0] > 0).long()
    known = taught(student, original, targets, labels=1.0, epochs=30, learning_rate=0.1, augment=False)
    unseen = models.example("mlp", 64, seed=9)[0]
    with torch.no_grad():
        right = known.program.module()(unseen).argmax(dim=1) == (unseen[:, 0] > 0).long()
    assert right.float().mean() > 0.8


def test_targets_that_are_values_are_learned_too() -> None:
    outputs = torch.tensor([[1.0], [2.0]])
    assert label_loss(outputs, torch.tensor([1.0, 2.0]), None) == 0
    assert label_loss(outputs, torch.tensor([2.0, 1.0]), None) == 4


def test_a_mixed_sample_has_both_targets_by_its_share() -> None:
    scores, targets = torch.eye(2) * 9, torch.tensor([0, 1])
    mixture = Mixture(torch.tensor([0.25, 1.0]), torch.tensor([1, 0]))
    right, wrong = (float(nn.functional.cross_entropy(scores[:1], torch.tensor([label]))) for label in (0, 1))
    assert label_loss(scores, targets, mixture).item() == pytest.approx((0.25 * right + 0.75 * wrong + right) / 2)


def test_inner_layers_are_compared_by_name_and_whatever_their_width() -> None:
    original = models.program("residual_cnn")
    pruned = prune(original, ratio=0.5).program
    teacher, student = (each.module(check_guards=False) for each in (original, pruned))
    ours, theirs = points(teacher, student)
    assert len(ours) == len(theirs) > 1
    (images,) = models.example("residual_cnn", 8)
    with torch.no_grad():
        _, wanted = Tapped(teacher, ours)(images)
        outputs, found = Tapped(student, theirs)(images)
        torch.testing.assert_close(outputs[0], student(images))
    assert similarity_loss(wanted, wanted) < 1e-12
    assert similarity_loss(found, wanted) > 0


def test_learning_from_inner_layers_brings_them_closer() -> None:
    original = models.program("residual_cnn")
    pruned = prune(original, ratio=0.25).program
    images = models.example("residual_cnn", 64)

    def difference(program: ExportedProgram) -> float:
        teacher, student = (each.module(check_guards=False) for each in (original, program))
        ours, theirs = points(teacher, student)
        with torch.no_grad():
            return float(similarity_loss(Tapped(student, theirs)(*images)[1], Tapped(teacher, ours)(*images)[1]))

    applied = distill(pruned, given(original, *images), features=5.0, epochs=3)
    assert applied.changed
    assert difference(applied.program) < difference(pruned)


@pytest.mark.parametrize("augment", [True, False])
def test_an_attempt_that_finds_a_checkpoint_comes_to_the_same_result(augment: bool, tmp_path: Path) -> None:
    original = models.program("mlp")
    pruned = prune(original).program
    made = given(original, *models.example("mlp", 48))

    def apply(made: PassContext) -> Applied:
        return distill(pruned, made, epochs=4, augment=augment)

    resumed, told = interrupted(apply, made, 3, tmp_path)
    assert [each.partition(" of")[0] for each in told] == ["epoch 3", "epoch 4"]
    assert_the_same(apply(made), resumed, tmp_path)
