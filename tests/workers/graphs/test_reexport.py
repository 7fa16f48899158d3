"""A graph that torch can't export again is a refusal in torch's words, never a crash."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Node

from burnish.errors import UnsupportedModel
from tests import models
from tests.workers.graphs.test_low_bit import editable
from tests.workers.quantized import export
from workers.graphs.reexport import reexport
from workers.programs import batch_range

aten = torch.ops.aten


def first_linear(module: GraphModule) -> Node:
    found: Node = next(node for node in module.graph.nodes if node.target is aten.linear.default)
    return found


def test_a_graph_that_fixes_the_batch_is_refused_with_the_cure() -> None:
    program = models.program("mlp")
    module = editable(program)
    linear = first_linear(module)
    with module.graph.inserting_before(linear):
        fixed = module.graph.call_function(aten.view.default, (linear.args[0], [4, 20]))
    linear.replace_input_with(linear.args[0], fixed)  # type: ignore[arg-type]
    module.recompile()
    with pytest.raises(UnsupportedModel, match="Constraints violated") as refused:
        reexport(module, program, models.example("mlp", 4))
    assert "Leave this pass out" in refused.value.cure


class Sliced(nn.Module):
    """A product with part of each token, time first: its strides are those of a contiguous tensor at a batch of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x[..., :16].transpose(0, 1), self.weight).transpose(0, 1)


@pytest.mark.parametrize("batch", [2, 4])
def test_a_product_with_weights_without_gradient_keeps_every_batch(batch: int) -> None:
    program = export(Sliced(), torch.randn(4, 5, 32))
    module = editable(program)
    module.weight = nn.Parameter(module.weight.detach(), requires_grad=False)  # type: ignore[operator, union-attr]
    made = reexport(module, program, [torch.randn(batch, 5, 32)])
    assert batch_range(made) == batch_range(program)
    for size in (1, 2, 7):
        x = torch.randn(size, 5, 32)
        torch.testing.assert_close(made.module()(x), program.module()(x))


def test_a_graph_whose_shapes_do_not_fit_is_refused_with_the_cure_that_was_given() -> None:
    program = models.program("mlp")
    module = editable(program)
    linear = first_linear(module)
    with module.graph.inserting_before(linear):
        narrow = module.graph.call_function(aten.slice.Tensor, (linear.args[0], 1, 0, 5))
    linear.replace_input_with(linear.args[0], narrow)  # type: ignore[arg-type]
    module.recompile()
    with pytest.raises(UnsupportedModel, match="RuntimeError") as refused:
        reexport(module, program, models.example("mlp", 4), cure="Do something else.")
    assert refused.value.cure == "Do something else."
