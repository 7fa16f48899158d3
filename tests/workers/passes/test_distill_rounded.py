"""Distillation after `quantize`: closer to the original in the same form, and judged as it is handed back."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Distill
from tests import models
from tests.workers.passes.coupled_nets import rows
from tests.workers.passes.interruption import assert_the_same, interrupted
from tests.workers.quantized import calibration, context, export, quantize
from workers.graphs.fake_quantization import FakeQuantized
from workers.graphs.own_weights import state, with_own_weights
from workers.passes.base import Applied, PassContext, Samples
from workers.passes.distill import DistillPass
from workers.passes.distill_features import points
from workers.passes.distill_lesson import Lesson
from workers.passes.kept_zeros import KeptZeros
from workers.programs import batch_range

# LSTM keeps its weights in a list too, which torch.export warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm:UserWarning")

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "int2 of kernels": ("residual_cnn", {"weights": "int2"}),
    "int2 with zero points": ("mlp", {"weights": "int2", "group": 16, "symmetric": False}),
    "int3 of a recurrent layer": ("lstm", {"weights": "int3"}),
    "int2 of a table": ("encoder", {"weights": "int2", "embeddings": True}),
    "nf4": ("mlp", {"weights": "nf4"}),
    "fp8": ("mlp", {"weights": "fp8"}),
}
SETTINGS = {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3}


def given(name: str, samples: int = 64) -> PassContext:
    return context(models.program(name), calibration(*models.example(name, samples)))


def distill(program: ExportedProgram, made: PassContext, **settings: object) -> Applied:
    return DistillPass().apply(program, Distill.model_validate({**SETTINGS, **settings}), made)


@cache
def case(kind: str) -> tuple[str, ExportedProgram, Applied]:
    """The model, its rounded program, and that distilled."""
    name, settings = KINDS[kind]
    rounded = quantize(models.program(name), *models.example(name, 64), **settings).program
    return name, rounded, distill(rounded, given(name))


@cache
def int8() -> ExportedProgram:
    """Static int8 with two weights made wrong, so that there is something to learn."""
    program = copy.deepcopy(quantize(models.program("residual_cnn"), *models.example("residual_cnn", 64)).program)
    with torch.no_grad():
        program.state_dict["_frozen_param0"][:, :, 0] = 0
    return program


@pytest.mark.parametrize("kind", KINDS)
def test_a_rounded_program_gets_closer_to_the_original_on_new_data(kind: str) -> None:
    name, rounded, applied = case(kind)
    assert applied.changed
    inputs = models.example(name, 64, seed=9)
    with torch.no_grad():
        wanted, before, after = (
            each.module(check_guards=False)(*inputs) for each in (models.program(name), rounded, applied.program)
        )
    assert (after - wanted).square().mean() < 0.95 * (before - wanted).square().mean()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_judged_is_what_the_program_handed_back_comes_to(kind: str) -> None:
    name, _, applied = case(kind)
    judge = Lesson(given(name), Distill.model_validate(SETTINGS)).judge
    assert judge(applied.program.module(check_guards=False)) == applied.figures["loss_after"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_stays_the_same(kind: str) -> None:
    _, rounded, applied = case(kind)
    assert form(applied.program) == form(rounded)
    assert batch_range(applied.program) == batch_range(rounded)


def test_static_int8_learns_through_its_activations() -> None:
    rounded, made = int8(), given("residual_cnn")
    applied = distill(rounded, made)
    assert applied.changed
    assert applied.figures["loss_after"] < 0.5 * applied.figures["loss_before"]
    assert form(applied.program) == form(rounded)
    judge = Lesson(made, Distill.model_validate(SETTINGS)).judge
    assert judge(applied.program.module(check_guards=False)) == applied.figures["loss_after"]


def test_static_int8_of_7_bits_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.passes.quantize.saturates_int8", lambda isa: True)
    rounded = quantize(models.program("mlp"), *models.example("mlp", 32)).program
    fake = FakeQuantized(with_own_weights(rounded))
    assert {layer.kind for layer in fake.layers} == {"int8"}
    assert len(KeptZeros.of(fake.module)) == 0
    with torch.no_grad():
        for weight in fake.weights:
            weight.latent.mul_(100)
    assert {int(weight.codes().abs().max()) for weight in fake.weights} == {63}


def test_a_rounded_program_that_can_not_get_better_is_handed_back() -> None:
    name, rounded, _ = case("int2 with zero points")
    applied = distill(rounded, given(name), learning_rate=1.0)
    assert not applied.changed
    assert applied.program is rounded
    assert {layer.treatment for layer in applied.layers} == {"left alone"}


def test_the_rounded_program_that_came_in_is_unchanged() -> None:
    name, settings = KINDS["int2 with zero points"]
    rounded = quantize(models.program(name), *models.example(name, 64), **settings).program
    before = {key: value.clone() for key, value in rounded.state_dict.items()}
    assert distill(rounded, given(name)).changed
    assert all(torch.equal(before[key], value) for key, value in rounded.state_dict.items())


def test_the_report_tells_of_each_rounded_layer() -> None:
    _, _, applied = case("int2 with zero points")
    assert [(layer.layer, layer.treatment) for layer in applied.layers] == [
        (name, "int2, trained") for name in ("layers.0", "layers.2", "layers.5")
    ]
    assert all("codes changed" in layer.reason for layer in applied.layers)


def test_a_float_program_has_no_layers_to_report() -> None:
    made = given("mlp", 16)
    assert distill(models.program("mlp"), made, epochs=1).layers == ()


@pytest.mark.parametrize("augment", [True, False])
def test_a_rounded_program_goes_on_from_a_checkpoint_to_the_same_bytes(augment: bool, tmp_path: Path) -> None:
    name, rounded, _ = case("int2 with zero points")

    def apply(made: PassContext) -> Applied:
        return distill(rounded, made, augment=augment, epochs=3)

    resumed, told = interrupted(apply, given(name), 2, tmp_path)
    assert [each.partition(" of")[0] for each in told] == ["epoch 2", "epoch 3"]
    assert_the_same(apply(given(name)), resumed, tmp_path)


def test_inner_layers_are_compared_in_rounded_programs_too() -> None:
    name, rounded, _ = case("int2 of kernels")
    teacher = models.program(name).module(check_guards=False)
    student = FakeQuantized(with_own_weights(rounded)).module
    ours, theirs = points(teacher, student)
    assert len(ours) == len(theirs) > 1
    assert [node.target for node in ours] == [node.target for node in theirs]
    assert distill(rounded, given(name, 32), features=1.0, epochs=2).changed


def test_labels_teach_a_rounded_program() -> None:
    name, rounded, _ = case("int2 with zero points")
    (x,) = models.example(name, 64)
    samples = Samples((x,), (x[:, 0] > 0).long())
    assert distill(rounded, replace(given(name), calibration=samples), labels=1.0).changed


@pytest.mark.parametrize(("bits", "share"), [(8, 0.3), (4, 0.5), (2, 0.8)])
def test_zeros_of_pruning_last_when_rounded_weights_are_trained(bits: int, share: float) -> None:
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 4))
    original = export(copy.deepcopy(net), rows(4))
    with torch.no_grad():
        weight = net.get_parameter("2.weight")
        weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < share] = 0
    settings = {"weights": f"int{bits}", "activations": "dynamic"}
    rounded = quantize(export(net, rows(4)), rows(48), **settings).program
    applied = distill(rounded, context(original, calibration(rows(48))))
    assert applied.changed
    before, after = (each.state_dict["2.weight_codes"] for each in (rounded, applied.program))
    assert (after[before == 0] == 0).all()
    assert "its zeros are kept" in applied.layers[1].reason


@pytest.mark.parametrize("kind", ["int2 of kernels", "int2 with zero points"])
def test_zeros_that_rounding_made_are_not_kept(kind: str) -> None:
    _, rounded, _ = case(kind)
    assert len(KeptZeros.of(FakeQuantized(with_own_weights(rounded)).module)) == 0


def test_a_program_whose_weights_are_all_rounded_can_be_trained() -> None:
    net = nn.Linear(6, 8, bias=False)
    rounded = quantize(export(net, rows(4)), rows(32), weights="int4").program
    assert list(rounded.parameters()) == []
    assert DistillPass().requires(rounded, Distill()) == []


@pytest.mark.parametrize("weights", ["bfloat16", "float16"])
def test_requires_refuses_half_precision(weights: str) -> None:
    program = quantize(models.program("mlp"), *models.example("mlp", 8), weights=weights).program
    (reason,) = DistillPass().requires(program, Distill())
    assert reason.startswith(f"The program has weights in {weights}")
    assert "Put `distill` before `quantize`" in reason


def form(program: ExportedProgram) -> tuple[Mapping[str, int], Mapping[str, tuple[torch.dtype, torch.Size]]]:
    """The operators by count, and the type and shape of everything stored."""
    module = program.module(check_guards=False)
    stored = {name: (value.dtype, value.shape) for name, value in state(module).items()}
    return Counter(str(node.target) for node in module.graph.nodes if node.op == "call_function"), stored
