"""One architecture: exported by the service's own means, then cell by cell as the matrix does it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.breadth.architectures import ARCHITECTURES_BY_NAME, Architecture
from benchmarks.breadth.cells import BACKENDS, CELLS_BY_NAME
from benchmarks.breadth.seasoning import season
from benchmarks.matrix.child import Crashed, in_child
from benchmarks.matrix.records import Records
from benchmarks.matrix.run import failure, run_cell, step
from benchmarks.matrix.zoo import Zoo
from burnish.capture import Captured, capture
from burnish.errors import UserError

__all__ = ["run"]

_LARGEST = 8
"""Batch of the export: verification calls it, too, and time matters more here than the kernels of large batches."""
_LIMIT = 300.0
"""Seconds for an export, and for a cell."""
_ROLES = ("program", "calibration", "heldout")


def run(name: str, cells: Sequence[str], zoo: Zoo, records: Records) -> None:
    """Exports one and runs its cells; of all files only what they came to stays."""
    place = records.folder / name
    place.mkdir(parents=True, exist_ok=True)
    try:
        in_child(_export, ARCHITECTURES_BY_NAME[name], zoo, records, limit=_LIMIT, log=place / "log")
    except Crashed as crash:
        records.write_exported(name, {"failed": str(crash)})
    for cell in cells if (place / "program").exists() else ():
        _run_cell(name, cell, records)
    for role in _ROLES:
        (place / role).unlink(missing_ok=True)


def _run_cell(name: str, cell: str, records: Records) -> None:
    log = records.folder / name / f"log-{cell}"
    try:
        in_child(run_cell, name, CELLS_BY_NAME[cell], records, BACKENDS[cell], True, limit=_LIMIT, log=log)
    except Crashed as crash:
        records.write(name, cell, failure(crash))
    found = records.read(name, cell)
    assert found is not None
    reason = found.get("reason", "")[-300:]
    print(f"{name} {cell}: {found['state']} {found.get('seconds', 0):.0f} s {reason}", flush=True)
    for backend in BACKENDS[cell]:
        _removed(records.place(name, cell) / backend)


def _removed(artifact: Path) -> None:
    if artifact.is_dir():
        shutil.rmtree(artifact)
    else:
        artifact.unlink(missing_ok=True)


def _export(architecture: Architecture, zoo: Zoo, records: Records) -> None:
    """Makes what its cells begin with, and keeps how that went."""
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
