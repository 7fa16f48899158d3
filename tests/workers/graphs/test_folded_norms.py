"""Which batch norms go into the convolution before them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests import models
from tests.workers.graphs.test_low_bit import editable, exported
from workers.graphs.batch_norms import batch_norms
from workers.graphs.folded_norms import fold_batch_norms


@pytest.mark.parametrize(
    ("name", "folded", "left"), [("residual_cnn", 8, 0), ("depthwise_cnn", 5, 0), ("concat_cnn", 0, 1)]
)
def test_outputs_stay_the_same(name: str, folded: int, left: int) -> None:
    module = editable(models.program(name))
    assert fold_batch_norms(module) == folded
    assert len(batch_norms(module)) == left
    inputs = models.example(name)
    torch.testing.assert_close(module(*inputs), models.program(name).module()(*inputs), rtol=1e-4, atol=1e-5)


class ReadTwice(nn.Module):
    """A convolution whose output is read beside its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y  # type: ignore[no-any-return]


class Shared(nn.Module):
    """A convolution with two batch norms, one for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        nn.init.uniform_(self.one.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.conv(self.one(self.conv(x))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [ReadTwice, Shared])
def test_a_convolution_that_something_else_depends_on_is_left_alone(kind: type[nn.Module]) -> None:
    program = exported(kind(), torch.randn(2, 3, 5, 5))
    module = editable(program)
    assert fold_batch_norms(module) == 0
    x = torch.randn(3, 3, 5, 5)
    assert torch.equal(module(x), program.module()(x))


class Kernels(nn.Module):
    """Two kernels of one owner, each with a batch norm behind it, and a `bias` that is neither's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.second = (nn.Parameter(torch.randn(4, 4, 1, 1)) for _ in range(2))
        self.bias = nn.Parameter(torch.randn(4, 1, 1))
        self.kernels = nn.ParameterList([nn.Parameter(torch.randn(4, 4, 1, 1)) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(4) for _ in range(4)])
        for norm in self.norms:
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kernel, norm in zip([self.weight, self.second, *self.kernels], self.norms, strict=True):
            x = torch.relu(norm(nn.functional.conv2d(x, kernel)))
        return x + self.bias


class Owned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Kernels()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Kernels, Owned])
def test_kernels_of_one_owner_each_get_a_bias_of_their_own(kind: type[nn.Module]) -> None:
    program = exported(kind(), torch.randn(2, 4, 5, 5))
    module = editable(program)
    assert fold_batch_norms(module) == 4
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(module(x), program.module()(x), rtol=1e-4, atol=1e-5)
