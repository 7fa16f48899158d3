"""Speech models of torchaudio, from its Python files alone: its compiled part belongs to another torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.breadth.architecture import SAMPLES, Architecture

__all__ = ["TORCHAUDIO"]

_PACKAGE = "torchaudio==2.11.1"


class _WholeLength(nn.Module):
    """Sequences that are all of one length, which the model would else be told."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, torch.full(x.shape[:1], x.shape[1]))[0]  # type: ignore[no-any-return]


def _model(name: str, shape: tuple[int, ...], make: Callable[[Any], nn.Module]) -> Architecture:
    """What `make` takes from `torchaudio.models.<name>`."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        _without_its_libraries()
        model = make(importlib.import_module(f"torchaudio.models.{name}"))
        return model, (torch.randn(SAMPLES, *shape),)

    return Architecture(f"torchaudio-{name}", "speech", (_PACKAGE,), build)


def _without_its_libraries() -> None:
    """Stands in for the package and for `torchaudio.models`, whose imports load the compiled part."""
    for name in ("torchaudio", "torchaudio.models"):
        module = ModuleType(name)
        module.__path__ = [str(place) for folder in sys.path if (place := Path(folder, *name.split("."))).is_dir()]
        sys.modules[name] = module


TORCHAUDIO: tuple[Architecture, ...] = (
    _model("conformer", (24, 40), lambda m: _WholeLength(m.Conformer(40, 4, 64, 2, 7))),
    _model("conv_tasnet", (1, 400), lambda m: m.ConvTasNet(2, 16, 64, 3, 32, 64, 3, 1)),
    _model("wav2letter", (40, 64), lambda m: m.Wav2Letter(20, "mfcc", 40)),
    _model("deepspeech", (1, 16, 40), lambda m: m.DeepSpeech(40, 64, 20)),
)
