"""One scale for all rows of an int8 weight, where they are as good as with a scale of their own."""

from __future__ import annotations

import torch
from torchao.quantization.pt2e import PerChannelMinMaxObserver

__all__ = ["LEAST_DB", "SharedScaleObserver", "can_share_scale"]

LEAST_DB = 35.0
"""Signal-to-noise ratio that every row must keep. Of normal weights rows have 42 dB, and 36 dB with 7 bits, each on a
scale of its own."""


class SharedScaleObserver(PerChannelMinMaxObserver):  # type: ignore[misc]  # torchao ships no types
    """The scale of the largest row for every row; the form stays one of scales per row."""

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        scales, zeros = super().calculate_qparams()
        return torch.full_like(scales, scales.max().item()), zeros


def can_share_scale(weight: torch.Tensor, limit: int, *, together: bool = False) -> bool:
    """Whether each row, rounded to integers of -limit to limit on the scale of the largest row, keeps `LEAST_DB`.

    Rows of zeros lose nothing. Scales per row cost time at each call: ONNX Runtime spends a fifth of it on them in a
    network of four layers of at most 256 outputs at batch 1 (docs/backends/onnxruntime.md).

    Args:
        weight: float, [outputs, inputs].
        together: the rows must keep it all in all. So much is enough where they end in the same functions, as those of
            an LSTM do: its gates hear an error by its size, and not by that of their own weights.
    """
    weight = weight.detach().double()
    scale = weight.abs().max() / limit
    if scale == 0:
        return True
    noise = (weight - (weight / scale).round() * scale).square().sum(1)
    signal = weight.square().sum(1)
    if together:
        noise, signal = noise.sum(), signal.sum()
    return bool((noise <= signal * 10 ** (-LEAST_DB / 10)).all())
