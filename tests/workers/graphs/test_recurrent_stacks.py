"""A stack of recurrent layers in two calls computes what it computed in one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Node

from workers.graphs.recurrent_stacks import split_first_layer

# torch says this of its own recurrent layers, whose weights are parameters all the same.
pytestmark = pytest.mark.filterwarnings("ignore:The tensor attributes self.rnn._flat_weights:UserWarning")


class Stack(nn.Module):
    """All that a recurrent layer gives, from states that are inputs."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, states = self.rnn(x, (h, c) if isinstance(self.rnn, nn.LSTM) else h)
        return outputs, *(states if isinstance(states, tuple) else (states,))


def graph(rnn: nn.RNNBase) -> tuple[GraphModule, Node, tuple[torch.Tensor, ...]]:
    """The module, its call, and inputs for it."""
    states = rnn.num_layers * (2 if rnn.bidirectional else 1)
    inputs = torch.randn(3, 5, 6), torch.randn(states, 3, 4), torch.randn(states, 3, 4)
    module = torch.export.export(Stack(rnn).train(rnn.training), inputs).module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module, next(node for node in module.graph.nodes if ".input" in str(node.target)), inputs


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False, "num_layers": 3}])
def test_outputs_and_states_are_the_same(kind: type[nn.RNNBase], options: dict[str, int]) -> None:
    module, node, inputs = graph(kind(6, 4, **{"num_layers": 2, "batch_first": True, **options}).eval())
    with torch.no_grad():
        expected = module(*inputs)
        parts = split_first_layer(module, node)
        module.recompile()
        given = module(*inputs)
    assert parts is not None
    assert [part.args[4] for part in parts] == [1, options.get("num_layers", 2) - 1]
    module.graph.lint()
    for one, other in zip(expected, given, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)


def test_a_single_layer_and_one_with_dropout_stay_one_call() -> None:
    for rnn in (nn.LSTM(6, 4, batch_first=True).eval(), nn.GRU(6, 4, 2, batch_first=True, dropout=0.5).train()):
        module, node, _ = graph(rnn)
        before = str(module.graph)
        assert split_first_layer(module, node) is None
        assert str(module.graph) == before
