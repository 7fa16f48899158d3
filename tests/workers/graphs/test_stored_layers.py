"""Products with a stored matrix, parts of one, and computed weights become layers that compute the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrizations

from tests.models import MAX_BATCH
from tests.workers.passes.quantized_kinds import calls, layer_weights
from tests.workers.quantized import export, quantize, random, sqnr
from workers.graphs.stored_layers import with_stored_layers
from workers.programs import batch_range

SEQUENCE = 6


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(random(*shape) * 0.1)


class Conv1D(nn.Module):
    """GPT-2's: a linear layer whose matrix is [inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = weight(inputs, outputs), weight(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return product.view(*x.shape[:-1], self.weight.shape[1])


class Block(nn.Module):
    """GPT-2's feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = Conv1D(32, 64), Conv1D(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x)))  # type: ignore[no-any-return]


class Pooled(nn.Module):
    """A BERT whose last hidden state is returned: nobody reads its pooler."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pooler = nn.Linear(32, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.body(x)
        self.pooler(hidden[:, 0]).tanh()
        return hidden  # type: ignore[no-any-return]


class Plain(nn.Module):
    """`x @ w` in three dimensions, called twice, and a matrix that is read transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.transposed = weight(32, 32), weight(8, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.relu(x @ self.twice) @ self.twice) @ self.transposed.T


class TiedToATable(nn.Module):
    """The last layer is the embedding's table, read transposed: one tensor for both."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table((x[..., 0] * 7).abs().long()) @ self.table.weight.transpose(0, -1)  # type: ignore[no-any-return]


class Crossed(nn.Module):
    """Attention of a sequence over another: queries, keys and values have one matrix and one bias together."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        over = F.relu(x)
        return self.attention(x, over, over, need_weights=False)[0]  # type: ignore[no-any-return]


class Function(nn.Module):
    """A function of the input and two parameters."""

    def __init__(self, call: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], *sizes: int) -> None:
        super().__init__()
        self.call = call
        self.w, self.b = weight(32, 32), weight(*sizes or (32,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(x, self.w, self.b)


def same(model: nn.Module, program: ExportedProgram) -> bool:
    """Whether it computes what the model does at some batches, and takes all that it took."""
    assert batch_range(program) == (1, MAX_BATCH)
    with torch.no_grad():
        ratios = [
            sqnr(model(x), program.module()(x)) for x in (random(batch, SEQUENCE, 32) for batch in (1, 2, 7))
        ]  # fmt: skip
    return min(ratios) > 100


@pytest.mark.parametrize(("model", "layers"), [(Block, 2), (Plain, 3), (TiedToATable, 1)])
@pytest.mark.parametrize("decomposed", [False, True])
def test_products_become_linear_layers(model: type[nn.Module], layers: int, decomposed: bool) -> None:
    made = model().eval()
    exported = export(made, random(4, SEQUENCE, 32))
    program = with_stored_layers(exported.run_decompositions() if decomposed else exported)
    assert len(calls(program, "linear")) == layers
    assert not calls(program, "addmm") + calls(program, "mm") + calls(program, "matmul")
    assert same(made, program)


def test_a_linear_layer_comes_back_after_it_was_decomposed() -> None:
    made = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4, bias=False)).eval()
    program = with_stored_layers(export(made, random(4, SEQUENCE, 32)).run_decompositions())
    assert len(calls(program, "linear")) == 2
    assert set(program.state_dict) == set(made.state_dict())
    assert torch.equal(program.state_dict["0.weight"], made[0].weight)
    assert same(made, program)


def test_the_upload_keeps_its_weights() -> None:
    exported = export(Block().eval(), random(4, SEQUENCE, 32))
    before = exported.state_dict["up.weight"].clone()
    program = with_stored_layers(exported)
    assert torch.equal(exported.state_dict["up.weight"], before)
    assert torch.equal(program.state_dict["up.weight"], before.T)


def test_passes_treat_them() -> None:
    program = with_stored_layers(export(Block().eval(), random(4, SEQUENCE, 32)))
    applied = quantize(program, random(16, SEQUENCE, 32), weights="int4")
    assert [(layer.layer, layer.treatment) for layer in applied.layers] == [("up", "int4"), ("down", "int4")]
    assert len(layer_weights(applied.program)) == 2


def test_parts_that_layers_read_are_stored_by_themselves() -> None:
    made = Crossed().eval()
    program = with_stored_layers(export(made, random(4, SEQUENCE, 32)))
    shapes = {name.removeprefix("attention."): tuple(value.shape) for name, value in program.state_dict.items()}
    assert shapes == {
        "in_proj_weight_0": (32, 32),
        "in_proj_weight_1": (64, 32),
        "in_proj_bias_0": (32,),
        "in_proj_bias_1": (64,),
        "out_proj.weight": (32, 32),
        "out_proj.bias": (32,),
    }
    assert same(made, program)
    applied = quantize(program, random(16, SEQUENCE, 32), weights="int4")
    treated = {layer.layer: layer.treatment for layer in applied.layers if layer.treatment != "left alone"}
    assert treated == {"attention": "int4", "attention.out_proj": "int4"}
    assert len(layer_weights(applied.program)) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: F.linear(x, w[:16]) + w.sum(),
        lambda x, w, b: F.linear(x, w[:20]) @ F.linear(x, w[12:]).transpose(1, 2),
        lambda x, w, b: F.linear(x, w) * b.view(1, 1, 32),
    ],
    ids=["read otherwise", "parts overlap", "whole"],
)
def test_what_is_no_layer_s_part_stays_in_its_whole(
    call: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    program = export(Function(call).eval(), random(4, SEQUENCE, 32))
    assert with_stored_layers(program) is program


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: torch.addmm(b, x[:, 0], w, beta=0.5),
        lambda x, w, b: torch.addmm(x[:, 1], x[:, 0], w),
        lambda x, w, b: w @ x[..., :1].expand(-1, -1, 32).transpose(1, 2),
        lambda x, w, b: x @ w + w.sum(),
        lambda x, w, b: x[0, 0] @ w + x,
        lambda x, w, b: x @ x.transpose(1, 2),
    ],
    ids=["scaled", "bias computed", "matrix first", "read otherwise", "a vector", "no matrix"],
)
def test_what_is_no_linear_layer_is_left_as_it_is(
    call: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    program = export(Function(call).eval(), random(4, SEQUENCE, 32))
    assert with_stored_layers(program) is program


class Standardized(nn.Module):
    """Convolutions whose kernels have a mean of 0 and a variance of 1 (BiT), a gain of their own or none (NFNet)."""

    def __init__(self, gain: bool) -> None:
        super().__init__()
        self.kernel, self.bias, self.gain = weight(32, SEQUENCE, 3), weight(32), weight(32) if gain else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.kernel.reshape(1, 32, -1)
        kernel = F.batch_norm(flat, None, None, self.gain, None, training=True, momentum=0.0).reshape_as(self.kernel)
        return F.conv1d(x, kernel, self.bias * 0.5)


class Normed(nn.Module):
    """Weight norm, spectral norm, and a matrix that is scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.one = parametrizations.weight_norm(nn.Linear(32, 32))
        self.two = parametrizations.spectral_norm(nn.Linear(32, 32))
        self.three = weight(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.two(F.relu(self.one(x)))) @ (self.three * 2)


@pytest.mark.parametrize(
    ("model", "layers"),
    [(lambda: Standardized(gain=False), 1), (lambda: Standardized(gain=True), 1), (Normed, 3)],
    ids=["standardized", "with a gain", "normed"],
)
def test_what_parameters_alone_give_is_a_layer_s_weight(model: Callable[[], nn.Module], layers: int) -> None:
    made = model().eval()
    program = with_stored_layers(export(made, random(4, SEQUENCE, 32)))
    assert sum(node.op == "call_function" for node in program.graph.nodes) <= layers + (2 if layers > 1 else 0)
    assert all(isinstance(value, nn.Parameter) for value in program.state_dict.values())
    assert same(made, program)
    applied = quantize(program, random(16, SEQUENCE, 32), weights="int4")
    assert [layer.treatment for layer in applied.layers] == ["int4"] * layers


def test_a_computed_weight_stands_under_the_name_of_what_it_is_made_of() -> None:
    exported = export(Standardized(gain=False).eval(), random(4, SEQUENCE, 32))
    before = exported.state_dict["kernel"].clone()
    program = with_stored_layers(exported)
    assert set(program.state_dict) == {"kernel", "bias"}
    assert abs(float(program.state_dict["kernel"].detach().var(unbiased=False)) - 1.0) < 0.01
    assert torch.equal(exported.state_dict["kernel"], before)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: F.linear(x, w[:, :1] @ w[:1] + 0.0) + w.sum(),
        lambda x, w, b: F.linear(x, b[:, None] * b),
        lambda x, w, b: F.linear(x, w * x.shape[0]),
        lambda x, w, b: (w * 2) @ x[..., :1].expand(-1, -1, 32).transpose(1, 2),
    ],
    ids=["read otherwise", "larger than its factors", "by the batch", "no layer's"],
)
def test_what_is_better_computed_at_each_call_is_left_as_it_is(
    call: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    program = export(Function(call).eval(), random(4, SEQUENCE, 32))
    assert with_stored_layers(program) is program


def test_a_layer_that_nobody_reads_is_gone_and_static_int8_treats_the_others() -> None:
    x = random(8, SEQUENCE, 32)
    program = export(Pooled(), x[:4])
    made = with_stored_layers(program)
    assert set(made.state_dict) == {"body.weight", "body.bias"}
    assert torch.equal(made.module()(x), program.module()(x))
    assert [layer.treatment for layer in quantize(made, x).layers] == ["int8"]
