"""One architecture: exported by the package's own means, then cell by cell as the matrix does it."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.breadth.architecture import Architecture
from benchmarks.breadth.seasoning import season
from benchmarks.matrix.records import Records
from benchmarks.matrix.run import step
from benchmarks.matrix.zoo import Zoo
from burnish.capture import Captured, capture
from burnish.errors import UserError

__all__ = ["export"]

_LARGEST = 8
"""Batch of the export: verification calls it, too, and time matters more here than the kernels of large batches."""


def export(architecture: Architecture, zoo: Zoo, records: Records) -> None:
    """Makes what its cells begin with: `program`, `calibration` and `heldout`; `export.json` tells how it was exported.

    Raises:
        Unavailable: a package could not be had.
    """
    warnings.simplefilter("ignore")  # packages and torch's exporter warn of their own internals
    sys.path += [str(zoo.wheel(package)) for package in architecture.packages]
    torch.manual_seed(0)
    module, inputs = architecture.build()
    season(module, inputs)
    place = records.folder / architecture.name
    with tempfile.TemporaryDirectory(dir=place) as name:
        scratch = Path(name)
        try:
            captured = capture(module, [tensor[:1] for tensor in inputs], scratch / "model.pt2", max_batch=_LARGEST)
            found = _prepared(captured, inputs, scratch, place)
        except UserError as error:
            found = {"refused": str(error)}
    records.write_exported(architecture.name, found)


def _prepared(captured: Captured, inputs: Sequence[torch.Tensor], scratch: Path, place: Path) -> dict[str, object]:
    """Moves the files to their place."""
    names = [spec.name for spec in captured.signature.inputs]
    dataset = scratch / "dataset.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in zip(names, inputs, strict=True)}, dataset)
    program = step("capture", {"model": scratch / "model.pt2"}, scratch / "capture").outputs["program"]
    split = step("split", {"program": program, "dataset": dataset}, scratch / "split").outputs
    for role, path in {**split, "program": program}.items():
        path.replace(place / role)
    return {"batch": captured.batch, "notes": captured.notes}
