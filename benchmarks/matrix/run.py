"""Runs a cell by the service's own steps: passes, then every automatic backend lowered and verified; then measures."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.matrix.cells import Cell
from benchmarks.matrix.models import DATASET, PROGRAM, Model
from benchmarks.matrix.records import Records
from benchmarks.matrix.zoo import Unavailable, Zoo
from burnish.errors import UserError
from burnish.passes import PassSettings
from burnish.recipe import AUTOMATIC_BACKENDS, Target
from workers.steps.base import Made, StepContext
from workers.steps.table import STEPS

__all__ = ["make_model", "measure_cells", "run_cell", "step", "verdict"]

TARGET = Target(threads=1, batch=1)


def step(op: str, inputs: Mapping[str, Path], folder: Path, **settings: Any) -> Made:
    """One step, in a scratch folder of its own."""
    folder.mkdir()
    context = StepContext(settings, inputs, folder, TARGET, seed=0, progress=lambda share, doing: None)
    return STEPS[op].run(context)


def make_model(model: Model, zoo: Zoo, records: Records) -> None:
    """Trains or fetches the model, and makes of it what every job begins with: `program`, `calibration`, `heldout`."""
    _quiet()
    place = records.folder / model.name
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as name:
        scratch = Path(name)
        try:
            model.make(zoo, scratch)
        except Unavailable as error:
            records.write_unavailable(model.name, str(error))
            return
        program = step("capture", {"model": scratch / PROGRAM}, scratch / "capture").outputs["program"]
        split = step("split", {"program": program, "dataset": scratch / DATASET}, scratch / "split").outputs
        profile = step("profile", {"program": program, "calibration": split["calibration"]}, scratch / "profile")
        for role, path in {**split, "profile": profile.outputs["profile"], "program": program}.items():
            path.replace(place / role)


def run_cell(model: str, cell: Cell, records: Records, backends: Sequence[str], again: bool) -> None:
    """Everything but the speed, which is measured when nothing else runs.

    Args:
        model: its name: its files lie in that folder of the records.
        backends: those to lower for; what is known of others stays, unless everything is to be run `again`.
    """
    _quiet()
    began, place = time.monotonic(), records.folder / model
    given = {role: place / role for role in ("calibration", "heldout", "profile")} | {"original": place / "program"}
    kept = records.place(model, cell.name)
    known = {} if again else (records.read(model, cell.name) or {}).get("backends", {})
    if again:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True, exist_ok=True)
    todo = [name for name in backends if name not in known]
    with tempfile.TemporaryDirectory() as name:
        found = _outcome(cell, given, Path(name), kept, known, todo)
    records.write(model, cell.name, {**found, "seconds": time.monotonic() - began})


def _outcome(
    cell: Cell,
    given: Mapping[str, Path],
    scratch: Path,
    kept: Path,
    known: Mapping[str, Any],
    todo: Sequence[str],
) -> dict[str, Any]:
    program = given["original"]
    reports: list[dict[str, Any]] = []
    for index, settings in enumerate(cell.passes):
        inputs = _inputs(settings, {**given, "program": program})
        try:
            made = step(f"pass:{settings.name}", inputs, scratch / f"pass-{index}", **settings.model_dump(mode="json"))
        except UserError as error:
            return {"state": "refused", "reason": f"{settings.name}: {error}", "passes": reports}
        reports.append({"name": settings.name, **_short(made.report)})
        program = made.outputs["program"]
    if cell.passes and not any(report["changed"] for report in reports):
        reasons = dict.fromkeys(report["unchanged"] for report in reports)
        return {
            "state": "refused",
            "reason": "Nothing to do. " + " ".join(reasons),
            "passes": reports,
        }
    lowered = {name: _lowered(name, given, program, scratch / name, kept) for name in todo}
    backends: dict[str, Any] = {**known, **lowered}
    return {**verdict(backends), "passes": reports, "backends": backends}


def _inputs(settings: PassSettings, given: Mapping[str, Path]) -> dict[str, Path]:
    roles = ["program", "original", "calibration", *(["profile"] if settings.wants_profile() else [])]
    return {role: given[role] for role in roles}


def _short(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the table needs of a pass's report."""
    layers: Sequence[Mapping[str, Any]] = report["layers"]
    left = [layer for layer in layers if layer["treatment"].startswith("left alone")]
    return {
        "changed": report["changed"],
        "unchanged": report.get("unchanged", ""),
        "parameters": report["parameters"],
        "flops": report["flops"],
        "treated": len(layers) - len(left),
        "left": len(left),
        "reasons": list(dict.fromkeys(str(layer["reason"]) for layer in left or layers)),
        "figures": report["figures"],
    }


def _lowered(name: str, given: Mapping[str, Path], program: Path, scratch: Path, kept: Path) -> dict[str, Any]:
    """One backend's artifact, kept if it verifies; or why there is none."""
    scratch.mkdir()
    try:
        inputs = {"program": program, "calibration": given["calibration"]}
        made = step("lower", inputs, scratch / "lower", backend=name)
        if "refused" in made.report:
            return {"refused": made.report["refused"]}
        artifact = made.outputs["artifact"]
        inputs = {"program": program, "artifact": artifact, "original": given["original"], "heldout": given["heldout"]}
        checked = step("verify", inputs, scratch / "verify", backend=name)
    except UserError as error:
        return {"refused": str(error)}
    # A boundary: what else a step runs into is a finding of the matrix.
    except Exception as error:  # noqa: BLE001
        return {"failed": f"{type(error).__name__}: {error}"}
    if "refused" in checked.report:
        return {"rejected": checked.report["refused"]}
    shutil.move(artifact, kept / name)
    return {"size": made.report["size"], "notes": made.report["notes"], "quality": checked.report["quality"]}


def verdict(backends: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """It works if any backend's artifact was verified; else it is what the worst backend came to."""
    if any("quality" in found for found in backends.values()):
        return {"state": "works"}
    kind = next(kind for kind in ("failed", "rejected", "refused") if any(kind in each for each in backends.values()))
    reason = " ".join(f"{name}: {next(iter(found.values()))}" for name, found in backends.items())
    return {"state": kind, "reason": reason}


def measure_cells(model: Model, cells: Sequence[str], records: Records, plan: Mapping[str, Any]) -> None:
    """Speeds of all verified artifacts of these cells, in one run of the protocol."""
    _quiet()
    place = records.folder / model.name
    artifacts = {f"{cell}@{path.name}": path for cell in cells for path in _artifacts(records.place(model.name, cell))}
    inputs = {"original": place / "program", "heldout": place / "heldout"}
    inputs |= {f"artifact.{name}": path for name, path in artifacts.items()}
    contenders = [{"name": name, "backend": path.name} for name, path in artifacts.items()]
    with tempfile.TemporaryDirectory() as name:
        report = step("measure", inputs, Path(name) / "measure", contenders=contenders, **plan).report
    measured: Mapping[str, Mapping[str, Any]] = report["contenders"]
    shared = {"eager": measured["eager"], "compiled": measured["compiled"], "environment": report["environment"]}
    for cell in cells:
        mine = {path.name: measured[f"{cell}@{path.name}"] for path in _artifacts(records.place(model.name, cell))}
        records.write_speed(model.name, cell, {**shared, "load": os.getloadavg()[0], "backends": mine})


def _artifacts(folder: Path) -> Iterator[Path]:
    return (folder / name for name in AUTOMATIC_BACKENDS if (folder / name).exists())


def _quiet() -> None:
    warnings.simplefilter("ignore")  # torch's and the runtimes' compilers warn of their own internals


def failure(error: Exception) -> dict[str, Any]:
    """The record of a cell whose process ended badly."""
    return {"state": "failed", "reason": str(error)}
