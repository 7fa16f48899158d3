"""A table of steps without torch, each of which does what the model says: the model is a JSON file, the script.

    {"lower": {"seconds": 2}, "pass:quantize": {"end": "SIGKILL"}, "measure": {"raise": "user"}}

`seconds`: how long it takes; `child`: starts a process that would outlive it; `count`: counts to that number, with
checkpoints; `allocate`: takes so many bytes; `end`: kills itself by that signal; `raise`: fails with an error of that
class; `probe`: tries what it must not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from burnish.errors import ResourceError, StepCrashed, UnsupportedModel
from workers.steps.base import Made, Step, StepContext

__all__ = ["BACKENDS", "STEPS"]

BACKENDS: dict[str, Any] = {}
_ERRORS = {"user": UnsupportedModel, "resource": ResourceError, "internal": StepCrashed}


class Scripted(Step):
    """A step that plays its part of the script."""

    libraries: ClassVar[tuple[str, ...]] = ()

    def __init__(self, op: str, outputs: tuple[str, ...], report: dict[str, Any]) -> None:
        self.op, self.outputs, self.report = op, outputs, report

    def run(self, context: StepContext) -> Made:
        source = next(context.inputs[role] for role in ("model", "program", "original") if role in context.inputs)
        script = json.loads(source.read_text())
        began = time.time()
        part = script.get(self.op, {})
        self._play(part, context)
        outputs: dict[str, Path] = {}
        for role in self.outputs:
            outputs[role] = context.folder / role
            # Passes mark the program, so that variants differ as they do in earnest.
            path = [*script.get("path", []), self.op] if self.op.startswith("pass:") else script.get("path", [])
            outputs[role].write_text(json.dumps({**script, "path": path, "role": role}, sort_keys=True))
        told = {"probe": _probe(part["probe"])} if "probe" in part else {}
        return Made(
            outputs=outputs,
            report={**self.report, **self._figures(context), **told, "began": began, "ended": time.time()},
        )

    def _play(self, part: dict[str, Any], context: StepContext) -> None:
        print(f"pid {os.getpid()}", flush=True)
        if part.get("child"):
            process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print(f"child {process.pid}", flush=True)
        until = time.monotonic() + part.get("seconds", 0.0)
        while time.monotonic() < until:
            context.progress(1 - (until - time.monotonic()) / part["seconds"], "acting")
            time.sleep(0.05)
        if "count" in part:
            self._count(part["count"], context)
        if "allocate" in part:
            bytearray(part["allocate"])
        if "end" in part:
            os.kill(os.getpid(), signal.Signals[part["end"]])
        if "raise" in part:
            raise _ERRORS[part["raise"]](f"The script says so, in {self.op}.", cure="Change the script.")

    def _count(self, most: int, context: StepContext) -> None:
        """Counts up, a checkpoint at each number, from where the last attempt stopped."""
        context.checkpoint.least_gap = 0.0
        number = int(context.checkpoint.read() or b"0")
        print(f"counts from {number}", flush=True)
        while number < most:
            number += 1
            context.checkpoint.write(str(number).encode())
            time.sleep(0.05)

    def _figures(self, context: StepContext) -> dict[str, Any]:
        if self.op != "measure":
            return {}
        names = ["eager", "compiled", *(each["name"] for each in context.settings["contenders"])]
        return {"contenders": {name: _latency(1e-3 / (index + 1)) for index, name in enumerate(names)}}


class Alone(Scripted):
    """One that nothing else may run beside."""

    alone: ClassVar[bool] = True


def _probe(files: list[str]) -> dict[str, Any]:
    """Which of the forbidden it can do."""
    return {
        "files": [_works(lambda path=path: open(path, "rb").close()) for path in files],  # type: ignore[misc]
        "network": _works(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1).close())
        or Path("/proc/self/net/dev").read_text().count(":") > 1,
        "environment": sorted(os.environ),
    }


def _works(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.99 * value, "high": 1.01 * value}


def _latency(seconds: float) -> dict[str, Any]:
    return {
        "latency": {"median": _estimate(seconds), "p95": seconds, "rounds": 20, "calls": 20},
        "speedup_over_eager": _estimate(1e-3 / seconds),
        "speedup_over_compiled": _estimate(5e-4 / seconds),
        "peak_memory": 1000,
        "load_seconds": 0.1,
    }


_QUALITY = {"metric": "agreement", "original": 1.0, "value": 1.0, "drop": _estimate(0.0), "samples": 8, "sqnr_db": 40.0}
_ENVIRONMENT = {"cpu": "script", "isa": [], "threads": 1, "batch": 1, "load": 0.0, "versions": {}}
_SIZE = {"parameters": 10, "flops": 20}
_PASS = {"changed": True, "layers": [], "figures": {}, **_SIZE}

STEPS: dict[str, Step] = {
    "capture": Scripted("capture", ("program",), {**_SIZE, "ops": {}}),
    "split": Scripted("split", ("calibration", "heldout"), {"samples": 8, "calibration": 4, "heldout": 4}),
    "profile": Scripted("profile", ("profile",), {"layers": [{"op": "linear", "seconds": 1e-3, "parameters": 10}]}),
    "preflight": Scripted("preflight", (), {"passes": [], "estimate": 1.0}),
    "pass:prune": Scripted("pass:prune", ("program",), _PASS),
    "pass:distill": Scripted("pass:distill", ("program",), _PASS),
    "pass:quantize": Scripted("pass:quantize", ("program",), _PASS),
    "lower": Scripted("lower", ("artifact",), {"notes": [], "size": 100, "usage": "run it", "filename": "model.bin"}),
    "verify": Scripted("verify", (), {"quality": _QUALITY, "checks": [], "load_seconds": 0.1}),
    "measure": Alone("measure", (), {"environment": _ENVIRONMENT}),
}
