"""The step that profiles a program: every layer with weights has a time, a size and its sensitivity."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from tests import models
from tests.workers.quantized import THIRD_PARTY
from tests.workers.steps.contexts import context, heldout
from workers.graphs.weighted_layers import weighted_layers
from workers.isa import isa, multiplies_bfloat16
from workers.measure.layers import time_calls
from workers.measure.sensitivity import sensitivities
from workers.profile import Profile
from workers.programs import save_program
from workers.steps.profile import ProfileStep

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


def profiled(name: str, folder: Path, batch: int = 4) -> Profile:
    program, samples = folder / "program.pt2", folder / "samples.safetensors"
    save_program(models.program(name), program)
    heldout(samples, name, labelled=False)
    made = ProfileStep().run(context(folder / "step", {"program": program, "calibration": samples}, {}, batch))
    assert dict(made.report) == Profile.read(made.outputs["profile"]).model_dump(mode="json")
    return Profile.read(made.outputs["profile"])


@pytest.mark.parametrize("name", models.NAMES)
def test_every_layer_with_weights_is_there_by_the_name_of_its_owner(name: str, tmp_path: Path) -> None:
    found = profiled(name, tmp_path)
    module = models.module(name)
    owners = {
        parameter.rpartition(".")[0]
        for parameter, value in module.named_parameters()
        if value.dim() >= 2 and "norm" not in parameter
    }
    assert {layer.name for layer in found.layers} <= owners | set(dict(module.named_parameters()))
    assert {layer.name for layer in found.layers} & owners
    assert all(layer.seconds > 0 for layer in found.layers)
    assert sum(layer.seconds for layer in found.layers) <= 1.5 * found.seconds
    assert (found.batch, found.threads, found.bfloat16) == (4, 1, multiplies_bfloat16(isa()))


def test_work_and_weights_are_those_of_one_sample(tmp_path: Path) -> None:
    found = profiled("mlp", tmp_path)
    layers = {name: layer for name, layer in models.module("mlp").named_modules() if isinstance(layer, torch.nn.Linear)}
    assert {layer.name for layer in found.layers} == set(layers)
    for layer in found.layers:
        linear = layers[layer.name]
        assert layer.op == "linear"
        assert layer.flops == 2 * linear.in_features * linear.out_features
        assert layer.parameters == sum(parameter.numel() for parameter in linear.parameters())


def test_fewer_bits_leave_more_error_and_the_program_as_it_was(tmp_path: Path) -> None:
    found = profiled("residual_cnn", tmp_path)
    for layer in found.layers:
        assert layer.errors["int8"] > layer.errors["int4"] > layer.errors["int2"]


def test_rounding_a_layer_is_undone() -> None:
    module = copy.deepcopy(models.program("mlp").module(check_guards=False))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    sensitivities(module, list(weighted_layers(module)), models.example("mlp", batch=4, seed=0), lambda share: None)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_each_call_is_timed_where_it_stands() -> None:
    module = models.program("mlp").module(check_guards=False)
    times = time_calls(module, models.example("mlp", batch=4, seed=0))
    assert set(times.calls) == {node for node in module.graph.nodes if node.op == "call_function"}
    assert times.total >= max(times.calls.values())
