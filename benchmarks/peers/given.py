"""What every route is given: the exported program of one model, and its calibration data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.export import ExportedProgram

from workers.datasets import read_samples
from workers.passes.calibration import batches
from workers.programs import batch_range, load_program

__all__ = ["KINDS", "Given", "Kind", "digest"]

Kind = Literal["attention", "convolutional", "dense", "recurrent"]
KINDS: dict[str, Kind] = {
    "residual-cnn": "convolutional",
    "depthwise-cnn": "convolutional",
    "detection-cnn": "convolutional",
    "gru-text": "recurrent",
    "lstm-speech": "recurrent",
    "char-rnn": "recurrent",
    "transformer": "attention",
    "speech-dnn": "dense",
    "decoder": "attention",
}
"""The models that are compared, in the order of the matrix. Where a peer quantizes activations either way, those of
recurrent models are quantized dynamically, of others statically."""


@dataclass(frozen=True)
class Given:
    """One model. Its files are those that the matrix makes, and are only read."""

    model: str
    folder: Path

    @property
    def kind(self) -> Kind:
        """What it is made of."""
        return KINDS[self.model]

    def program(self) -> ExportedProgram:
        """Read anew: peers change what they are given."""
        return load_program(self.folder / "program")

    def batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """The calibration data, 32 samples at a time."""
        samples = read_samples(self.folder / "calibration")
        for batch in batches(samples, self.program()):
            yield tuple(batch)

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """The batch is free, as in the program."""
        least, most = batch_range(self.program())
        batch = torch.export.Dim("batch", min=least, max=most)
        return tuple({0: batch} for _ in next(self.batches()))


def digest(folder: Path) -> str:
    """Of the program and the data: artifacts of another model are void."""
    whole = hashlib.sha256()
    for name in ("program", "calibration", "heldout"):
        whole.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return whole.hexdigest()
