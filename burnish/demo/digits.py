"""The demo's model: a residual CNN, trained in seconds on scanned handwriting.

Data: the 1,797 images of the Optical Recognition of Handwritten Digits test set (Alpaydin and Kaynak, UCI, CC BY 4.0)
that scikit-learn carries, enlarged to 16×16. The model sees 900 of them; the other 897 are the dataset that Burnish
calibrates, recovers and judges on, so nothing it is judged on was ever trained on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from burnish.capture import capture

__all__ = ["Network", "Trained", "train"]

_TRAINED_ON = 900
_BATCH = 60


class _Block(nn.Module):
    """Two 3×3 convolutions with a shortcut (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels_in, channels, 3, stride)
        self.second = _convolution(channels, channels, 3, 1)
        same = channels_in == channels and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Network(nn.Module):
    """(batch, 1, 16, 16) → (batch, 10) class scores."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(1, width, 3, 1), nn.ReLU())
        self.blocks = nn.Sequential(
            _Block(width, width, 1), _Block(width, 2 * width, 2), _Block(2 * width, 4 * width, 2)
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        scores: Tensor = self.head(features)
        return scores


@dataclass(frozen=True)
class Trained:
    """What the demo hands in."""

    model: Path
    dataset: Path
    accuracy: float
    """On the 897 images it was not trained on."""
    parameters: int


def train(folder: Path, epochs: int = 8, seed: int = 0) -> Trained:
    """Trains the network and writes `digits.pt2` and `digits.safetensors` into `folder`."""
    random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(
        1
    )  # the same weights on any machine of this kind, and a core left for the service to start on
    images, labels = _digits(seed)
    network = Network()
    _fit(network, images[:_TRAINED_ON], labels[:_TRAINED_ON], epochs)
    unseen, truth = images[_TRAINED_ON:].contiguous(), labels[_TRAINED_ON:].contiguous()
    network.eval()
    with torch.inference_mode():
        accuracy = (network(unseen).argmax(1) == truth).float().mean().item()
    dataset = folder / "digits.safetensors"
    save_file({"inputs": unseen, "targets": truth}, dataset)
    model = folder / "digits.pt2"
    capture(network, (unseen[:2],), model)
    return Trained(model, dataset, accuracy, sum(weight.numel() for weight in network.parameters()))


def _convolution(channels_in: int, channels: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, size // 2, bias=False), nn.BatchNorm2d(channels)
    )


def _digits(seed: int) -> tuple[Tensor, Tensor]:
    """All images, shuffled: float32 of shape (1797, 1, 16, 16) in 0 … 1, and int64 labels of shape (1797,)."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images = torch.from_numpy(data.images[order].astype(np.float32) / 16)[:, None]
    images = functional.interpolate(images, size=(16, 16), mode="bilinear", align_corners=False)
    return images, torch.from_numpy(data.target[order].astype(np.int64))


def _fit(network: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    """AdamW with one cycle; each batch is moved by up to one pixel, so that strokes may stand anywhere."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.05)
    steps = epochs * (len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(_BATCH):
            shift = (random.randint(-1, 1), random.randint(-1, 1))
            scores = network(torch.roll(images[chosen], shift, dims=(2, 3)))
            loss = functional.cross_entropy(scores, labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
