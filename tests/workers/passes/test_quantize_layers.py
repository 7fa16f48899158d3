"""Weights in few bits: which layers are treated, which are left alone, and what patterns choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Quantize, Simplify
from tests import models
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS, calls, made
from tests.workers.quantized import THIRD_PARTY, calibration, context, export, quantize, sqnr
from workers.graphs.low_bit import dynamic_source, read_weight
from workers.graphs.low_bit_floats import read_fp8, read_nf4
from workers.passes.quantize import QuantizePass
from workers.passes.quantize_layers import find_layers
from workers.passes.simplify import SimplifyPass

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


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


def test_embedding_tables_are_rounded_only_where_asked() -> None:
    asked = quantize(models.program("encoder"), *models.example("encoder", batch=8), weights="int4", embeddings=True)
    layers = {layer.layer: layer for layer in asked.layers}
    assert layers["embed"].treatment == "int4"
    module = asked.program.module(check_guards=False)
    (table,) = [node for node in module.graph.nodes if str(node.target) == "aten.embedding.default"]
    assert read_weight(module, table.args[0]) is not None
    left = {layer.layer: layer for layer in made("encoder", "int4").layers}["embed"]
    assert (left.treatment, "`embeddings: true`" in left.reason) == ("left alone", True)


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


class Unstored(nn.Module):
    """Weights of weight norm, a slice of a table, and weights that an input makes."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(16, 16))
        self.table = nn.Parameter(torch.randn(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sliced = nn.functional.linear(self.normed(x), self.table.chunk(2)[0])
        return nn.functional.linear(sliced, x[:1].expand(16, 16))


def test_weights_that_are_not_stored_name_what_would_store_them() -> None:
    program, inputs = export(Unstored(), torch.randn(3, 16)), torch.randn(16, 16)
    normed, sliced, given = (layer.reason for layer in find_layers(program.module(check_guards=False)))
    assert "put `simplify` before" in str(normed)
    assert sliced == "its weights are a view of a stored tensor, not stored themselves"
    assert given == "its weights are computed from an input"
    stored = SimplifyPass().apply(program, Simplify(), context(program, calibration(inputs))).program
    assert quantize(stored, inputs, weights="int4").layers[0].treatment == "int4"


class Unlisted(nn.Module):
    """Stored matrices that no linear layer reads, two of them of one owner that has a linear layer's, too."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.cell, self.mine = nn.Parameter(torch.randn(16, 16)), nn.GRUCell(16, 16), nn.ParameterList()
        self.mine.extend([torch.randn(16, 16), torch.randn(16, 16), torch.randn(1, 16)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cell(x @ self.flat) + self.mine[2]
        y = torch.einsum("bi,io->bo", nn.functional.linear(y, self.mine[0]), self.mine[1])
        return (y @ y.mT) @ y @ self.flat.mT  # type: ignore[no-any-return]


def test_every_stored_matrix_that_is_multiplied_has_a_row_with_the_true_reason() -> None:
    program, inputs = export(Unlisted(), torch.randn(3, 16)), torch.randn(16, 16)
    layers = {layer.layer: layer for layer in quantize(program, inputs, weights="int4").layers}
    assert layers.pop("mine").treatment == "int4"
    assert "stored as (inputs, outputs)" in layers["flat"].reason
    assert {name: layer.reason for name, layer in layers.items() if name != "flat"} == {
        "cell": "no backend computes `gru_cell` from weights in few bits",
        "mine.1": "no backend computes `einsum` from weights in few bits",
        "matmul_1": "both operands are activations: it has no weights",
        "matmul_2": "both operands are activations: it has no weights",
        "matmul_3": "its weights are a view of a stored tensor, not stored themselves",
    }


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
