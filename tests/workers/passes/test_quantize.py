from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Quantize
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, context, export, quantize, quantized, sqnr
from workers.passes import quantize as module_under_test
from workers.passes.quantize import QuantizePass
from workers.programs import batch_range, input_names, load_program, save_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

TOLERANCE_DB = 32.0
"""Least SQNR of int8 against float here: the models have random weights, and measure 34 to 48 dB."""


def ops(program: ExportedProgram) -> Counter[str]:
    return Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("batch", [1, 5])
def test_outputs_stay_close_to_the_float_program_at_any_batch(name: str, batch: int) -> None:
    inputs = models.example(name, batch=batch, seed=2)
    with torch.no_grad():
        expected = models.program(name).module()(*inputs)
        found = quantized(name).program.module()(*inputs)
    assert sqnr(expected, found) > TOLERANCE_DB


@pytest.mark.parametrize("name", models.NAMES)
def test_inputs_and_the_range_of_the_batch_survive(name: str) -> None:
    before, after = models.program(name), quantized(name).program
    assert input_names(after) == input_names(before)
    assert batch_range(after) == batch_range(before) == (1, models.MAX_BATCH)


def test_batch_norms_are_folded_and_every_layer_reads_int8() -> None:
    count = ops(quantized("residual_cnn").program)
    assert count["aten.batch_norm.default"] == 0
    assert count["quantized_decomposed.dequantize_per_channel.default"] == 9  # 8 convolutions and the head
    assert (
        count["quantized_decomposed.quantize_per_tensor.default"] == 13
    )  # input, 8 convolutions, 3 sums, head's input


def test_a_residual_sum_reads_quantized_tensors_on_both_sides() -> None:
    sums = [node for node in quantized("residual_cnn").program.graph.nodes if str(node.target) == "aten.add.Tensor"]
    assert len(sums) == 3
    for node in sums:
        assert all("dequantize_per_tensor" in str(source.target) for source in node.args)


def test_joined_tensors_get_one_scale_and_a_pool_keeps_it() -> None:
    nodes = quantized("concat_cnn").program.graph.nodes
    join = next(node for node in nodes if str(node.target) == "aten.cat.default")
    assert all("dequantize_per_tensor" in str(source.target) for source in join.args[0])
    assert all("quantize_per_tensor" in str(user.target) for user in join.users)


def test_weights_are_stored_in_int8_and_nothing_of_float_is_left_behind() -> None:
    before, after = (program.state_dict for program in (models.program("mlp"), quantized("mlp").program))
    weights = [tensor for tensor in after.values() if tensor.dtype is torch.int8]
    assert sum(tensor.numel() for tensor in weights) == sum(t.numel() for t in before.values() if t.dim() == 2)
    assert all(tensor.dim() == 1 for tensor in after.values() if tensor.is_floating_point())  # biases and scales


def test_each_layer_is_reported_by_its_name_in_the_model() -> None:
    layers = {layer.layer: layer.treatment for layer in quantized("residual_cnn").layers}
    assert layers["stem.0"] == layers["blocks.1.short.0"] == layers["head"] == "int8"
    assert len(layers) == 9


def test_a_linear_layer_has_one_scale_unless_a_row_is_too_small_for_it() -> None:
    layers = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        layers[2].weight[1] *= 0.01
    applied = quantize(export(layers, torch.randn(3, 32)), torch.randn(64, 32))
    constants = {**applied.program.state_dict, **applied.program.constants}
    names = {spec.arg.name: spec.target for spec in applied.program.graph_signature.input_specs}
    per_row = [node for node in applied.program.graph.nodes if "dequantize_per_channel" in str(node.target)]
    assert [len(constants[names[node.args[1].name]].unique()) for node in per_row] == [1, 4]
    assert ["on one scale" in layer.reason for layer in applied.layers] == [True, False]
    assert "per output channel" in applied.layers[1].reason


def test_a_recurrent_layer_is_left_alone_with_the_reason() -> None:
    layers = {layer.layer: layer for layer in quantized("lstm").layers}
    assert layers["lstm"].treatment == "left alone"
    assert "recurrent" in layers["lstm"].reason
    assert layers["head"].treatment == "int8"


def test_attention_and_embedding_are_left_alone_in_an_encoder() -> None:
    left = {layer.layer for layer in quantized("encoder").layers if layer.treatment == "left alone"}
    assert left == {"embed", "scaled_dot_product_attention"}


def test_a_layer_that_is_not_float32_is_left_alone() -> None:
    program = export(nn.Sequential(nn.Linear(4, 4).double()), torch.randn(3, 4, dtype=torch.float64))
    reasons = QuantizePass().requires(program, Quantize())
    assert len(reasons) == 1
    applied = quantize(program, torch.randn(8, 4, dtype=torch.float64))
    assert not applied.changed
    assert applied.program is program


class Computed(nn.Module):
    """A linear layer with stored weights and one whose weights are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.first(x), self.first.weight * self.scale)


def test_computed_weights_are_left_alone() -> None:
    layers = quantize(export(Computed(), torch.randn(3, 4)), torch.randn(16, 4)).layers
    assert [layer.treatment for layer in layers] == ["int8", "left alone"]
    assert "computed" in layers[1].reason


def test_a_model_with_no_layer_for_int8_is_refused_with_a_cure() -> None:
    program = export(nn.ReLU(), torch.randn(3, 4))
    (reason,) = QuantizePass().requires(program, Quantize())
    assert "no layer" in reason
    assert "Leave `quantize` out" in reason


@pytest.mark.parametrize("name", models.NAMES)
def test_every_model_with_a_linear_layer_is_accepted(name: str) -> None:
    assert QuantizePass().requires(models.program(name), Quantize()) == []


def test_a_second_run_changes_nothing() -> None:
    once = quantized("mlp").program
    assert QuantizePass().requires(once, Quantize()) == []
    again = quantize(once, *models.example("mlp", batch=8))
    assert not again.changed
    assert again.why_unchanged == "The model is quantized already, and stays as it is."
    assert again.program is once


def test_the_given_program_is_not_changed() -> None:
    program = models.program("depthwise_cnn")
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    text = str(program.graph)
    quantize(program, *models.example("depthwise_cnn", batch=8))
    assert str(program.graph) == text
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state_dict.items())


@pytest.mark.parametrize("calibration_by", ["minmax", "histogram", "percentile", "entropy"])
def test_the_same_inputs_give_the_same_program(calibration_by: str) -> None:
    inputs = models.example("concat_cnn", batch=40, seed=3)
    one, other = (quantize(models.program("concat_cnn"), *inputs, calibration=calibration_by) for _ in range(2))
    assert str(one.program.graph) == str(other.program.graph)
    assert all(torch.equal(one.program.state_dict[name], tensor) for name, tensor in other.program.state_dict.items())


def test_minmax_covers_the_extremes_and_histogram_cuts_an_outlier() -> None:
    program = export(nn.Sequential(nn.Linear(4, 4)), torch.randn(3, 4))
    samples = torch.rand(512, 4, generator=torch.Generator().manual_seed(0))
    samples[0, 0] = 100.0
    scales = {}
    for how in ("minmax", "histogram"):
        nodes = quantize(program, samples, calibration=how).program.graph.nodes
        scales[how] = next(node.args[1] for node in nodes if "quantize_per_tensor" in str(node.target))
    assert scales["minmax"] == pytest.approx(100 / 255)
    assert scales["histogram"] < scales["minmax"]


def test_a_fixed_batch_is_calibrated_in_batches_of_that_size() -> None:
    program = torch.export.export(models.module("mlp"), models.example("mlp", batch=3))
    applied = quantize(program, *models.example("mlp", batch=10))
    assert batch_range(applied.program) == (3, 3)
    assert applied.figures["calibration_samples"] == 10
    inputs = models.example("mlp", batch=3, seed=5)
    assert sqnr(program.module()(*inputs), applied.program.module()(*inputs)) > TOLERANCE_DB


def test_weights_use_seven_bits_where_int8_kernels_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "isa", lambda: ("avx2",))
    applied = quantize(models.program("mlp"), *models.example("mlp", batch=32))
    weights = [tensor for tensor in applied.program.state_dict.values() if tensor.dtype is torch.int8]
    assert max(int(tensor.abs().max()) for tensor in weights) == 63
    assert all("7 bits" in layer.reason for layer in applied.layers)


def test_progress_grows_and_says_how_many_samples() -> None:
    program, said = models.program("mlp"), []
    given = context(program, calibration(*models.example("mlp", batch=70)))
    QuantizePass().apply(
        program,
        Quantize(),
        type(given)(**{**vars(given), "progress": lambda share, doing: said.append((share, doing))}),
    )
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert "70 of 70 samples" in said[-2][1]


def test_the_result_can_be_saved_and_loaded_again(tmp_path: Path) -> None:
    save_program(quantized("residual_cnn").program, tmp_path / "program.pt2")
    inputs = models.example("residual_cnn", seed=4)
    loaded = load_program(tmp_path / "program.pt2")
    assert torch.equal(loaded.module()(*inputs), quantized("residual_cnn").program.module()(*inputs))
