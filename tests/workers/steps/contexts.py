"""What the tests of verify and measure share: a lowered MLP, held-out samples, and a context around them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from burnish.recipe import Target
from tests import models
from workers.backends import BACKENDS_BY_NAME
from workers.datasets import write_samples
from workers.passes.base import Samples
from workers.programs import save_program
from workers.steps.base import StepContext

__all__ = ["context", "heldout", "lowered_files"]


def heldout(path: Path, name: str = "mlp", count: int = 40, labelled: bool = True) -> Path:
    """Samples of a model with the classes that the model itself gives, but for every tenth."""
    inputs = models.example(name, batch=count, seed=1)
    with torch.no_grad():
        targets = models.module(name)(*inputs).argmax(dim=1)
    targets[::10] = (targets[::10] + 1) % 4
    write_samples(Samples(inputs, targets if labelled else None), path)
    return path


def context(
    folder: Path, inputs: Mapping[str, Path], settings: Mapping[str, Any], batch: int = 4, threads: int = 1
) -> StepContext:
    """One for a step that works in `folder`."""
    folder.mkdir(exist_ok=True)
    return StepContext(
        settings=settings,
        inputs=inputs,
        folder=folder,
        target=Target(threads=threads, batch=batch),
        seed=0,
        progress=lambda share, doing: None,
    )


def lowered_files(folder: Path) -> dict[str, Path]:
    """The MLP as a program and as an ONNX file, under names without endings, as blobs are."""
    program = models.program("mlp")
    save_program(program, folder / "program")
    lowered = BACKENDS_BY_NAME["onnxruntime"].lower(
        program, Target(batch=4), Samples(models.example("mlp"), None), folder
    )
    return {
        "program": folder / "program",
        "original": folder / "program",
        "artifact": lowered.path.rename(folder / "artifact"),
        "heldout": heldout(folder / "heldout"),
    }
