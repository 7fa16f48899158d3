"""Weights in few bits: what holds for every kind of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests import models
from tests.workers.passes.quantized_kinds import KINDS, OWN_WEIGHTS, made
from tests.workers.quantized import THIRD_PARTY, export, quantize, sqnr
from workers.graphs.low_bit import read_weight
from workers.graphs.low_bit_floats import read_fp8, read_nf4
from workers.programs import batch_range, input_names, load_program, save_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["residual_cnn", "depthwise_cnn", "encoder", "lstm"])
def test_every_kind_keeps_signature_batch_and_outputs_of_every_model(model: str, kind: str) -> None:
    before, after = models.program(model), made(model, kind).program
    assert input_names(after) == input_names(before)
    assert batch_range(after) == batch_range(before) == (1, models.MAX_BATCH)
    for batch in (1, 5):
        inputs = models.example(model, batch=batch, seed=2)
        with torch.no_grad():
            expected, given = before.module()(*inputs), after.module()(*inputs)
        assert given.dtype is expected.dtype
        assert sqnr(expected, given) > KINDS[kind][1]


@pytest.mark.parametrize("kind", ["int4 with zero points", "int2", "int3 by hqq", "nf4", "bfloat16"])
def test_the_same_inputs_give_the_same_bytes_and_load_again(kind: str, tmp_path: Path) -> None:
    inputs = models.example("lstm", batch=20, seed=3)
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        save_program(quantize(models.program("lstm"), *inputs, **KINDS[kind][0]).program, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with torch.no_grad():
        load_program(paths[0]).module()(*models.example("lstm", batch=3))


@pytest.mark.parametrize("kind", ["int4", "fp8", "nf4", "float16"])
def test_a_second_run_changes_nothing(kind: str) -> None:
    once = made("encoder", kind).program
    again = quantize(once, *models.example("encoder", batch=8), **KINDS[kind][0])
    assert not again.changed
    assert again.program is once


@pytest.mark.parametrize("kind", ["int2", "nf4", "bfloat16"])
def test_the_given_program_is_not_changed(kind: str) -> None:
    program = models.program("depthwise_cnn")
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    text = str(program.graph)
    quantize(program, *models.example("depthwise_cnn", batch=8), **KINDS[kind][0])
    assert str(program.graph) == text
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state_dict.items())


@pytest.mark.parametrize("kind", ["int8", "int4 by gptq", "fp8", "nf4", "float16"])
def test_every_layer_says_how_many_bytes_it_saves_and_how_exact_it_is(kind: str) -> None:
    treated = [layer for layer in made("residual_cnn", kind).layers if layer.treatment != "left alone"]
    assert len(treated) == 9
    for layer in treated:
        assert layer.bytes_before is not None
        assert layer.bytes_after is not None
        assert layer.bytes_after < layer.bytes_before
        assert layer.error_db is not None
        assert layer.error_db > 5
        assert layer.reason


def test_no_float_weights_are_left_behind() -> None:
    for model, kind in (("residual_cnn", "int4"), ("encoder", "fp8"), ("lstm", "int8"), ("lstm", "bfloat16")):
        state = made(model, kind).program.state_dict
        large = [name for name, tensor in state.items() if tensor.dim() >= 2 and tensor.dtype is torch.float32]
        assert [name for name in large if not name.endswith("_scales")] in (
            [],
            ["embed.weight", "place"],
            ["place", "embed.weight"],
        )


def test_what_was_pruned_stays_zero_through_the_pass() -> None:
    module = models.module("mlp")
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter[parameter.abs() < parameter.abs().median()] = 0.0
    program = export(module, *models.example("mlp"))
    for settings in (
        {"weights": "int4"},
        {"weights": "int2", "rounding": "gptq"},
        {"weights": "nf4"},
        {"weights": "fp8"},
    ):
        applied = quantize(program, *models.example("mlp", batch=32), **settings)
        after = applied.program.module(check_guards=False)
        linears = [node for node in after.graph.nodes if str(node.target) == "aten.linear.default"]
        for name, node in zip((0, 2, 5), linears, strict=True):
            source = node.args[1]
            weight = read_weight(after, source) or read_nf4(after, source) or read_fp8(after, source)
            assert weight is not None
            zero = program.state_dict[f"layers.{name}.weight"] == 0
            assert bool((weight.dequantized()[zero] == 0).all())


def test_figures_add_up_and_are_plain_numbers() -> None:
    figures = made("encoder", "int4").figures
    assert figures["layers_int4"] == 5
    assert figures["layers_left_alone"] == 2
    assert figures["weight_bytes_after"] < 0.2 * figures["weight_bytes_before"]
    json.dumps(figures)


def test_three_bits_count_as_the_four_they_are_stored_in() -> None:
    three, four = (
        quantize(models.program("mlp"), *models.example("mlp", batch=8), weights=kind).figures["weight_bytes_after"]
        for kind in ("int3", "int4")
    )
    assert three == four
