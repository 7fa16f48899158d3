"""Small recurrent, attention and language models in the shapes that users export, for the tests of pruning."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from tests.workers.passes.coupled_nets import image, rows

__all__ = ["MODELS", "tokens"]


def tokens(batch: int) -> torch.Tensor:
    """5 tokens of a vocabulary of 12."""
    return torch.randint(0, 12, (batch, 5), generator=torch.Generator().manual_seed(batch))


class Recurrent(nn.Module):
    """A classifier on the outputs, or on the last states, of a recurrent layer."""

    def __init__(self, kind: type[nn.RNNBase], read: str, width: int = 8, **options: object) -> None:
        super().__init__()
        self.read = read
        self.body = kind(6, width, batch_first=True, **options)  # type: ignore[arg-type]
        out = self.body.proj_size or width
        self.head = nn.Linear(out * (2 if self.body.bidirectional else 1), 3)
        self.start = nn.Parameter(torch.randn(self.body.num_layers, 1, width)) if read == "learned start" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.start is not None:
            return self.head(self.body(x, self.start.expand(-1, x.shape[0], -1).contiguous())[0].mean(1))  # type: ignore[no-any-return]
        outputs, states = self.body(x)
        last = states[0] if isinstance(states, tuple) else states
        if self.read == "last of both":
            return self.head(torch.cat([last[-2], last[-1]], dim=1))  # type: ignore[no-any-return]
        if self.read == "all states":
            return self.head(last.sum(0))  # type: ignore[no-any-return]
        if self.read == "last state":
            return self.head(last[-1])  # type: ignore[no-any-return]
        if self.read == "gathered":
            place = torch.full((x.shape[0], 1, 1), 2).expand(-1, -1, outputs.shape[2])
            return self.head(outputs.gather(1, place)[:, 0])  # type: ignore[no-any-return]
        return self.head(outputs[:, -1])  # type: ignore[no-any-return]


class Cells(nn.Module):
    """Two steps of an LSTM cell, from zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.cell(x[:, 0])
        return self.head(self.cell(x[:, 1], first)[0])  # type: ignore[no-any-return]


class HandWritten(nn.Module):
    """Attention as matmul, softmax, matmul, before an RMS norm and a gated MLP with residuals."""

    def __init__(self, heads: int = 4, shared: int = 4) -> None:
        super().__init__()
        self.heads, self.shared = heads, shared
        self.up = nn.Linear(6, 16)
        self.q, self.o = nn.Linear(16, 4 * heads), nn.Linear(4 * heads, 16)
        self.k, self.v = nn.Linear(16, 4 * shared), nn.Linear(16, 4 * shared)
        self.norm1, self.norm2 = nn.RMSNorm(16), nn.RMSNorm(16)
        self.gate, self.value, self.down = nn.Linear(16, 24), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        batch, length, _ = x.shape
        y = self.norm1(x)
        q = self.q(y).view(batch, length, self.heads, 4).transpose(1, 2)
        k, v = (part(y).view(batch, length, self.shared, 4).transpose(1, 2) for part in (self.k, self.v))
        k, v = (part.repeat_interleave(self.heads // self.shared, dim=1) for part in (k, v))
        scores = (q @ k.transpose(-2, -1) / math.sqrt(4)).softmax(-1)
        x = x + self.o((scores @ v).transpose(1, 2).reshape(batch, length, 4 * self.heads))
        y = self.norm2(x)
        x = x + self.down(nn.functional.silu(self.gate(y)) * self.value(y))
        return self.head(x).mean(1)  # type: ignore[no-any-return]


class Rotary(nn.Module):
    """Attention of Llama with grouped queries: RMS norms written out in a wider type, rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 16)
        self.q, self.k, self.v, self.o = nn.Linear(16, 32), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(32, 16)
        self.scale = nn.Parameter(torch.rand(16) + 0.5)
        self.head = nn.Linear(16, 3)
        angles = torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.1])).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        y = self.norm(x)
        q, k, v = (part(y).unflatten(-1, (-1, 4)).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = (part * self.cos + torch.cat([-part[..., 2:], part[..., :2]], -1) * self.sin for part in (q, k))
        k, v = (part[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, 8, 5, 4) for part in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(self.norm(x + self.o(y.transpose(1, 2).flatten(2)))).mean(1)  # type: ignore[no-any-return]

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.float64)
        return self.scale * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Narrowed(nn.Module):
    """Heads that can't go, whose values may get narrower than their queries: the layout changes with them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).unflatten(-1, (2, 8)).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(q, k.cumsum(1), v)
        return self.o(y.transpose(1, 2).view(-1, 5, 16)).mean(1)  # type: ignore[no-any-return]


class Reduced(nn.Module):
    """Queries over shorter keys and values (Wang et al. 2021, arXiv:2102.12122), with one head and then with two."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 16)
        for heads in (1, 2):
            self.add_module(f"q{heads}", nn.Linear(16, 16))
            self.add_module(f"kv{heads}", nn.Linear(16, 32))
            self.add_module(f"o{heads}", nn.Linear(16, 16))
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        for heads in (1, 2):
            q, kv, o = (self.get_submodule(f"{name}{heads}") for name in ("q", "kv", "o"))
            queries = q(x).reshape(-1, 5, heads, 16 // heads).transpose(1, 2)
            keys, values = kv(x[:, :3]).reshape(-1, 3, 2, heads, 16 // heads).permute(2, 0, 3, 1, 4).unbind(0)
            attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
            x = x + o(attended.transpose(1, 2).reshape(-1, 5, 16))
        return self.head(x).mean(1)  # type: ignore[no-any-return]


class Unbound(nn.Module):
    """Linear attention whose queries and keys come from one layer, and lose the same places of each head."""

    def __init__(self) -> None:
        super().__init__()
        self.qk, self.v, self.o = nn.Linear(6, 16), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = self.qk(x).reshape(-1, 5, 2, 8).permute(2, 0, 1, 3).unbind(0)
        return self.o(q @ (k.relu().transpose(1, 2) @ self.v(x))).mean(1)  # type: ignore[no-any-return]


class ResponseNorm(nn.Module):
    """The block of ConvNeXt V2 (Woo et al. 2023, arXiv:2301.00808): responses are divided by the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 16), nn.Linear(16, 3)
        self.scale, self.shift = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.up(x))
        response = x.norm(p=2, dim=1, keepdim=True)
        relative = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        return self.down(x + torch.addcmul(self.shift, self.scale, x * relative)).mean(1)  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """The library's encoder layer, and a head."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.up = nn.Linear(6, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, **options)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.up(x)).mean(1))  # type: ignore[no-any-return]


class TiedLanguageModel(nn.Module):
    """Next-token scores from an embedding that is the output layer too, through an RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
        self.norm = nn.RMSNorm(16)
        self.out = nn.Linear(16, 12, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        return self.out(self.norm(x + self.down(torch.relu(self.up(x)))))  # type: ignore[no-any-return]


class Normed(nn.Module):
    """Convolutions through a group norm, a transposed depthwise convolution, a fixed shuffle and a picked channel."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm = nn.Conv2d(6, 16, 1), nn.GroupNorm(4, 16)
        self.wide = nn.ConvTranspose2d(16, 16, 2, 2, groups=16)
        self.halves = nn.ConvTranspose2d(16, 8, 1, groups=2)
        self.out = nn.Conv2d(8, 3, 1)
        self.register_buffer("order", torch.arange(16).view(4, 4)[[1, 0, 3, 2]].flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.up(x))).index_select(1, self.order)
        x = self.halves(self.wide(x)).flip(1)
        x = self.out(x / x.pow(2).mean(1, keepdim=True).add(1e-3).sqrt())
        return x.mean((2, 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], torch.Tensor]]] = {
    "LSTM, last output": (lambda: Recurrent(nn.LSTM, "last output"), rows),
    "LSTM of two layers and both directions, last states": (
        lambda: Recurrent(nn.LSTM, "last of both", num_layers=2, bidirectional=True), rows),
    "GRU of two layers, last state": (lambda: Recurrent(nn.GRU, "last state", num_layers=2), rows),
    "GRU of two layers, all states": (lambda: Recurrent(nn.GRU, "all states", num_layers=2), rows),
    "GRU from a learned state": (lambda: Recurrent(nn.GRU, "learned start", num_layers=2), rows),
    "plain RNN in both directions": (lambda: Recurrent(nn.RNN, "last output", bidirectional=True), rows),
    "LSTM with projections": (lambda: Recurrent(nn.LSTM, "last output", num_layers=2, proj_size=4), rows),
    "LSTM without biases, gathered": (lambda: Recurrent(nn.LSTM, "gathered", bias=False), rows),
    "LSTM cells": (Cells, rows),
    "attention by hand": (HandWritten, rows),
    "attention with shared keys": (lambda: HandWritten(heads=4, shared=2), rows),
    "rotary attention with grouped queries": (Rotary, rows),
    "attention with narrower values": (Narrowed, rows),
    "attention over reduced keys": (Reduced, rows),
    "attention whose parts are unbound": (Unbound, rows),
    "global response norm": (ResponseNorm, rows),
    "transformer layer": (TransformerLayer, rows),
    "transformer layer, norm first": (lambda: TransformerLayer(norm_first=True), rows),
    "tied language model": (TiedLanguageModel, tokens),
    "group norm and fixed shuffle": (Normed, image),
}  # fmt: skip
"""Each with the function that makes its inputs for a batch size."""
