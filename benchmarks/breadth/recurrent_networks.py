"""Recurrent networks of plain `torch.nn`, in the ways in which people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.breadth.architecture import SAMPLES, Architecture

__all__ = ["RECURRENT"]

_WORDS, _LENGTH, _WIDTH = 100, 16, 48


class _Classifier(nn.Module):
    """Words, a recurrent layer, and a pool over its outputs or its last state."""

    def __init__(self, layer: type[nn.RNNBase], pool: str, **options: Any) -> None:
        super().__init__()
        self.pool, self.words = pool, nn.Embedding(_WORDS, 32, padding_idx=0)
        self.layer = layer(32, _WIDTH, batch_first=True, **options)
        width = (self.layer.proj_size or _WIDTH) * (2 if self.layer.bidirectional else 1)
        self.score, self.head = nn.Linear(width, 1), nn.Linear(width, 4)

    def forward(self, words: Tensor) -> Tensor:
        outputs, last = self.layer(self.words(words))
        if self.pool == "last":
            return self.head(outputs[:, -1])  # type: ignore[no-any-return]
        if self.pool == "state":
            last = last[0] if isinstance(last, tuple) else last
            return self.head(torch.cat([last[-2], last[-1]], 1))  # type: ignore[no-any-return]
        return self.head((outputs * self.score(outputs).softmax(1)).sum(1))  # type: ignore[no-any-return]


class _Generator(nn.Module):
    """The next character at each place."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.letters, self.layer = nn.Embedding(_WORDS, 32), layer(32, 64, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, _WORDS)

    def forward(self, letters: Tensor) -> Tensor:
        return self.head(self.norm(self.layer(self.letters(letters))[0]))  # type: ignore[no-any-return]


class _Unrolled(nn.Module):
    """A cell in a loop of Python."""

    def __init__(self, cell: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.words, self.cell, self.head = nn.Embedding(_WORDS, 32), cell(32, _WIDTH), nn.Linear(_WIDTH, 4)  # type: ignore[call-arg, arg-type]

    def forward(self, words: Tensor) -> Tensor:
        steps = self.words(words)
        hidden = cells = steps.new_zeros(len(words), _WIDTH)
        for step in range(words.shape[1]):
            if isinstance(self.cell, nn.LSTMCell):
                hidden, cells = self.cell(steps[:, step], (hidden, cells))
            else:
                hidden = self.cell(steps[:, step], hidden)
        return self.head(hidden)  # type: ignore[no-any-return]


class _Gates(nn.Module):
    """An LSTM out of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.state = nn.Linear(20, 4 * _WIDTH), nn.Linear(_WIDTH, 4 * _WIDTH, bias=False)
        self.head = nn.Linear(_WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = cells = x.new_zeros(len(x), _WIDTH)
        for step in range(x.shape[1]):
            let, forget, new, out = (self.inputs(x[:, step]) + self.state(hidden)).chunk(4, -1)
            cells = forget.sigmoid() * cells + let.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cells.tanh()
        return self.head(hidden)  # type: ignore[no-any-return]


class _Translator(nn.Module):
    """Encoder and decoder with additive attention (Bahdanau et al. 2015, arXiv:1409.0473), inputs of both given."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(_WORDS, 32), nn.Embedding(_WORDS, 32)
        self.encoder = nn.GRU(32, _WIDTH, batch_first=True, bidirectional=True)
        self.bridge, self.decoder = nn.Linear(2 * _WIDTH, _WIDTH), nn.GRU(32, _WIDTH, batch_first=True)
        self.query, self.key, self.score = nn.Linear(_WIDTH, 32), nn.Linear(2 * _WIDTH, 32), nn.Linear(32, 1)
        self.head = nn.Linear(3 * _WIDTH, _WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, last = self.encoder(self.source(source))
        start = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1)))
        states, _ = self.decoder(self.target(target), start.unsqueeze(0))
        scores = self.score(torch.tanh(self.query(states).unsqueeze(2) + self.key(memory).unsqueeze(1)))
        context = scores.squeeze(-1).softmax(-1) @ memory
        return self.head(torch.cat([states, context], -1))  # type: ignore[no-any-return]


class _Siamese(nn.Module):
    """Two inputs through the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer, self.head = (
            nn.Embedding(_WORDS, 32),
            nn.GRU(32, _WIDTH, batch_first=True),
            nn.Linear(_WIDTH, 32),
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        one, other = (self.head(self.layer(self.words(words))[0][:, -1]) for words in (first, second))
        return nn.functional.cosine_similarity(one, other), (one - other).abs()


class _Lines(nn.Module):
    """Reads lines of text off images: convolutions, then LSTMs along the line (Shi et al. 2015, arXiv:1507.05717)."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d((2, 1)),
            nn.Conv2d(32, _WIDTH, (4, 1)), nn.ReLU(),
        )  # fmt: skip
        self.layer, self.head = nn.LSTM(_WIDTH, _WIDTH, 2, bidirectional=True), nn.Linear(2 * _WIDTH, 20)

    def forward(self, image: Tensor) -> Tensor:
        columns = self.eyes(image).squeeze(2).permute(2, 0, 1)
        return self.head(self.layer(columns)[0]).transpose(0, 1).log_softmax(-1)  # type: ignore[no-any-return]


def _words(length: int = _LENGTH) -> Tensor:
    return torch.randint(1, _WORDS, (SAMPLES, length))


def _network(
    name: str, make: Callable[[], nn.Module], inputs: Callable[[], tuple[Tensor, ...]] = lambda: (_words(),)
) -> Architecture:
    return Architecture(f"torch-{name}", "recurrent", (), lambda: (make(), inputs()), stepwise=True)


RECURRENT: tuple[Architecture, ...] = (
    _network("lstm", lambda: _Classifier(nn.LSTM, "last")),
    _network("lstm-stacked", lambda: _Classifier(nn.LSTM, "state", num_layers=2, bidirectional=True)),
    _network("lstm-projected", lambda: _Classifier(nn.LSTM, "last", num_layers=2, proj_size=24)),
    _network("lstm-attention", lambda: _Classifier(nn.LSTM, "attention", bidirectional=True)),
    _network("gru-stacked", lambda: _Classifier(nn.GRU, "state", num_layers=2, bidirectional=True)),
    _network("rnn-relu", lambda: _Classifier(nn.RNN, "last", num_layers=2, nonlinearity="relu")),
    _network("lstm-generator", lambda: _Generator(nn.LSTM)),
    _network("gru-generator", lambda: _Generator(nn.GRU)),
    _network("lstm-cells", lambda: _Unrolled(nn.LSTMCell), lambda: (_words(8),)),
    _network("gru-cells", lambda: _Unrolled(nn.GRUCell), lambda: (_words(8),)),
    _network("lstm-by-hand", _Gates, lambda: (torch.randn(SAMPLES, 8, 20),)),
    _network("translator", _Translator, lambda: (_words(12), _words(8))),
    _network("siamese", _Siamese, lambda: (_words(), _words())),
    _network("lines", _Lines, lambda: (torch.randn(SAMPLES, 1, 16, 32),)),
)
