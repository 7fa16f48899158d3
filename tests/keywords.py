"""A model as users of large libraries export theirs: called by keyword, with nested inputs and constants, and returning
a dataclass with fields that are `None`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.export import Dim

__all__ = ["INPUTS", "OUTPUTS", "Answer", "Reader", "archive", "example", "module"]

INPUTS = ("input_ids", "attention_mask", "extra_scale")
OUTPUTS = ("logits", "states_0", "states_1")


@dataclass
class Answer:
    """What the model returns."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    states: tuple[torch.Tensor, ...] | None = None
    cache: torch.Tensor | None = None


torch.export.register_dataclass(Answer, serialized_type_name="tests.keywords.Answer")


class Reader(nn.Module):
    """10 of 30 tokens, some masked, to 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.inner, self.head = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool = True,
        **extra: Mapping[str, torch.Tensor],
    ) -> Answer:
        first = self.embed(input_ids)
        if attention_mask is not None:
            first = first * attention_mask.unsqueeze(-1)
        if extra:
            first = first * extra["extra"]["scale"]
        second = torch.relu(self.inner(first.mean(1)))
        return Answer(
            loss=None if labels is None else labels.float().mean(),
            logits=self.head(second),
            states=(first, second),
            cache=first if use_cache else None,
        )


def module() -> Reader:
    """The same weights each time."""
    torch.manual_seed(0)
    return Reader().eval()


def example(batch: int = 4, seed: int = 0) -> dict[str, Any]:
    """What it is called with."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 2, (batch, 10), generator=generator)
    mask[:, 0] = 1
    return {
        "input_ids": torch.randint(0, 30, (batch, 10), generator=generator),
        "attention_mask": mask,
        "labels": None,
        "use_cache": False,
        "extra": {"scale": torch.rand(batch, 1, 1, generator=generator) + 0.5},
    }


@cache
def archive() -> bytes:
    """What `torch.export.save` writes of it, as a user without `burnish.capture` gets it."""

    class Plain(Reader):
        """torch 2.13 takes no dynamic shapes for what `**extra` takes."""

        def forward(self, input_ids, attention_mask, labels, use_cache, extra):  # type: ignore[no-untyped-def, override]
            return super().forward(input_ids, attention_mask, labels, use_cache, extra=extra)

    torch.manual_seed(0)
    batch = {0: Dim("batch", min=1, max=64)}
    shapes = {
        "input_ids": batch, "attention_mask": batch, "labels": None, "use_cache": None, "extra": {"scale": batch},
    }  # fmt: skip
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Plain().eval(), (), example(), dynamic_shapes=shapes), buffer)
    return buffer.getvalue()
