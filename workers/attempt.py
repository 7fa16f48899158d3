"""One attempt at a step: its process, watched until it ends, and what it left behind."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, InternalError, OutOfMemory, StepCrashed, StepTimeout
from burnish.trace import Trace
from storage.records import Claim
from workers.lease import Lease
from workers.process_tree import peak_resident, resident
from workers.sandbox import Limits
from workers.step_log import tail
from workers.zygote_client import Child, Zygote

__all__ = ["Bounds", "Failed", "Finished", "run_attempt"]

_LOOK = 0.25
_LOOK_WHILE_ALONE = 2.0
"""Seconds between two looks at a step's memory; fewer while it measures, since looking costs time."""


@dataclass(frozen=True)
class Finished:
    """The step did its work."""

    outputs: dict[str, Path]
    report: dict[str, Any]
    peak_memory: int


@dataclass(frozen=True)
class Failed:
    """The step did not."""

    error: dict[str, Any]
    """Document of the error, with `details`: log tail, exit status, peak memory."""
    peak_memory: int


@dataclass(frozen=True)
class Bounds:
    """What one step may use."""

    seconds: float
    memory: int
    """Bytes resident in all its processes; 0: no bound."""
    threads: int


def run_attempt(
    zygote: Zygote,
    lease: Lease,
    claim: Claim,
    folder: Path,
    inputs: Mapping[str, Path],
    bounds: Bounds,
    trace: Trace | None = None,
    checkpoint: Path | None = None,
) -> Finished | Failed | None:
    """Runs a step in a process of its own.

    Args:
        folder: laid out as `workers/child.py` says.
        trace: the step finds it in its environment, as `TRACEPARENT`.
        checkpoint: what an earlier attempt left to go on from.

    Returns:
        `None` if it was stopped because `lease.stop` said so: then nothing of it lives any more.
    """
    order = {
        "op": claim.op,
        "settings": claim.spec["settings"],
        "target": claim.spec["target"],
        "seed": claim.spec["seed"],
        "inputs": {role: str(path) for role, path in inputs.items()},
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "threads": bounds.threads,
    }
    (folder / "step.json").write_text(json.dumps(order))
    threads = str(bounds.threads)
    place = {"HOME": str(folder / "tmp"), "TMPDIR": str(folder / "tmp")}
    if trace is not None:
        place["TRACEPARENT"] = str(trace)
    child = zygote.spawn(
        folder,
        {**place, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        Limits(memory=bounds.memory),
        [*inputs.values(), *([checkpoint] if checkpoint else [])],
        stopped=lambda: lease.stop is not None,
    )
    if child is None:
        return None
    lease.say("running")
    lease.follow(folder)
    peak = max(_watch(child, lease, bounds, _LOOK_WHILE_ALONE if claim.alone else _LOOK), child.peak)
    if lease.stop in ("cancel", "lost", "drain"):
        return None
    lease.finish_log()
    try:
        made = _finished(child, lease, folder, bounds, peak)
    except BurnishError as error:
        made = error.document()
    return made if isinstance(made, Finished) else _failed(made, claim, child, folder, bounds, peak)


def _watch(child: Child, lease: Lease, bounds: Bounds, gap: float) -> int:
    """Waits for the end, or makes it. Returns the most bytes seen resident."""
    peak, look, until = 0, 0.0, time.monotonic() + bounds.seconds
    while not child.wait(_LOOK):
        now = time.monotonic()
        if now >= look:
            look = now + gap
            used = resident(child.pid)
            peak = max(peak, used, peak_resident(child.pid))
            if bounds.memory and used > bounds.memory:
                lease.end("memory")
        if now >= until:
            lease.end("time")
        if lease.stop is not None:
            child.kill()
            break
    return peak


def _finished(child: Child, lease: Lease, folder: Path, bounds: Bounds, peak: int) -> Finished | dict[str, Any]:
    """What it made, or the error that it told of itself."""
    told = folder / "told"
    if lease.stop == "time":
        raise StepTimeout(
            f"The step ran past its limit of {bounds.seconds:.0f} s.",
            cure="Use less data, fewer epochs or a smaller model, or raise BURNISH_STEP_TIME on the workers.",
        )
    if lease.stop == "memory":
        raise OutOfMemory(
            f"The step used {peak / 1e9:.2f} GB, more than its limit of {bounds.memory / 1e9:.2f} GB.",
            cure="Use a smaller batch, or raise BURNISH_STEP_MEMORY on a worker that has more.",
        )
    if child.status == 0:
        return _result(json.loads((told / "result.json").read_text()), folder / "work", peak)
    if (told / "error.json").exists():
        return dict(json.loads((told / "error.json").read_text()))
    raise _ended_by(child.status, peak)


def _result(result: Mapping[str, Any], work: Path, peak: int) -> Finished:
    """Trusts the child with nothing: an output has to be a plain file inside its own folder."""
    outputs: dict[str, Path] = {}
    for role, name in result["outputs"].items():
        path = work / name
        if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(work.resolve()):
            raise InternalError(f"Output {role!r} is no file of the step.", cure="Report it as a bug of Burnish.")
        outputs[role] = path
    return Finished(outputs, dict(result["report"]), peak)


def _ended_by(status: int | None, peak: int) -> BurnishError:
    if status is None:
        return StepCrashed("The process that starts steps died, and the step with it.", cure="It is tried again.")
    if status == -signal.SIGKILL:
        return OutOfMemory(
            f"The step was killed (SIGKILL), most likely for memory; it was seen to use {peak / 1e9:.2f} GB.",
            cure="Use a smaller batch or model, run fewer steps at once (BURNISH_SLOTS), or use a larger worker.",
        )
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return StepCrashed(
        f"The step's process ended by {how} without a result.",
        cure="The log's tail may show why. It is tried again; if it stays, report it as a bug with that tail.",
    )


def _failed(error: Mapping[str, Any], claim: Claim, child: Child, folder: Path, bounds: Bounds, peak: int) -> Failed:
    """The error with all that is known of the attempt, which is deleted now."""
    details = {
        "exit_status": child.status,
        "peak_memory": peak,
        "memory_limit": bounds.memory or None,
        "threads": bounds.threads,
        "settings": claim.spec["settings"],
        "log_tail": tail(folder / "told" / "log.txt"),
    }
    return Failed({**error, "details": details}, peak)
