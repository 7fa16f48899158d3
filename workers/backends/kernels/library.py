"""Compiling the kernels into a library that Inductor links into its package."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

from burnish.errors import UnsupportedModel

__all__ = ["LIBRARY", "SOURCES", "compile_source", "make_library"]

LIBRARY = "burnish_kernels"
"""Name for the linker, which finds it in the folders of the variable LIBRARY_PATH."""
SOURCES = Path(__file__).parent
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fopenmp-simd",
    # Rounding has to come out as in torch, which rounds a product before it adds to it.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
)


def make_library(folder: Path, files: Sequence[str], kinds: int) -> Path:
    """Writes `lib<LIBRARY>.a` into `folder`: machine code for this processor, as Inductor's own is.

    Args:
        files: the sources to compile.
        kinds: which products it holds, as `BURNISH_KINDS` in `product.h`.

    Raises:
        burnish.errors.UnsupportedModel: if g++ fails.
    """
    objects = []
    for name in files:
        objects.append(str(folder / f"{name}.o"))
        compile_source(name, kinds, ["-march=native", "-c", "-o", objects[-1]])
    path = folder / f"lib{LIBRARY}.a"
    path.unlink(missing_ok=True)
    _run(["ar", "rcsD", str(path), *objects])
    return path


def compile_source(name: str, kinds: int, flags: Sequence[str]) -> None:
    """Runs g++ on one source, in its folder under its relative name: no path of this machine gets into the code."""
    compiler = torch._inductor.config.cpp.cxx[1]
    headers = [f"-I{path}" for path in include_paths()]
    _run([compiler, *_FLAGS, f"-DBURNISH_KINDS={kinds}", *headers, name, *flags])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise UnsupportedModel(
            f"The kernels for weights of few bits can't be compiled: {lines[0][:500]}",
            cure="Use the onnxruntime backend.",
        )
