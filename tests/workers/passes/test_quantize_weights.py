"""The quantize pass on weights in few bits: what it treats, what it leaves alone, and what it says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from burnish.errors import InternalError
from burnish.passes import Quantize
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, context, export, quantize, sqnr
from workers.graphs.low_bit import LowBitWeight, dynamic_source, read_weight
from workers.graphs.low_bit_floats import read_fp8, read_nf4
from workers.passes import quantize as module_under_test
from workers.passes.base import Applied, PassContext
from workers.passes.quantize import QuantizePass
from workers.profile import LayerProfile, Profile
from workers.programs import batch_range, input_names, load_program, save_program

# torch says this of its own recurrent layers, whose weights are parameters all the same.
OWN_WEIGHTS = "ignore:The tensor attributes self.*_flat_weights:UserWarning"
pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]

KINDS: dict[str, tuple[dict[str, Any], float]] = {
    "int8": ({"weights": "int8", "activations": "dynamic"}, 34),
    "int8 weights alone": ({"weights": "int8", "activations": "float32"}, 36),
    "int4": ({"weights": "int4"}, 13),
    "int4 with zero points": ({"weights": "int4", "symmetric": False, "group": 32}, 15),
    "int4 by gptq": ({"weights": "int4", "rounding": "gptq"}, 15),
    "int3 by hqq": ({"weights": "int3", "rounding": "hqq", "activations": "float32"}, 8),
    "int2": ({"weights": "int2", "rounding": "gptq", "bias_correction": True}, 6),
    "fp8": ({"weights": "fp8"}, 25),
    "nf4": ({"weights": "nf4"}, 14),
    "bfloat16": ({"weights": "bfloat16"}, 35),
    "float16": ({"weights": "float16"}, 55),
}
"""Settings, and the least SQNR of the outputs, in dB: the models have random weights."""


@cache
def made(model: str, kind: str) -> Applied:
    return quantize(models.program(model), *models.example(model, batch=40, seed=1), **KINDS[kind][0])


def layer_weights(program: ExportedProgram) -> dict[str, LowBitWeight]:
    """The low-bit forms that linear layers and convolutions read, by the name of the call."""
    module = program.module(check_guards=False)
    found = {}
    for node in module.graph.nodes:
        weight = read_weight(module, node.args[1]) if len(node.args) > 1 else None
        if weight is not None:
            found[node.name] = weight
    return found


def calls(program: ExportedProgram, name: str) -> list[Node]:
    return [node for node in program.graph.nodes if str(node.target).startswith(f"aten.{name}.")]


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


def test_linear_layers_and_recurrent_ones_read_rounded_inputs_and_convolutions_do_not() -> None:
    linears = calls(made("encoder", "int4").program, "linear")
    assert all(dynamic_source(node.args[0]) is not None for node in linears)
    (lstm,) = calls(made("lstm", "int4").program, "lstm")
    assert dynamic_source(lstm.args[0]) is not None
    assert all(dynamic_source(node.args[0]) is None for node in calls(made("residual_cnn", "int4").program, "conv2d"))
    reasons = {layer.layer: layer.reason for layer in made("residual_cnn", "int4").layers}
    assert "its input stays float" in reasons["stem.0"]
    assert "each row of its input is rounded to int8" in reasons["head"]


def test_with_float_activations_no_input_is_rounded() -> None:
    for node in calls(made("encoder", "int3 by hqq").program, "linear"):
        assert dynamic_source(node.args[0]) is None


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_matrix_of_a_recurrent_stack_is_rounded(kind: Callable[..., nn.Module]) -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(8, 16, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]  # type: ignore[no-any-return]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        program = export(Stack(), torch.randn(3, 6, 8))
    inputs = torch.randn(40, 6, 8, generator=torch.Generator().manual_seed(1))
    applied = quantize(program, inputs, weights="int4", rounding="gptq", bias_correction=True)
    module = applied.program.module(check_guards=False)
    call = next(node for node in module.graph.nodes if ".input" in str(node.target))
    parameters = call.args[2]
    assert isinstance(parameters, list | tuple)
    assert sum(read_weight(module, each) is not None for each in parameters) == 8
    assert sqnr(program.module()(inputs[:5]), applied.program.module()(inputs[:5])) > 18
    assert "bias corrected" in applied.layers[0].reason


class Grouped(nn.Module):
    """Grouped, depthwise and transposed convolutions, and one in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.depthwise = nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 16, 3, groups=8, bias=False)
        self.transposed, self.deep = nn.ConvTranspose2d(16, 4, 2), nn.Conv3d(1, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.transposed(self.depthwise(self.grouped(x)))
        return self.deep(y[:, None]).flatten(1)  # type: ignore[no-any-return]


@cache
def grouped() -> ExportedProgram:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return export(Grouped(), torch.randn(3, 4, 9, 9))


@pytest.mark.parametrize("rounding", ["nearest", "hqq", "gptq"])
def test_convolutions_of_every_kind_but_transposed_ones(rounding: str) -> None:
    inputs = torch.randn(40, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    applied = quantize(grouped(), inputs, weights="int4", rounding=rounding, bias_correction=True)
    layers = {layer.layer: layer for layer in applied.layers}
    assert {name for name, layer in layers.items() if layer.treatment == "int4"} == {"grouped", "depthwise", "deep"}
    assert "transposed" in layers["transposed"].reason
    assert sqnr(grouped().module()(inputs), applied.program.module()(inputs)) > 15


def test_gptq_and_bias_correction_bring_the_outputs_nearer() -> None:
    inputs, unseen = (models.example("concat_cnn", batch=64, seed=seed) for seed in (1, 2))
    program = models.program("concat_cnn")
    ways: dict[str, dict[str, Any]] = {
        "nearest": {}, "corrected": {"bias_correction": True}, "gptq": {"rounding": "gptq"},
    }  # fmt: skip
    found = {}
    for name, settings in ways.items():
        applied = quantize(program, *inputs, weights="int2", activations="float32", **settings)
        with torch.no_grad():
            found[name] = sqnr(program.module()(*unseen), applied.program.module()(*unseen))
    assert found["corrected"] > found["nearest"] + 3
    assert found["gptq"] > found["nearest"] + 3


def test_bias_correction_of_static_int8_gives_a_missing_bias_too() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        program = export(nn.Sequential(nn.Linear(20, 8, bias=False)), torch.randn(3, 20))
    inputs = torch.rand(64, 20, generator=torch.Generator().manual_seed(1)) + 1
    plain, corrected = (quantize(program, inputs, bias_correction=on).program for on in (False, True))
    with torch.no_grad():
        means = [(each.module()(inputs) - program.module()(inputs)).mean(0).abs().max() for each in (plain, corrected)]
    assert means[1] < 0.5 * means[0]


def test_embedding_tables_are_rounded_only_where_asked() -> None:
    asked = quantize(models.program("encoder"), *models.example("encoder", batch=8), weights="int4", embeddings=True)
    layers = {layer.layer: layer for layer in asked.layers}
    assert layers["embed"].treatment == "int4"
    module = asked.program.module(check_guards=False)
    (table,) = [node for node in module.graph.nodes if str(node.target) == "aten.embedding.default"]
    assert read_weight(module, table.args[0]) is not None
    left = {layer.layer: layer for layer in made("encoder", "int4").layers}["embed"]
    assert (left.treatment, "`embeddings: true`" in left.reason) == ("left alone", True)


def test_gptq_says_so_where_there_is_nothing_to_weigh() -> None:
    settings = {"weights": "int4", "embeddings": True, "rounding": "gptq"}
    layers = quantize(models.program("encoder"), *models.example("encoder", batch=8), **settings).layers
    assert "nearest, since" in next(layer.reason for layer in layers if layer.layer == "embed")


class Tied(nn.Module):
    """A table that is also the weight of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(20, 16), nn.Linear(16, 20)
        self.head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(tokens))  # type: ignore[no-any-return]


def test_a_table_that_is_also_a_layers_weight_is_rounded_once_for_both() -> None:
    tokens = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(0))
    applied = quantize(export(Tied(), tokens), tokens, weights="int4")
    assert [layer.treatment for layer in applied.layers] == ["int4"]
    assert sum(tensor.numel() for tensor in applied.program.state_dict.values() if tensor.dtype is torch.int8) == 320


class Computed(nn.Module):
    """A weight that is also read by arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.linear(self.first(x), self.first.weight * 2))  # type: ignore[no-any-return]


def test_a_weight_that_something_else_reads_is_left_alone() -> None:
    layers = quantize(export(Computed(), torch.randn(3, 16)), torch.randn(16, 16), weights="int4").layers
    assert [layer.treatment for layer in layers] == ["left alone", "left alone", "int4"]
    assert "also read by `mul`" in layers[0].reason
    assert "computed, not stored" in layers[1].reason


def test_patterns_choose_other_weights_for_some_layers_and_the_first_counts() -> None:
    patterns = {"qkv": "float32", "up": "int2", "[du]*": "int8", "embed": "nf4", "head": "fp8"}
    applied = quantize(models.program("encoder"), *models.example("encoder", batch=8), weights="int4", layers=patterns)
    kinds = {layer.layer: layer.treatment for layer in applied.layers}
    assert kinds == {
        "scaled_dot_product_attention": "left alone",
        "embed": "nf4", "qkv": "left alone", "out": "int4", "up": "int2", "down": "int8", "head": "fp8",
    }  # fmt: skip
    module = applied.program.module(check_guards=False)
    linears = [node for node in module.graph.nodes if str(node.target) == "aten.linear.default"]
    assert read_fp8(module, linears[-1].args[1]) is not None
    (table,) = [node for node in module.graph.nodes if str(node.target) == "aten.embedding.default"]
    assert read_nf4(module, table.args[0]) is not None
    assert next(layer.reason for layer in applied.layers if layer.layer == "qkv") == "the settings leave it alone"


def test_a_static_program_may_have_layers_of_few_bits() -> None:
    inputs = models.example("residual_cnn", batch=32, seed=1)
    applied = quantize(models.program("residual_cnn"), *inputs, layers={"head": "int4", "blocks.2.*": "float32"})
    assert Counter(layer.treatment for layer in applied.layers) == {"int8": 6, "left alone": 2, "int4": 1}
    (head,) = calls(applied.program, "linear")
    assert dynamic_source(head.args[0]) is not None
    assert sqnr(models.program("residual_cnn").module()(*inputs), applied.program.module()(*inputs)) > 20


def test_a_pattern_that_leaves_everything_alone_is_refused_with_a_cure() -> None:
    settings = Quantize(weights="int4", layers={"*": "float32"})
    (reason,) = QuantizePass().requires(models.program("mlp"), settings)
    assert "Leave `quantize` out" in reason


def test_a_model_without_weights_is_refused_for_half_precision_too() -> None:
    (reason,) = QuantizePass().requires(export(nn.ReLU(), torch.randn(3, 4)), Quantize(weights="bfloat16"))
    assert "Leave `quantize` out" in reason


def test_control_flow_is_refused_for_half_precision_with_a_cure() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return torch.cond(y.sum() > 0, lambda z: z.sin(), lambda z: z.cos(), (y,))  # type: ignore[no-any-return]

    with torch.no_grad():
        program = torch.export.export(Branching(), (torch.randn(3, 4),))
    (reason,) = QuantizePass().requires(program, Quantize(weights="float16"))
    assert "Use integer weights" in reason


def test_a_weight_beyond_float16_stays_float32() -> None:
    large = nn.Linear(4, 4)
    nn.init.constant_(large.weight, 1e5)
    applied = quantize(
        export(nn.Sequential(large, nn.Linear(4, 4)), torch.randn(3, 4)), torch.randn(8, 4), weights="float16"
    )
    assert [layer.treatment for layer in applied.layers] == ["left alone", "float16"]
    assert "beyond 65504" in applied.layers[0].reason
    assert applied.program.state_dict["0.weight"].dtype is torch.float32


def test_int8_that_meets_int8_uses_seven_bits_where_kernels_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "isa", lambda: ("avx2",))
    inputs = models.example("mlp", batch=8)
    for activations, most in (("dynamic", 63), ("float32", 127)):
        applied = quantize(models.program("mlp"), *inputs, weights="int8", activations=activations)
        codes = [weight.codes for weight in layer_weights(applied.program).values()]
        assert max(int(each.abs().max()) for each in codes) == most
        assert ("7 bits" in applied.layers[0].reason) is (most == 63)


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


def profile(model: str) -> Profile:
    names = [layer.layer for layer in made(model, "int4").layers if layer.treatment == "int4"]
    layers = tuple(
        LayerProfile(
            name=name,
            op="linear",
            parameters=100,
            flops=1,
            seconds=0.001,
            errors={"int8": 50.0, "int4": 30.0 - place, "int2": 10.0 - place},
        )
        for place, name in enumerate(names)
    )
    return Profile(layers=layers, seconds=0.01, batch=1, threads=1)


def mixed(found: Profile | None, **settings: Any) -> Applied:
    given = context(models.program("encoder"), calibration(*models.example("encoder", batch=8)))
    filled = PassContext(**{**vars(given), "profile": found})
    return QuantizePass().apply(
        models.program("encoder"), Quantize.model_validate({"weights": "mixed", **settings}), filled
    )


def test_mixed_bits_follow_the_profile_and_say_why() -> None:
    applied = mixed(profile("encoder"), average_bits=5, layers={"head": "fp8"})
    kinds = {layer.layer: layer.treatment for layer in applied.layers if layer.treatment != "left alone"}
    assert kinds["head"] == "fp8"
    assert len({kind for name, kind in kinds.items() if name != "head"}) > 1
    for layer in applied.layers:
        if layer.treatment.startswith("int"):
            assert "within an average of 5 bits" in layer.reason
            assert layer.seconds == 0.001


def test_mixed_bits_without_a_profile_are_our_own_fault() -> None:
    with pytest.raises(InternalError, match="without a profile"):
        mixed(None)


def test_figures_add_up_and_are_plain_numbers() -> None:
    figures = made("encoder", "int4").figures
    assert figures["layers_int4"] == 5
    assert figures["layers_left_alone"] == 2
    assert figures["weight_bytes_after"] < 0.2 * figures["weight_bytes_before"]
    json.dumps(figures)
