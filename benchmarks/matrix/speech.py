"""Spoken digits by espeak-ng, and their mel spectrograms."""

from __future__ import annotations

import io
import os
import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["DIGITS", "VOICES", "mel", "spoken"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan")
_TIMBRES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f4")
VOICES = tuple(f"{accent}+{timbre}" for timbre in _TIMBRES for accent in _ACCENTS)
"""60 of them, those of a timbre side by side."""
RATE = 16_000


def spoken(unpacked: Path, text: str, voice: str, words_per_minute: int) -> Tensor:
    """Samples of shape (time,) at 16 kHz, the silence at both ends cut off."""
    libraries = unpacked / "usr" / "lib" / "x86_64-linux-gnu"
    command = [str(unpacked / "usr" / "bin" / "espeak-ng"), "-v", voice, "-s", str(words_per_minute), "--stdout", text]
    places = {"LD_LIBRARY_PATH": str(libraries), "ESPEAK_DATA_PATH": str(libraries / "espeak-ng-data")}
    said = subprocess.run(command, env=os.environ | places, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes())[: 2 * 10**7], "<i2").astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    samples = samples[loud[0] : loud[-1]]
    places_16k = np.arange(0, len(samples), rate / RATE)
    return torch.from_numpy(np.interp(places_16k, np.arange(len(samples)), samples).astype(np.float32))


def mel(samples: Tensor, bands: int = 40) -> Tensor:
    """Power in mel bands (Slaney's scale and norm, as librosa's) of 25 ms every 10 ms: (time,) → (frames, bands)."""
    window = torch.hann_window(400)
    spectrum = torch.stft(samples, 400, 160, window=window, center=True, pad_mode="constant", return_complex=True)
    return (_filters(bands) @ spectrum.abs().square()).T.contiguous()


def _filters(bands: int) -> Tensor:
    edges = _hertz(np.linspace(0, _mel(RATE / 2), bands + 2))
    bins = np.linspace(0, RATE / 2, 201)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(filters.astype(np.float32))


def _mel(hertz: float) -> float:
    return float(15 + 27 * np.log(hertz / 1000) / np.log(6.4))


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))


def padded(frames: Tensor, length: int) -> Tensor:
    """Cut, or repeated from the start, to so many frames."""
    rows: Sequence[int] = torch.arange(length).remainder(len(frames)).tolist()
    return frames[rows]
