"""Networks of plain `torch.nn` for text, series, tables and graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.breadth.architecture import SAMPLES, Architecture

__all__ = ["PLAIN"]

_WORDS, _LENGTH = 100, 16


class _Encoder(nn.Module):
    """The library's encoder on words; word 0 is padding."""

    def __init__(self, masked: bool, norm_first: bool) -> None:
        super().__init__()
        self.masked, self.words = masked, nn.Embedding(_WORDS, 64, padding_idx=0)
        self.places = nn.Parameter(torch.randn(1, _LENGTH, 64) * 0.1)
        layer = nn.TransformerEncoderLayer(64, 4, 128, norm_first=norm_first, batch_first=True, activation="gelu")
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(64, 4)

    def forward(self, words: Tensor) -> Tensor:
        padding = words == 0 if self.masked else None
        return self.head(self.body(self.words(words) + self.places, src_key_padding_mask=padding)[:, 0])  # type: ignore[no-any-return]


class _Translator(nn.Module):
    """The library's encoder and decoder, the decoder's inputs given."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.body = nn.Embedding(_WORDS, 64), nn.Transformer(64, 4, 2, 2, 128, batch_first=True)
        self.head = nn.Linear(64, _WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        later = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        hidden = self.body(self.words(source), self.words(target), tgt_mask=later, tgt_is_causal=True)
        return self.head(hidden)  # type: ignore[no-any-return]


class _TinyGPT(nn.Module):
    """Causal attention by hand: one projection, a stored mask, tied tables."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(_WORDS, 64), nn.Embedding(_LENGTH, 64)
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(3))
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)
        self.head = nn.Linear(64, _WORDS, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("earlier", torch.tril(torch.ones(1, 1, _LENGTH, _LENGTH)))

    def forward(self, words: Tensor) -> Tensor:
        batch, length = words.shape
        x = self.words(words) + self.places(torch.arange(length))
        q, k, v = (each.view(batch, length, 4, 16).transpose(1, 2) for each in self.qkv(self.norms[0](x)).split(64, 2))
        scores = (q @ k.transpose(-2, -1) / 4).masked_fill(self.get_buffer("earlier") == 0, -torch.inf)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(batch, length, 64))
        return self.head(self.norms[2](x + self.down(F.gelu(self.up(self.norms[1](x))))))  # type: ignore[no-any-return]


class _Crossed(nn.Module):
    """Attention whose keys and values are parts of the input, each of a width of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.body = nn.Linear(32, 64), nn.MultiheadAttention(64, 4, kdim=32, vdim=16, batch_first=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.query(x), x, x[..., :16], need_weights=False)[0].mean(1))  # type: ignore[no-any-return]


class _TCN(nn.Module):
    """Dilated causal convolutions (Bai et al. 2018, arXiv:1803.01271)."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.convs = nn.ModuleList(norm(nn.Conv1d(32 if i else 20, 32, 3, dilation=2**i)) for i in range(3))
        self.skip, self.head = nn.Conv1d(20, 32, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for index, conv in enumerate(self.convs):
            x = F.relu(conv(F.pad(x, (2 * 2**index, 0))) + (x if index else self.skip(x)))
        return self.head(x[:, :, -1])  # type: ignore[no-any-return]


class _TextCNN(nn.Module):
    """Kernels of several sizes (Kim 2014, arXiv:1408.5882)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(_WORDS, 32), nn.Linear(72, 4)
        self.convs = nn.ModuleList(nn.Conv1d(32, 24, size) for size in (3, 4, 5))

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words).transpose(1, 2)
        return self.head(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convs], 1))  # type: ignore[no-any-return]


class _UNet(nn.Module):
    """Of one dimension, with two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = self._block(4, 16), self._block(16, 32), nn.ConvTranspose1d(32, 16, 2, 2)
        self.join, self.head = self._block(32, 16), nn.Conv1d(16, 3, 1)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding=1), nn.BatchNorm1d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down(x)
        deep = self.middle(F.max_pool1d(wide, 2))
        return self.head(self.join(torch.cat([self.up(deep), wide], 1)))  # type: ignore[no-any-return]


class _Experts(nn.Module):
    """The two best of four experts, all of them computed."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.gate, self.head = nn.Linear(20, 48), nn.Linear(48, 4), nn.Linear(48, 5)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inputs(x)
        shares, chosen = self.gate(x).softmax(-1).topk(2, -1)
        weights = x.new_zeros(len(x), 4).scatter(1, chosen, shares)
        every = torch.stack([expert(x) for expert in self.experts], 1)
        return self.head(x + (weights.unsqueeze(-1) * every).sum(1))  # type: ignore[no-any-return]


class _Recommender(nn.Module):
    """Tables and numbers that meet in products (DLRM; Naumov et al. 2019, arXiv:1906.00091)."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 16) for size in (50, 30, 80, 20))
        self.bottom = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(26, 64), nn.ReLU(), nn.Linear(64, 1))
        self.register_buffer("pairs", torch.tril_indices(5, 5, -1))

    def forward(self, numbers: Tensor, kinds: Tensor) -> Tensor:
        x = self.bottom(numbers)
        parts = torch.stack([x, *(table(kinds[:, index]) for index, table in enumerate(self.tables))], 1)
        rows, columns = self.get_buffer("pairs")
        return self.top(torch.cat([x, (parts @ parts.transpose(1, 2))[:, rows, columns]], 1)).sigmoid()  # type: ignore[no-any-return]


class _WideAndDeep(nn.Module):
    """Cheng et al. 2016, arXiv:1606.07792."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.table = nn.Linear(13, 1), nn.Embedding(60, 8)
        self.deep = nn.Sequential(nn.Linear(45, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))

    def forward(self, numbers: Tensor, kinds: Tensor) -> Tensor:
        return self.wide(numbers) + self.deep(torch.cat([numbers, self.table(kinds).flatten(1)], 1))  # type: ignore[no-any-return]


class _TabTransformer(nn.Module):
    """Attention between columns (Huang et al. 2020, arXiv:2012.06678)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.table, self.body = nn.Embedding(60, 32), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(13), nn.Sequential(nn.Linear(6 * 32 + 13, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, kinds: Tensor, numbers: Tensor) -> Tensor:
        return self.head(torch.cat([self.body(self.table(kinds)).flatten(1), self.norm(numbers)], 1))  # type: ignore[no-any-return]


class _Autoencoder(nn.Module):
    """Variational, at its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.mean, self.spread = nn.Linear(64, 64), nn.Linear(64, 16), nn.Linear(64, 16)
        self.decoder = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.relu(self.encoder(x))
        mean = self.mean(hidden)
        return self.decoder(mean), mean, self.spread(hidden)


class _Graph(nn.Module):
    """Graph convolutions over a dense matrix of neighbours (Kipf and Welling 2017, arXiv:1609.02907)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        shares = neighbours / neighbours.sum(-1, keepdim=True).clamp(min=1)
        x = F.relu(shares @ self.first(x))
        return self.head(F.relu(shares @ self.second(x)).mean(1))  # type: ignore[no-any-return]


def _words(least: int = 1, length: int = _LENGTH) -> Tensor:
    return torch.randint(least, _WORDS, (SAMPLES, length))


def _padded() -> Tensor:
    return _words() * (torch.arange(_LENGTH) < torch.randint(_LENGTH // 2, _LENGTH + 1, (SAMPLES, 1)))


def _kinds(count: int, most: int) -> Tensor:
    return torch.randint(0, most, (SAMPLES, count))


def _network(
    name: str,
    family: str,
    make: Callable[[], nn.Module],
    inputs: Callable[[], tuple[Tensor, ...]],
    stepwise: bool = False,
) -> Architecture:
    return Architecture(f"torch-{name}", family, (), lambda: (make(), inputs()), stepwise=stepwise)


PLAIN: tuple[Architecture, ...] = (
    _network("encoder", "text encoders", lambda: _Encoder(False, False), lambda: (_words(),)),
    _network("encoder-padded", "text encoders", lambda: _Encoder(True, True), lambda: (_padded(),)),
    _network("text-cnn", "text encoders", _TextCNN, lambda: (_words(),)),
    _network("bag", "text encoders", lambda: nn.Sequential(nn.EmbeddingBag(_WORDS, 32), nn.Linear(32, 64), nn.ReLU(),
             nn.Linear(64, 4)), lambda: (_words(),)),
    _network("tiny-gpt", "text decoders", _TinyGPT, lambda: (_words(),), stepwise=True),
    _network("transformer", "encoders with decoders", _Translator, lambda: (_words(), _words(length=12))),
    _network("crossed", "series", _Crossed, lambda: (torch.randn(SAMPLES, _LENGTH, 32),)),
    _network("tcn", "series", _TCN, lambda: (torch.randn(SAMPLES, 24, 20),)),
    _network("unet-1d", "series", _UNet, lambda: (torch.randn(SAMPLES, 4, 32),)),
    _network("experts", "tables and graphs", _Experts, lambda: (torch.randn(SAMPLES, 20),)),
    _network("recommender", "tables and graphs", _Recommender, lambda: (torch.randn(SAMPLES, 13), _kinds(4, 20))),
    _network("wide-and-deep", "tables and graphs", _WideAndDeep, lambda: (torch.randn(SAMPLES, 13), _kinds(4, 60))),
    _network("tab-transformer", "tables and graphs", _TabTransformer,
             lambda: (_kinds(6, 60), torch.randn(SAMPLES, 13))),
    _network("autoencoder", "tables and graphs", _Autoencoder, lambda: (torch.rand(SAMPLES, 64),)),
    _network("graph", "tables and graphs", _Graph, lambda: (
        torch.randn(SAMPLES, 10, 12), (torch.rand(SAMPLES, 10, 10) > 0.6).float() + torch.eye(10))),
)  # fmt: skip
