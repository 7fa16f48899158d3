"""The inside of a step's process: reads `step.json`, runs the step, writes `result.json` or `error.json`.

Layout of an attempt's folder (all of it is deleted afterwards):

    step.json            what to do (written by the runner)
    inputs/              input artifacts, read-only
    work/                the step's own folder, its current directory; outputs are made here
    tmp/                 TMPDIR and HOME
    told/log.txt         stdout and stderr
    told/progress.json   share done, and what is being done; replaced whole each time
    told/checkpoint      where a long step got to; replaced whole each time
    told/result.json     {"outputs": {role: file name inside work/}, "report": {…}}
    told/error.json      the error as data

Only `work`, `tmp` and `told` can be written to by the step (`workers/sandbox.py`).
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.errors import InternalError
from burnish.recipe import Target
from workers.checkpoint import Checkpoint
from workers.failure import error_of
from workers.steps.base import Made, Step, StepContext

__all__ = ["run_step"]

_LEAST_GAP = 0.2  # seconds between two writes of the progress file


def run_step(steps: Mapping[str, Step], folder: Path) -> int:
    """Runs the step described in `folder`. Never raises.

    Returns:
        The exit status: 0 with `told/result.json` written, 1 with `told/error.json`.
    """
    try:
        made = _run(steps, folder)
    except BaseException as error:  # noqa: BLE001 - the process's outermost frame: whatever it was, it becomes data
        traceback.print_exc()
        _write(folder / "told" / "error.json", error_of(error))
        return 1
    _write(folder / "told" / "result.json", made)
    return 0


def _run(steps: Mapping[str, Step], folder: Path) -> dict[str, Any]:
    order = json.loads((folder / "step.json").read_text())
    step = steps[order["op"]]
    work = folder / "work"
    os.chdir(work)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(order["threads"])
    context = StepContext(
        settings=order["settings"],
        inputs={role: Path(path) for role, path in order["inputs"].items()},
        folder=work,
        target=Target.model_validate(order["target"]),
        seed=order["seed"],
        progress=_Progress(folder / "told" / "progress.json"),
        checkpoint=Checkpoint(
            found=Path(left) if (left := order.get("checkpoint")) else None, place=folder / "told" / "checkpoint"
        ),
    )
    return _described(step.run(context), work)


def _described(made: Made, work: Path) -> dict[str, Any]:
    outputs: dict[str, str] = {}
    for role, path in made.outputs.items():
        real = path.resolve()
        if not real.is_relative_to(work.resolve()) or not real.is_file():
            raise InternalError(
                f"The step names {path} as its output {role!r}, which is no file in its folder.",
                cure="Report it as a bug of Burnish.",
            )
        outputs[role] = str(real.relative_to(work.resolve()))
    # Encoded here, so that a report that is not plain data is the step's error and not the runner's.
    report = json.loads(json.dumps(dict(made.report), allow_nan=False))
    return {"outputs": outputs, "report": report}


class _Progress:
    """Writes the newest progress for the runner to read; a step may call it as often as it likes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def __call__(self, share: float, doing: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LEAST_GAP
            _write(self._path, {"share": _clipped(float(share)), "doing": doing})


def _clipped(share: float) -> float:
    return 0.0 if math.isnan(share) else min(max(share, 0.0), 1.0)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document))
    part.replace(path)
