"""Small seeded models over windows of steps, and the calls that tests of carried state make with them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

__all__ = ["MODELS", "WINDOW", "CharLM", "Decoder", "Positioned", "example", "export", "module", "stepwise"]

WINDOW = 12
VOCABULARY = 20
THIRD_PARTY = (
    # torch says this of its own recurrent modules, whose weights are parameters all the same.
    r"ignore:The tensor attributes .*_flat_weights:UserWarning",
    # torch has no oneDNN kernel for them, and says so when it runs them.
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning",
    # torch's ONNX exporter warns of its own internals.
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


class CharLM(nn.Module):
    """Tokens to the scores of the next one, through recurrent layers; of the last step, or of each."""

    def __init__(self, each: bool = False, **layer: Any) -> None:
        super().__init__()
        self.each = each
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.first = nn.LSTM(8, 12, num_layers=2, batch_first=True, **layer)
        self.second = nn.GRU(12, 10, batch_first=True, bias=False)
        self.head = nn.Linear(10, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found = self.second(self.first(self.embed(tokens))[0])[0]
        return self.head(found if self.each else found[:, -1])  # type: ignore[no-any-return]


class Projected(nn.Module):
    """An LSTM with projections and a learned first state, over frames; gives its last hidden state too."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 10, proj_size=4, batch_first=True)
        self.start = nn.Parameter(torch.randn(1, 1, 4))
        self.cell = nn.Parameter(torch.randn(1, 1, 10))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch = frames.shape[0]
        start = self.start.expand(1, batch, 4).contiguous(), self.cell.expand(1, batch, 10).contiguous()
        found, (hidden, _) = self.lstm(frames, start)
        return torch.relu(found), hidden[-1]


class TimeMajor(nn.Module):
    """An Elman network over (steps, batch, features) inside, with what keeps steps apart around it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.rnn = nn.RNN(6, 8, num_layers=2, nonlinearity="relu")
        self.mix = nn.Linear(8, 8)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        found = self.rnn(self.norm(frames).transpose(0, 1))[0].transpose(0, 1)
        left, right = self.mix(found).chunk(2, dim=-1)
        gated = left.unflatten(-1, (2, 2)) * torch.sigmoid(right.reshape(right.shape[0], right.shape[1], 2, 2))
        return torch.cat([gated.flatten(2), found.mean(-1, keepdim=True)], dim=-1).log_softmax(-1)


class Block(nn.Module):
    """Pre-norm attention and MLP; positions by rotation (Su et al. 2021, arXiv:2104.09864), by bias, or not at all."""

    def __init__(self, mask: str, rotary: bool) -> None:
        super().__init__()
        self.mask, self.rotary = mask, rotary
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, steps, width = x.shape
        query, key, value = (
            part.view(batch, steps, 2, width // 2).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, dim=2)
        )
        if self.rotary:
            query, key = rotated(query), rotated(key)
        distance = torch.arange(steps)[:, None] - torch.arange(steps)
        masks = {
            "causal": None,
            "booleans": distance >= 0,
            "alibi": torch.where(distance >= 0, -0.3 * distance.float(), torch.tensor(-torch.inf)),
            "local": (distance >= 0) & (distance < 4),
            "none": None,
            "leaks": distance >= -1,
        }
        found = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=masks[self.mask], is_causal=self.mask == "causal"
        )
        x = x + self.out(found.transpose(1, 2).contiguous().view(batch, steps, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


def rotated(x: torch.Tensor) -> torch.Tensor:
    """Rotary embedding over the last dimension."""
    steps, size = x.shape[-2:]
    frequencies = 1.0 / (100.0 ** (torch.arange(0, size, 2).float() / size))
    angles = torch.outer(torch.arange(steps).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    half = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], dim=-1)
    return x * angles.cos() + half * angles.sin()


class Decoder(nn.Module):
    """Tokens to the scores of the next one at every step, through causal attention."""

    def __init__(self, mask: str = "causal", positions: str = "table", most: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.table = nn.Embedding(most, 16) if positions == "table" else None
        self.blocks = nn.Sequential(*(Block(mask, positions == "rotary") for _ in range(2)))
        self.head = nn.Linear(16, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        if self.table is not None:
            x = x + self.table(torch.arange(tokens.shape[1]))
        return self.head(self.blocks(x))  # type: ignore[no-any-return]


class Hybrid(nn.Module):
    """Tokens to the scores of the next one at every step, through a recurrent layer and causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.rnn = nn.LSTM(16, 16, batch_first=True)
        self.block = Block("causal", rotary=True)
        self.head = nn.Linear(16, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.rnn(self.embed(tokens))[0]))  # type: ignore[no-any-return]


class TorchDecoder(nn.Module):
    """torch's own transformer layer with a causal mask, whose batch is not always the first dimension inside."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(frames.shape[1])
        return self.layers(frames, mask=mask, is_causal=True)[:, -1:]  # type: ignore[no-any-return]


class Positioned(nn.Module):
    """Frames plus a sinusoidal table, through a layer whose weight is normalized; both are made anew at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8, bias=False)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(frames.shape[1]).float()[:, None]
        table = torch.sin(steps / 10.0 ** torch.arange(8).float())
        weight = self.linear.weight
        weight = weight * (self.scale / weight.norm(dim=1))[:, None]
        return nn.functional.linear(frames + table, weight)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "char_lm": CharLM,
    "char_lm_each": lambda: CharLM(each=True),
    "projected": Projected,
    "time_major": TimeMajor,
    "decoder": Decoder,
    "decoder_rotary": lambda: Decoder(positions="rotary"),
    "decoder_booleans": lambda: Decoder(mask="booleans"),
    "decoder_alibi": lambda: Decoder(mask="alibi", positions="none"),
    "decoder_local": lambda: Decoder(mask="local"),
    "torch_decoder": TorchDecoder,
    "hybrid": Hybrid,
}


def module(name: str) -> nn.Module:
    """A fresh module in eval mode with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS[name]().eval()


def example(name: str, batch: int = 4, steps: int = WINDOW, seed: int = 0) -> torch.Tensor:
    """A batch of windows."""
    generator = torch.Generator().manual_seed(seed)
    widths = {"projected": 6, "time_major": 6, "torch_decoder": 8}
    if name in widths:
        return torch.randn(batch, steps, widths[name], generator=generator)
    return torch.randint(0, VOCABULARY, (batch, steps), generator=generator)


def export(made: nn.Module, window: torch.Tensor, most_steps: int | None = None) -> ExportedProgram:
    """Exported with a dynamic batch, and a dynamic length where `most_steps` bounds it."""
    dims: dict[int, Any] = {0: Dim("batch", min=1, max=64)}
    if most_steps is not None:
        dims[1] = Dim("steps", min=1, max=most_steps)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The tensor attributes .*_flat_weights", category=UserWarning)
        return torch.export.export(made, (window,), dynamic_shapes=(dims,))


def stepwise(run: Callable[[list[np.ndarray]], list[np.ndarray]], window: torch.Tensor) -> list[torch.Tensor]:
    """What a program that carries state gives for a window."""
    return [torch.from_numpy(each) for each in run([window.numpy()])]
