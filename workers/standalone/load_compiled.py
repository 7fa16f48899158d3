"""Loads a `torch.export` program and compiles it with `torch.compile` in its default mode: the baseline `compiled`.

Compilation happens at the first call, for the batch size of that call, as it does for a user. Imports nothing of ours.
"""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType
from typing import Any

import torch


def load(path: str, threads: int, device: str = "cpu") -> Any:
    """The compiled module; the first call compiles."""
    eager = _beside("load_eager")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return eager.Eager(torch.compile(eager.read_program(path, device).module()), device)


def _beside(name: str) -> ModuleType:
    """The module `name` in this file's folder, which isn't on `sys.path` of an isolated interpreter."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
