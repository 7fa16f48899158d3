"""A running step's input is gone from the store, or damaged there: what made it is computed again, for the same job.

1. Whatever has the blob among its outputs leaves the cache (`computations.disown`).
2. In every running job that waits for the step: the step that made the blob, if it is done, and the step itself go back
   to `waiting`; the caller advances the job, which binds the first anew, and the second when that is done.
3. The lease ends without counting as a failure: the worker did nothing wrong.
4. After `MOST` times for one step of a job, or if the blob is an upload, nothing is done: the attempt fails like any
   other. A store that loses all it is given must not keep a fleet busy for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from storage import bindings, computations, events, products
from storage.database import Transaction
from storage.records import Computation, Step, StepState
from storage.steps import of_job
from storage.tables import events as event_table
from storage.tables import steps

__all__ = ["MOST", "recompute"]

MOST = 3
"""Times that a step of a job may wait for an input to be made again."""


def recompute(tx: Transaction, key: str, attempt: int, digest: str, error: Mapping[str, Any]) -> list[str] | None:
    """Ends the lease `attempt` on `key`, whose input `digest` can't be read, and sends its jobs back to what made it.

    Returns:
        Ids of the running jobs to advance; none if the lease is somebody else's. `None` if it can't be made again: then
        nothing was changed, and the caller lets the attempt fail.
    """
    bindings.lock(tx, sorted({key, *products.makers(tx, digest)}))
    found = computations.get(tx, key)
    if found is None or found.state != "leased" or found.attempt != attempt:
        return []
    job_ids = bindings.jobs_of(tx, key, state="running")
    back = [pair for job_id in job_ids for pair in _to_repeat(tx, job_id, found, digest)]
    if any(maker is None or _times(tx, step) >= MOST for step, maker in back):
        return None
    computations.disown(tx, digest, error)
    for step, maker in back:
        if maker is not None:
            _rewind(tx, maker, "done", {"lost": digest})
        _rewind(tx, step, "leased", {"lost": digest})
    computations.release(tx, key, attempt)
    return job_ids


def _to_repeat(tx: Transaction, job_id: str, found: Computation, digest: str) -> list[tuple[Step, Step | None]]:
    """The steps of a job that are bound to the computation, each with the step that made the blob for it; `None` in
    its place if it is an upload."""
    every = {step.name: step for step in of_job(tx, job_id)}
    roles = {role for role, each in found.inputs.items() if each == digest}
    pairs: list[tuple[Step, Step | None]] = []
    for step in every.values():
        if step.key == found.key and step.state == "leased":
            sources = [source for role, source in step.spec["inputs"].items() if role in roles]
            pairs += [(step, every.get(source.partition(".")[0])) for source in sources]
    return pairs


def _times(tx: Transaction, step: Step) -> int:
    """How often this step was sent back for a lost input already."""
    tx.write_notes()
    told = select(event_table.c.data).where(
        event_table.c.job_id == step.job_id, event_table.c.step == step.name, event_table.c.kind == "step.retry"
    )
    return sum("lost" in data for data in tx.execute(told).scalars())


def _rewind(tx: Transaction, step: Step, state: StepState, told: Mapping[str, Any]) -> None:
    """From this state → waiting."""
    this = (steps.c.job_id == step.job_id, steps.c.name == step.name, steps.c.state == state)
    fresh = {"state": "waiting", "key": None, "hit": False, "why": None}
    if tx.execute(update(steps).where(*this).values(**fresh)).rowcount:
        events.add(tx, "step.retry", told, job_id=step.job_id, step=step.name)
