"""Keeping the range of a dynamic batch whole while Inductor compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

__all__ = ["free_batch"]

_LAYOUT_QUESTIONS = ("_select_conv_backend", "_conv_determine_backend_memory_format")
"""What torch asks for each convolution; the first compares the batch with 16."""


@contextmanager
def free_batch() -> Iterator[None]:
    """Within this context torch's choice of a convolution's memory format does not narrow the range of the batch.

    Torch picks the format by a rule of thumb that compares the batch with 16, and takes the answer for the example's
    batch as a promise: the package of any unstrided convolution would be bound to a batch of 2 to 15. It would then
    refuse others where inputs are checked, although the code is right for them (torch 2.13).
    """
    with (
        mock.patch.object(torch._C, _LAYOUT_QUESTIONS[0], _unguarded(_LAYOUT_QUESTIONS[0])),
        mock.patch.object(torch._C, _LAYOUT_QUESTIONS[1], _unguarded(_LAYOUT_QUESTIONS[1])),
    ):
        yield


def _unguarded(name: str) -> Callable[..., Any]:
    question: Callable[..., Any] = getattr(torch._C, name)

    def ask(source: torch.Tensor, *args: object, **kwargs: object) -> Any:
        shape_env = getattr(getattr(source, "fake_mode", None), "shape_env", None)
        if shape_env is None:
            return question(source, *args, **kwargs)
        with shape_env.suppress_guards():
            return question(source, *args, **kwargs)

    return ask
