"""Tiny networks, one for each way in which channels are tied, and how they are pruned in tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from burnish.passes import Prune
from workers.passes.base import Applied, PassContext, Samples
from workers.passes.coupling import couple, weights
from workers.passes.prune import PrunePass

__all__ = ["NETS", "Net", "context", "export", "image", "prune", "rows", "zero_half"]


class Net(nn.Module):
    """Layers by name, and a function of them and the input."""

    def __init__(self, compute: Callable[[Net, torch.Tensor], torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.compute = compute
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.compute(self, x)


def rows(batch: int) -> torch.Tensor:
    """Inputs of 5 tokens with 6 features."""
    return torch.randn(batch, 5, 6, generator=torch.Generator().manual_seed(batch))


def image(batch: int) -> torch.Tensor:
    """Inputs of 6 channels, 4 × 4 pixels."""
    return torch.randn(batch, 6, 4, 4, generator=torch.Generator().manual_seed(batch))


def _tied_weights() -> Net:
    net = Net(
        lambda n, x: n.out(torch.relu(n.second(torch.relu(n.first(torch.relu(n.up(x))))))),
        up=nn.Linear(6, 8), first=nn.Linear(8, 8), second=nn.Linear(8, 8), out=nn.Linear(8, 3),
    )  # fmt: skip
    net.second.weight = net.first.weight
    return net


def _shuffled(net: Net, x: torch.Tensor) -> torch.Tensor:
    x = functional.relu(net.up(x))
    x = x.view(x.shape[0], 2, 4, 4, 4).transpose(1, 2).reshape(x.shape[0], 8, 4, 4)
    left, right = x.chunk(2, dim=1)
    return net.out(torch.cat([left, net.right(right)], dim=1)).mean((2, 3))


def _excited(net: Net, x: torch.Tensor) -> torch.Tensor:
    x = net.up(x)
    return net.out(x * net.back(torch.relu(net.down(x.mean((2, 3), keepdim=True)))).sigmoid()).mean((2, 3))


def _attention(net: Net, x: torch.Tensor) -> torch.Tensor:
    attended, _ = net.attention(x, x, x, need_weights=False)
    return net.out(attended + x)


NETS: dict[str, tuple[Callable[[], Net], Callable[[int], torch.Tensor]]] = {
    "tied weights": (_tied_weights, rows),
    "chunk and gate": (
        lambda: Net(
            lambda n, x: n.out(n.up(x).chunk(2, dim=-1)[0] * n.up(x).chunk(2, dim=-1)[1].sigmoid()),
            up=nn.Linear(6, 16), out=nn.Linear(8, 3),
        ),
        rows,
    ),
    "glu": (
        lambda: Net(lambda n, x: n.out(functional.glu(n.up(x), 1)).mean((2, 3)),
                    up=nn.Conv2d(6, 16, 1), out=nn.Conv2d(8, 3, 1)),
        image,
    ),
    "slices used apart": (
        lambda: Net(lambda n, x: n.one(n.up(x)[:, :5]).mean((2, 3)) + n.two(n.up(x)[:, 5:8]).mean((2, 3)),
                    up=nn.Conv2d(6, 8, 1), one=nn.Conv2d(5, 3, 1), two=nn.Conv2d(3, 3, 1)),
        image,
    ),
    "channel shuffle": (
        lambda: Net(_shuffled, up=nn.Conv2d(6, 8, 1), right=nn.Conv2d(4, 4, 1), out=nn.Conv2d(8, 3, 1)),
        image,
    ),
    "grouped convolution": (
        lambda: Net(lambda n, x: n.out(functional.relu(n.grouped(n.up(x)))).mean((2, 3)),
                    up=nn.Conv2d(6, 8, 1), grouped=nn.Conv2d(8, 12, 3, padding=1, groups=2), out=nn.Conv2d(12, 3, 1)),
        image,
    ),
    "depthwise with a multiplier": (
        lambda: Net(lambda n, x: n.out(n.deep(n.up(x))).mean((2, 3)),
                    up=nn.Conv2d(6, 8, 1), deep=nn.Conv2d(8, 16, 3, padding=1, groups=8), out=nn.Conv2d(16, 3, 1)),
        image,
    ),
    "transposed convolution": (
        lambda: Net(lambda n, x: n.out(functional.prelu(n.wide(n.up(x)), n.slope.weight)).mean((2, 3)),
                    up=nn.Conv2d(6, 8, 1), wide=nn.ConvTranspose2d(8, 10, 2, 2), slope=nn.PReLU(10),
                    out=nn.Conv2d(10, 3, 1)),
        image,
    ),
    "pixel shuffle": (
        lambda: Net(lambda n, x: n.out(functional.pixel_shuffle(n.up(x), 2)).mean((2, 3)),
                    up=nn.Conv2d(6, 16, 1), out=nn.Conv2d(4, 3, 1)),
        image,
    ),
    "flattened by reshape": (
        lambda: Net(lambda n, x: n.out(functional.max_pool2d(n.up(x), 2).reshape(x.shape[0], 32)),
                    up=nn.Conv2d(6, 8, 1), out=nn.Linear(32, 3)),
        image,
    ),
    "squeeze and excite": (
        lambda: Net(_excited, up=nn.Conv2d(6, 8, 1), down=nn.Conv2d(8, 4, 1), back=nn.Conv2d(4, 8, 1),
                    out=nn.Conv2d(8, 3, 1)),
        image,
    ),
    "instance norm": (
        lambda: Net(lambda n, x: n.out(n.norm(n.up(x))).mean((2, 3)),
                    up=nn.Conv2d(6, 8, 1), norm=nn.InstanceNorm2d(8, affine=True), out=nn.Conv2d(8, 3, 1)),
        image,
    ),
    "einsum": (
        lambda: Net(lambda n, x: torch.einsum("btc,oc->bto", torch.relu(n.up(x)), n.out.weight),
                    up=nn.Linear(6, 8), out=nn.Linear(8, 3, bias=False)),
        rows,
    ),
    "multi-head attention": (
        lambda: Net(_attention, attention=nn.MultiheadAttention(6, 3, batch_first=True), out=nn.Linear(6, 3)),
        rows,
    ),
}  # fmt: skip
"""Each with the function that makes its inputs for a batch size."""


def export(module: nn.Module, example: torch.Tensor) -> ExportedProgram:
    """The module with a dynamic batch of 1 to 64."""
    shapes = ({0: Dim("batch", min=1, max=64)},)
    with warnings.catch_warnings():
        # torch says this of its own recurrent layers, whose weights are parameters all the same.
        warnings.filterwarnings("ignore", message="The tensor attributes .*_flat_weights", category=UserWarning)
        return torch.export.export(module.eval(), (example,), dynamic_shapes=shapes)


def context(program: ExportedProgram, *inputs: torch.Tensor) -> PassContext:
    """What a pass gets, with seed 0 and no one listening to its progress."""
    return PassContext(
        original=program, calibration=Samples(inputs, None), seed=0, max_batch=64, progress=lambda share, what: None
    )


def prune(program: ExportedProgram, **settings: object) -> Applied:
    """Prunes with `round_to: 1` unless told otherwise."""
    return PrunePass().apply(program, Prune.model_validate({"round_to": 1, **settings}), context(program))


def zero_half(module: nn.Module, example: torch.Tensor) -> tuple[ExportedProgram, int]:
    """Exports the module, and sets all weights of half of each group's classes to zero, in the module and the program.

    Returns:
        the program, which shares its weights with the module; and the number of classes.
    """
    program = export(module, example)
    coupling = couple(program)
    zeroed = np.concatenate([group.classes[1::2] for group in coupling.groups])
    with torch.no_grad():
        for name, _ in weights(coupling):
            for slot in coupling.slots:
                if slot.name == name:
                    gone = torch.from_numpy(np.flatnonzero(np.isin(slot.classes, zeroed)))
                    module.get_parameter(name).index_fill_(slot.dim, gone, 0.0)
    return program, len(zeroed)
