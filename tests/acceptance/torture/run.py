"""One run: make the stack, plan from the seed, let users and faults loose, wait for the end, and prove."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from storage import models
from storage.tables import computations, jobs
from tests.acceptance.torture.faults import Striker
from tests.acceptance.torture.history import check_history
from tests.acceptance.torture.leftovers import check_blobs, check_folders, check_processes, stored
from tests.acceptance.torture.load import Ledger, Users
from tests.acceptance.torture.plan import ANYWHERE, PROXIED, Plan
from tests.acceptance.torture.stack import Stack, Where, stack

__all__ = ["Report", "register", "torture"]

_SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [None, 1]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [None, 1]}],
    "max_batch": None,
    "parameters": 10,
}
_SCRIPTED = frozenset({"model.unsupported", "internal.step", "resource.memory"})
_STOP_SECONDS = 40.0
_SETTLED = 4.0


@dataclass
class Report:
    """What a run did, and what it found."""

    where: Where
    seed: int
    violations: list[str] = field(default_factory=list)
    """Empty: all promises were kept."""
    struck: Mapping[str, int] = field(default_factory=dict)
    """Blows that hit, by kind."""
    figures: dict[str, object] = field(default_factory=dict)

    def text(self) -> str:
        """For people."""
        lines = [f"torture on {self.where}, seed {self.seed}"]
        lines += [f"  {name}: {value}" for name, value in self.figures.items()]
        lines += [f"  VIOLATION: {sentence}" for sentence in self.violations] or ["  no violation"]
        return "\n".join(lines)


def torture(
    where: Where,
    seed: int,
    *,
    jobs: int,
    faults: int,
    seconds: float,
    workers: int = 3,
    patience: float = 120.0,
    say: Callable[[str], None] = print,
) -> Report:
    """Runs it. Call it from the main thread.

    Args:
        jobs: how many at least; more come for as long as blows wait for something to hit.
        seconds: how long jobs come and blows fall, if each blow hits at once.
        patience: how long the jobs may take to end after the last blow.
    """
    report = Report(where, seed)
    kinds = ANYWHERE + PROXIED if where == "servers" else ANYWHERE
    plan = Plan.derive(seed, jobs=jobs, faults=faults, seconds=seconds, kinds=kinds)
    say(f"torture on {where}: seed {seed}, {jobs} jobs and {faults} faults in {seconds:.0f} s")
    with tempfile.TemporaryDirectory(prefix="burnish-torture-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with stack(where, folder, workers=workers) as made:
            _run(made, plan, report, patience, say)
        report.violations += check_processes(folder)
    return report


def _run(made: Stack, plan: Plan, report: Report, patience: float, say: Callable[[str], None]) -> None:
    striker = Striker(made, plan.seed)
    began = time.monotonic()
    made.start_all()
    users = Users(made.url, plan, register(made, plan.scripts))
    striker.strike_all(plan.faults)
    striker.calm()
    users.enough()
    say(f"  {sum(striker.struck.values())} blows struck, {sum(striker.missed.values())} found nothing to hit")
    calm = time.monotonic()
    ledger = _wait(made, striker, users, patience, report)
    report.struck = dict(sorted(striker.struck.items()))
    report.figures |= {
        "jobs accepted": len(ledger.accepted),
        "faults": sum(striker.struck.values()),
        "by kind": report.struck,
        "blows that found nothing to hit": dict(striker.missed),
        "processes that ended by themselves": dict(striker.mended),
        "requests sent again": ledger.lost_answers,
        "canceled": len(ledger.canceled),
        "retried": len(ledger.retried),
        "seconds": round(time.monotonic() - began, 1),
        "of these after the last blow": round(time.monotonic() - calm, 1),
    }
    _stop(made, report)
    _prove(made, plan, ledger, report)


def register(made: Stack, scripts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scripts as models; their ids. Written directly, since the API takes real programs only."""
    found: list[str] = []
    for script in scripts:
        blob = made.blobs.put([json.dumps(script, sort_keys=True).encode()])
        with made.database.begin() as tx:
            row = models.create(tx, name="script", digest=blob.digest, size=blob.size, signature=_SIGNATURE)
        found.append(row.id)
    return found


def _wait(made: Stack, striker: Striker, users: Users, patience: float, report: Report) -> Ledger:
    while users.busy():
        striker.mend()
        time.sleep(0.2)
    ledger = users.wait()
    report.violations += ledger.broken
    until = time.monotonic() + patience
    while (left := _unfinished(made)) and time.monotonic() < until:
        striker.mend()
        time.sleep(0.2)
    if left:
        report.violations.append(f"{left} jobs had not ended {patience:.0f} s after the last blow")
    return ledger


def _unfinished(made: Stack) -> int:
    with made.database.read() as tx:
        live = select(func.count()).where(jobs.c.state.in_(("queued", "running", "canceling")))
        return int(tx.execute(live).scalar_one())


def _stop(made: Stack, report: Report) -> None:
    """Ends everything as an operator would."""
    time.sleep(max(0.0, _SETTLED - made.youngest()))  # a worker that is still starting can't drain yet
    for name in [*made.workers, "tick", "api"]:
        made.ask_to_stop(name)
    for name in [*made.workers, "tick", "api"]:
        status = made.stopped(name, _STOP_SECONDS)
        if status != 0:
            report.violations.append(f"{name} did not end well when it was asked to: {status}")
    made.ask_to_stop("broker")
    made.stopped("broker", _STOP_SECONDS)


def _prove(made: Stack, plan: Plan, ledger: Ledger, report: Report) -> None:
    bad = {number: _error(script) for number, script in enumerate(plan.scripts)}
    expected = {job_id: found for job_id, order in ledger.accepted.items() if (found := bad[order.family])}
    report.violations += check_history(made.database, ledger.accepted, expected)
    report.figures["swept by the store after all writers ended"] = made.blobs.sweep(0.0)
    blobs, strange = stored(made.blobs_url)
    report.violations += check_blobs(made.database, blobs, strange)
    report.violations += check_folders(made.settings.data)
    report.figures["blobs"] = len(blobs)
    with made.database.read() as tx:
        by_state = select(jobs.c.state, func.count().label("number")).group_by(jobs.c.state)
        report.figures["jobs by state"] = {row.state: row.number for row in tx.execute(by_state)}
        done = func.count().filter(computations.c.state == "done")
        row = tx.execute(select(done, func.sum(computations.c.attempt), func.sum(computations.c.failures))).one()
        report.figures["computations done, attempts, failed attempts"] = tuple(row)
        errors = {row.id: row.error for row in tx.execute(select(jobs).where(jobs.c.state == "failed"))}
    failed = {job_id: error["code"] for job_id, error in errors.items()}
    report.figures["failures that nobody scripted"] = sorted(
        {f"{error['step']}: {error['message']}" for error in errors.values() if error["code"] not in _SCRIPTED}
    )
    report.figures["failed by"] = dict(Counter(failed.values()))
    unscripted = [code for job_id, code in failed.items() if job_id not in expected]
    report.figures["failed by blows alone, three for one step"] = dict(Counter(unscripted))


def _error(script: Mapping[str, object]) -> str | None:
    """Class of the error that a script raises for sure."""
    for part in script.values():
        if isinstance(part, dict) and "raise" in part:
            return str(part["raise"])
        if isinstance(part, dict) and "end" in part:
            return "resource"
    return None
