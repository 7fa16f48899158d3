"""Weights in few bits: which inputs are rounded with them."""

from __future__ import annotations

import pytest

from tests import models
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS, calls, layer_weights, made
from tests.workers.quantized import THIRD_PARTY, quantize
from workers.graphs.low_bit import dynamic_source
from workers.passes import quantize as module_under_test

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


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


def test_int8_that_meets_int8_uses_seven_bits_where_kernels_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "isa", lambda: ("avx2",))
    inputs = models.example("mlp", batch=8)
    for activations, most in (("dynamic", 63), ("float32", 127)):
        applied = quantize(models.program("mlp"), *inputs, weights="int8", activations=activations)
        codes = [weight.codes for weight in layer_weights(applied.program).values()]
        assert max(int(each.abs().max()) for each in codes) == most
        assert ("7 bits" in applied.layers[0].reason) is (most == 63)
