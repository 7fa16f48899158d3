"""Loads a quantized `torch.export` program and compiles it with freezing, as torchao's documentation says.

It runs beside `workers/standalone/contender.py` and imports nothing of Burnish.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch._inductor.config


def load(path: str, threads: int, device: str = "cpu") -> Any:
    """The compiled module; the first call compiles."""
    eager = _eager()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch._inductor.config.freezing = True
    module = torch.compile(eager.read_program(path, device).module())
    runner = eager.Eager(module, device)
    # The documentation calls it under no_grad and not in inference mode.
    runner.mode.__exit__(None, None, None)
    torch.set_grad_enabled(False)
    return runner


def _eager() -> ModuleType:
    """The loader of programs, by path: an isolated interpreter has none of ours on its search path."""
    path = Path(__file__).resolve().parents[2] / "workers" / "standalone" / "load_eager.py"
    spec = importlib.util.spec_from_file_location("load_eager", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
