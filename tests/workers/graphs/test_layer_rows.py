"""The rows of a layer times its weight are its outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node

from workers.graphs.layer_rows import rows_of

# torch says this of its own recurrent layers, whose weights are parameters all the same.
pytestmark = pytest.mark.filterwarnings("ignore:The tensor attributes self._flat_weights:UserWarning")

aten = torch.ops.aten


def seen(module: nn.Module, *example: torch.Tensor) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Name, value and rows of each weight in one run."""
    program = torch.export.export(module.eval(), example).module(check_guards=False)
    assert isinstance(program, GraphModule)
    found: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    class Watching(Interpreter):
        def run_node(self, n: Node) -> Any:
            if n.op == "call_function" and n.all_input_nodes:
                args, _ = self.fetch_args_kwargs_from_env(n)
                for weight, rows in rows_of(n, args):
                    found.append((str(weight.target), self.env[weight].detach(), rows))
            return super().run_node(n)

    with torch.no_grad():
        Watching(program).run(*example)
    return found


CONVOLUTIONS = {
    "plain": (nn.Conv2d(3, 8, 3, bias=False), (3, 9, 9)),
    "strided and padded": (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), (3, 9, 9)),
    "oblong": (nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(0, 2), bias=False), (3, 9, 11)),
    "dilated": (nn.Conv2d(3, 8, 3, dilation=2, padding=2, bias=False), (3, 9, 9)),
    "grouped": (nn.Conv2d(4, 8, 3, groups=2, bias=False), (4, 7, 7)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1, bias=False), (4, 7, 7)),
    "same": (nn.Conv2d(3, 8, 3, padding="same", dilation=2, bias=False), (3, 9, 9)),
    "one-dimensional": (nn.Conv1d(4, 6, 3, stride=2, groups=2, bias=False), (4, 11)),
    "three-dimensional": (nn.Conv3d(2, 4, 3, padding=1, bias=False), (2, 5, 5, 5)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_patches_times_the_kernel_are_the_convolution(name: str) -> None:
    layer, shape = CONVOLUTIONS[name]
    x = torch.randn(3, *shape)
    ((_, weight, rows),) = seen(layer, x)
    parts = len(rows)
    # (parts, batch · places, outputs / parts)
    outputs = rows @ weight.reshape(parts, -1, rows.shape[2]).transpose(1, 2)
    expected = layer(x)
    given = outputs.permute(0, 2, 1).reshape(expected.shape[1], 3, -1).transpose(0, 1).reshape(expected.shape)
    torch.testing.assert_close(given, expected)


def test_rows_of_a_linear_layer_are_its_inputs() -> None:
    x = torch.randn(2, 5, 7)
    ((_, _, rows),) = seen(nn.Linear(7, 3), x)
    assert torch.equal(rows, x.reshape(1, 10, 7))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_matrix_of_a_recurrent_stack_is_seen_with_what_its_layer_reads(kind: type[nn.RNNBase]) -> None:
    layer = kind(6, 4, num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(3, 5, 6)
    found = {name: rows for name, _, rows in seen(layer, x)}
    assert set(found) == {name for name, _ in layer.named_parameters() if "weight" in name}
    torch.testing.assert_close(found["weight_ih_l0"][0], x.transpose(0, 1).reshape(-1, 6))
    outputs = layer(x)[0].transpose(0, 1)
    hidden = found["weight_hh_l1"][0].reshape(5, 3, 4)
    assert bool((hidden[0] == 0).all())
    torch.testing.assert_close(hidden[1:], outputs[:-1, :, :4])
    backwards = found["weight_hh_l1_reverse"][0].reshape(5, 3, 4)
    torch.testing.assert_close(backwards[1:], outputs[1:, :, 4:].flip(0))
