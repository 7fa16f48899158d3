"""What lowers a program into one file that runs alone: one file per backend, and this table."""

from __future__ import annotations

from burnish.recipe import Backend
from workers.backends.base import BackendRunner
from workers.backends.eager import Eager
from workers.backends.executorch import ExecuTorch
from workers.backends.inductor import Inductor
from workers.backends.onnxruntime import OnnxRuntime
from workers.backends.openvino import OpenVino

__all__ = ["BACKENDS_BY_NAME"]

BACKENDS_BY_NAME: dict[Backend, BackendRunner] = {
    "inductor": Inductor(),
    "onnxruntime": OnnxRuntime(),
    "openvino": OpenVino(),
    "eager": Eager(),
    "executorch": ExecuTorch(),
}
"""Every backend there is, by the name a target calls it."""
