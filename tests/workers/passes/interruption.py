"""A pass whose process ends in its midst, and the attempt after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from workers.checkpoint import Checkpoint
from workers.passes.base import Applied, PassContext
from workers.programs import save_program

__all__ = ["Apply", "assert_the_same", "interrupted"]

Apply = Callable[[PassContext], Applied]


class Interrupted(Exception):
    """Stands for the end of the process."""


def interrupted(apply: Apply, context: PassContext, call: int, folder: Path) -> tuple[Applied, list[str]]:
    """What comes of an attempt that finds the checkpoint of one before it, and what it told on its way.

    Args:
        call: the report of progress, counted from 1, at which the first attempt ends.
    """
    place = folder / "checkpoint"
    heard: list[str] = []

    def stop(share: float, doing: str) -> None:
        heard.append(doing)
        if len(heard) == call:
            raise Interrupted

    with pytest.raises(Interrupted):
        apply(replace(context, checkpoint=Checkpoint(place=place, least_gap=0.0), progress=stop))
    told: list[str] = []
    found = Checkpoint(found=place)
    resumed = apply(replace(context, checkpoint=found, progress=lambda share, doing: told.append(doing)))
    return resumed, told


def assert_the_same(whole: Applied, resumed: Applied, folder: Path) -> None:
    """Both programs have the same bytes, and both accounts the same figures and layers."""
    assert resumed.figures == whole.figures
    assert resumed.layers == whole.layers
    for name, one in (("whole", whole), ("resumed", resumed)):
        save_program(one.program, folder / name)
    assert (folder / "whole").read_bytes() == (folder / "resumed").read_bytes()
