"""The Hessian of a layer's inputs has its columns in the order of the pruned matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Node

from workers.passes.layer_inputs import hessian, walk
from workers.passes.prunable_weights import columns_last

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 5, bias=False), (7, 6)),
    "one dimension, dilated": (nn.Conv1d(4, 6, 3, dilation=2, bias=False), (4, 11)),
    "two dimensions, grouped": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2, bias=False), (4, 9, 8)),
    "two dimensions, same size": (nn.Conv2d(3, 6, 4, padding="same", bias=False), (3, 7, 7)),
    "three dimensions": (nn.Conv3d(2, 6, 2, padding=(0, 1, 0), bias=False), (2, 4, 4, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch, of a kernel of even size
@pytest.mark.parametrize("name", LAYERS)
def test_weight_times_hessian_times_weight_is_the_sum_of_the_squared_outputs(name: str) -> None:
    layer, shape = LAYERS[name]
    batches = [torch.randn(count, *shape) for count in (9, 2)]
    program = torch.export.export(layer.eval(), (batches[0],), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    found: list[torch.Tensor] = []

    def before(node: Node, inputs: list[Any]) -> None:
        if "weight" in [str(source.target) for source in node.all_input_nodes]:
            found.append(hessian(node, inputs))

    walk(module, [(batch,) for batch in batches], before)
    (moments,) = found
    weight = layer.get_parameter("weight").detach().double()
    matrix = columns_last(weight).reshape(len(moments), -1, moments.shape[-1])
    energy = (matrix @ moments @ matrix.mT).diagonal(dim1=1, dim2=2).sum()
    wanted = sum(layer(batch).detach().double().square().sum() for batch in batches)
    assert float(energy) == pytest.approx(float(wanted), rel=1e-5)


def test_later_layers_see_what_became_of_the_earlier_ones() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    module = torch.export.export(net.eval(), (torch.ones(3, 4),)).module(check_guards=False)
    assert isinstance(module, GraphModule)
    seen: list[torch.Tensor] = []

    def before(node: Node, inputs: list[Any]) -> None:
        seen.append(inputs[0])
        module.get_parameter("0.weight").data.zero_()

    walk(module, [(torch.ones(3, 4),)], before)
    assert [float(each.sum()) for each in seen] == [12.0, 0.0]
