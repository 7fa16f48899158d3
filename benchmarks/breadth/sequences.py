"""Text, speech, series, tables and graphs."""

from __future__ import annotations

from benchmarks.breadth.architecture import Architecture
from benchmarks.breadth.plain_networks import PLAIN
from benchmarks.breadth.recurrent_networks import RECURRENT
from benchmarks.breadth.torchaudio_models import TORCHAUDIO
from benchmarks.breadth.transformers_models import TRANSFORMERS

__all__ = ["SEQUENCES"]

SEQUENCES: tuple[Architecture, ...] = (*TRANSFORMERS, *TORCHAUDIO, *RECURRENT, *PLAIN)
