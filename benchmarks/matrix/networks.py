"""The networks of the matrix that are nobody else's: small, and with the structures that passes have to cope with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DepthwiseCNN", "DigitDNN", "RefineNet", "SpeakerLSTM", "TextEncoder", "TextGRU"]


class DepthwiseCNN(nn.Module):
    """(batch, 1, 28, 28) → (batch, 10): depthwise-separable blocks (Howard et al. 2017, arXiv:1704.04861)."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((16, 32, 2), (32, 64, 1), (64, 64, 2), (64, 128, 1))
        blocks = [_convolution(1, 16, 3, 2, 1), *(part for width in widths for part in _separable(*width))]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def _separable(channels_in: int, channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return _convolution(channels_in, channels_in, 3, stride, channels_in), _convolution(channels_in, channels, 1, 1, 1)


def _convolution(channels_in: int, channels: int, size: int, stride: int, groups: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU6())


class RefineNet(nn.Module):
    """R-Net of MTCNN (Zhang et al. 2016, arXiv:1604.02878): (batch, 3, 24, 24) → face or not, and its box.

    Names are those of facenet-pytorch, whose weights it takes. The score comes first, for that is what is judged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool(self.prelu1(self.conv1(x)))
        x = self.pool(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1)
        x = self.prelu4(self.dense4(x.flatten(1)))
        return torch.softmax(self.dense5_1(x), dim=1), self.dense5_2(x)


class TextGRU(nn.Module):
    """(batch, 128) words → (batch, 2): a bidirectional GRU."""

    def __init__(self, words: int, classes: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, 64)
        self.rnn = nn.GRU(64, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(tokens))[0].mean(1))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """(batch, 128) words → (batch, 2): two layers of a transformer's encoder, with learned positions."""

    def __init__(self, words: int, classes: int = 2, steps: int = 128) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(words, 128), nn.Parameter(torch.randn(steps, 128) * 0.02)
        layers = (nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True) for _ in range(2))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(128, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(tokens) + self.place).mean(1))  # type: ignore[no-any-return]


class SpeakerLSTM(nn.Module):
    """Speaker encoder of resemblyzer (Wan et al. 2018, arXiv:1710.10467): (batch, 160, 40) → (batch, 1, 256).

    The axis of length 1 says that the values are no class scores, so that cosines are compared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, frames: Tensor) -> Tensor:
        embedded: Tensor = torch.relu(self.linear(self.lstm(frames)[0][:, -1]))
        unit: Tensor = embedded / embedded.norm(dim=1, keepdim=True)
        return unit[:, None]


class DigitDNN(nn.Module):
    """(batch, 1280): 32 frames of 40 mel bands → (batch, 10) spoken digits, by three hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1280, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()
        )
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))  # type: ignore[no-any-return]
