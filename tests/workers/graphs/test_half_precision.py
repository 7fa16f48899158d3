"""Which operators become half precision, and what stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Node

from tests import models
from tests.workers.graphs.test_low_bit import editable, exported
from tests.workers.quantized import sqnr
from workers.graphs.half_precision import has_submodules, make_half


def half(program: torch.export.ExportedProgram, dtype: torch.dtype = torch.bfloat16) -> GraphModule:
    module = editable(program)
    make_half(module, dtype)
    return module


def calls(module: GraphModule, name: str) -> list[Node]:
    return [node for node in module.graph.nodes if str(node.target).startswith(f"aten.{name}.")]


def reads(node: Node) -> set[torch.dtype]:
    return {
        value.dtype
        for each in node.all_input_nodes
        if isinstance(value := each.meta.get("val"), torch.Tensor) and value.is_floating_point()
    }


@pytest.mark.parametrize(("dtype", "least_db"), [(torch.bfloat16, 35.0), (torch.float16, 55.0)])
@pytest.mark.parametrize("name", models.NAMES)
def test_outputs_are_float32_and_close_at_any_batch(name: str, dtype: torch.dtype, least_db: float) -> None:
    module = half(models.program(name), dtype)
    for batch in (1, 5):
        inputs = models.example(name, batch=batch, seed=2)
        with torch.no_grad():
            expected, given = models.program(name).module()(*inputs), module(*inputs)
        assert given.dtype is torch.float32
        assert sqnr(expected, given) > least_db


def test_the_programs_own_parameters_stay_float32() -> None:
    program = models.program("mlp")
    half(program)
    assert {tensor.dtype for tensor in program.state_dict.values()} == {torch.float32}


def test_products_read_half_and_norms_and_softmax_read_float32() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(self.norm(x))
            return torch.softmax(y @ y.transpose(1, 2), -1) @ y  # type: ignore[no-any-return]

    module = half(exported(Attention(), torch.randn(2, 3, 8)))
    for name in ("linear", "matmul"):
        assert all(reads(node) == {torch.bfloat16} for node in calls(module, name))
    for name in ("layer_norm", "softmax"):
        assert all(reads(node) == {torch.float32} for node in calls(module, name))


def test_a_recurrent_layer_computes_in_float32_from_weights_in_half() -> None:
    module = half(models.program("lstm"))
    (lstm,) = calls(module, "lstm")
    assert reads(lstm) == {torch.float32}
    weights = lstm.args[2]
    assert isinstance(weights, list | tuple)
    stored = [each.args[0] for each in weights if isinstance(each, Node)]
    assert all(isinstance(each, Node) and each.meta["val"].dtype is torch.bfloat16 for each in stored)


def test_positions_stay_exact_until_they_meet_the_input() -> None:
    class Positions(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = torch.arange(1000, dtype=torch.float32)
            return x * torch.cos(places * 0.5)

    x = torch.randn(2, 1000)
    program = exported(Positions(), x)
    with torch.no_grad():
        assert sqnr(program.module()(x), half(program)(x)) > 40


def test_a_number_beyond_the_type_becomes_its_greatest() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x.masked_fill(x > 0.5, -3e38), -1)

    x = torch.tensor([[0.1, 0.9, 0.2], [0.0, 0.1, 0.2]])
    given = half(exported(Masked(), x), torch.float16)(x)
    assert bool(given.isfinite().all())
    assert float(given[0, 1]) == 0.0


def test_integers_and_their_results_are_left_as_they_are() -> None:
    class Classes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.linear(x)
            return y, y.argmax(-1) + x.shape[0]

    scores, classes = half(exported(Classes(), torch.randn(3, 8)))(torch.randn(5, 8))
    assert (scores.dtype, classes.dtype) == (torch.float32, torch.int64)
    assert torch.equal(classes - 5, scores.argmax(-1))


def test_control_flow_is_noticed() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, lambda y: y.sin(), lambda y: y.cos(), (x,))  # type: ignore[no-any-return]

    assert has_submodules(editable(torch.export.export(Branching(), (torch.randn(3),))))
    assert not has_submodules(editable(models.program("mlp")))
