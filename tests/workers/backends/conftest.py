"""What tests of backends share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module")
def loading_here() -> Iterator[None]:
    """The loader sets process-wide variables and the number of threads, which other tests must not inherit."""
    before, threads = dict(os.environ), torch.get_num_threads()
    yield
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)
