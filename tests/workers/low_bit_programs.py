"""Programs with low-bit weights that the tests of backends share, written without the quantize pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from workers.graphs.low_bit import round_input, write_weight
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import stored_tensor
from workers.passes.quantize_layers import EMBEDDINGS, find_layers
from workers.passes.round_nearest import round_nearest
from workers.passes.rounding_grid import Rounding

__all__ = ["exported", "low_bit"]


def exported(module: nn.Module, *example: torch.Tensor, dynamic: Sequence[int] = (0,)) -> ExportedProgram:
    """`module` with the dimensions `dynamic` of all its inputs free, the first from 1 to 64."""
    dims = {axis: Dim("batch", min=1, max=64) if axis == 0 else Dim("length", min=2, max=512) for axis in dynamic}
    return torch.export.export(module.eval(), example, dynamic_shapes=tuple(dims for _ in example))


def low_bit(
    program: ExportedProgram,
    *example: torch.Tensor,
    bits: int = 4,
    group: int | None = None,
    symmetric: bool = True,
    dynamic: bool = True,
    narrow: bool = False,
) -> ExportedProgram:
    """The program with every weight in `bits` bits; if `dynamic`, inputs of linear and recurrent layers are rounded."""
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    rounding = Rounding(bits, group, symmetric, narrow)
    for layer in find_layers(module):
        for node in layer.weights:
            write_weight(module, node, round_nearest(stored_tensor(module, node).detach(), rounding))
        for call in layer.calls:
            if dynamic and layer.kind in ("linear", "recurrent") and call.target not in EMBEDDINGS:
                round_input(module, call)
    module.graph.eliminate_dead_code()
    module.recompile()
    return reexport(module, program, example)
