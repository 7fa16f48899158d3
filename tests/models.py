"""Small seeded models that every torch test shares, each exported with a dynamic batch.

`program("residual_cnn")` is exported once per process; passes never change an `ExportedProgram`, so it can be shared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

__all__ = ["MAX_BATCH", "NAMES", "example", "module", "program"]

MAX_BATCH = 256
EXAMPLE_BATCH = 4


class _ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.short = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.short(x))


class ResidualCNN(nn.Module):
    """3 × 16 × 16 images to 10 classes through three residual blocks with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(_ResidualBlock(16, 16, 1), _ResidualBlock(16, 32, 2), _ResidualBlock(32, 32, 1))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class DepthwiseCNN(nn.Module):
    """1 × 16 × 16 images to 10 classes through depthwise-separable convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU6(),
            nn.Conv2d(32, 32, 3, 2, 1, groups=32), nn.BatchNorm2d(32), nn.ReLU6(),
            nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image))  # type: ignore[no-any-return]


class ConcatCNN(nn.Module):
    """3 × 12 × 12 images to 5 classes; two branches are concatenated and flattened into the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.left = nn.Conv2d(16, 16, 1)
        self.right = nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 24, 3, 1, 1))
        self.norm = nn.BatchNorm2d(40)
        self.pool = nn.MaxPool2d(4)
        self.head = nn.Linear(40 * 9, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(torch.cat([self.left(x), self.right(x)], dim=1)))
        return self.head(torch.flatten(self.pool(x), 1))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """20 features to 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 4)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """12 tokens of a vocabulary of 50 to 6 classes through two pre-norm attention blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.place = nn.Parameter(torch.randn(12, 32) * 0.1)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.place
        q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))  # type: ignore[no-any-return]


class LSTMClassifier(nn.Module):
    """10 frames of 8 features to 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(frames)[0][:, -1])  # type: ignore[no-any-return]


def _images(channels: int, side: int) -> Callable[[int, torch.Generator], torch.Tensor]:
    return lambda batch, generator: torch.randn(batch, channels, side, side, generator=generator)


_MODELS: dict[str, tuple[type[nn.Module], Callable[[int, torch.Generator], torch.Tensor]]] = {
    "residual_cnn": (ResidualCNN, _images(3, 16)),
    "depthwise_cnn": (DepthwiseCNN, _images(1, 16)),
    "concat_cnn": (ConcatCNN, _images(3, 12)),
    "mlp": (MLP, lambda batch, generator: torch.randn(batch, 20, generator=generator)),
    "encoder": (Encoder, lambda batch, generator: torch.randint(0, 50, (batch, 12), generator=generator)),
    "lstm": (LSTMClassifier, lambda batch, generator: torch.randn(batch, 10, 8, generator=generator)),
}
NAMES = tuple(_MODELS)


def example(name: str, batch: int = EXAMPLE_BATCH, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random inputs of the model `name`, the same for the same seed."""
    return (_MODELS[name][1](batch, torch.Generator().manual_seed(seed)),)


def module(name: str, seed: int = 0) -> nn.Module:
    """A fresh module in eval mode with seeded weights and batch-norm statistics that are not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = _MODELS[name][0]()
        with torch.no_grad():
            for part in made.modules():
                if isinstance(part, nn.BatchNorm2d):
                    for tensor, low, high in (
                        (part.running_mean, -0.3, 0.3),
                        (part.running_var, 0.5, 1.5),
                        (part.weight, 0.5, 1.5),
                        (part.bias, -0.2, 0.2),
                    ):
                        assert tensor is not None
                        tensor.uniform_(low, high)
    return made.eval()


@cache
def program(name: str) -> ExportedProgram:
    """The model `name` exported with a batch of 1 to `MAX_BATCH`."""
    shapes = ({0: Dim("batch", min=1, max=MAX_BATCH)},)
    with warnings.catch_warnings():
        # torch says this of its own nn.LSTM, whose weights are parameters all the same.
        warnings.filterwarnings("ignore", message="The tensor attributes self.lstm._flat_weights", category=UserWarning)
        return torch.export.export(module(name), example(name), dynamic_shapes=shapes)
