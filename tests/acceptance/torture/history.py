"""Proves from SQL alone that no job was lost and nothing was committed twice. Gives violations as sentences.

Rules:

1. A job that was accepted exists, and no other does: one per order.
2. It has ended; each time it was queued it ended exactly once, and nothing happened to it afterwards.
3. Its events are numbered from 1 to its revision without gaps.
4. Attempts at a step only grow, and a result is committed by the newest attempt, once per life of the job.
5. Over all jobs, the result of one cache key was committed by one attempt, and its row names that one.
6. No computation is left ready or leased; nothing waits in a job that has ended.
7. The running sums agree with the rows.
8. A job ended as its script and its owner let it. One whose script fails does not succeed. One that failed did so by a
   fault that its script gives its owner, or because a step of it, which its error names, used up all its attempts, each
   with a reason.
9. No attempt failed because the store or SQL was away: blows last for seconds, and that long it is waited for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import func, select

from burnish.errors import Unavailable
from storage import counters
from storage.database import Database, Transaction
from storage.records import Event, Job, from_row
from storage.tables import computations, events, jobs, steps

__all__ = ["check_history"]

_ENDS = {"job.succeeded": "succeeded", "job.failed": "failed", "job.canceled": "canceled"}
_ATTEMPTS = 3
"""That a step has, before its job fails."""
_AFTERWARDS = frozenset({"step.canceled"})
"""What is told of a job that has just failed: its other steps stop."""


def check_history(database: Database, accepted: Iterable[str], scripted_to_fail: Mapping[str, str]) -> list[str]:
    """Looks at everything.

    Args:
        accepted: ids of the jobs for which a 202 was given.
        scripted_to_fail: class of the error that the job's script raises, by job id.
    """
    with database.read() as tx:
        found = {row.id: from_row(Job, row) for row in tx.execute(select(jobs))}
        told: dict[str, list[Event]] = defaultdict(list)
        for row in tx.execute(select(events).order_by(events.c.job_id, events.c.id)):
            told[row.job_id].append(from_row(Event, row))
        failures = _failures(told)
        return [
            *_existence(found, set(accepted)),
            *(sentence for job in found.values() for sentence in _job(job, told[job.id])),
            *(sentence for history in told.values() for sentence in _away(history)),
            *_commits(tx, told),
            *_left_open(tx),
            *_sums(tx),
            *(sentence for job in found.values() for sentence in _reason(job, scripted_to_fail.get(job.id), failures)),
        ]


def _existence(found: Mapping[str, Job], accepted: set[str]) -> Iterator[str]:
    for job_id in sorted(accepted - found.keys()):
        yield f"{job_id} was accepted and is lost"
    for job_id in sorted(found.keys() - accepted):
        yield f"{job_id} exists, and nobody was told so: an order was taken twice"


def _job(job: Job, told: list[Event]) -> Iterator[str]:
    if job.state not in _ENDS.values():
        yield f"{job.id} has not ended: it is {job.state}"
    if [event.id for event in told] != list(range(1, job.revision + 1)):
        yield f"{job.id} has gaps in its events, or events behind its revision {job.revision}"
    for number, life in enumerate(_lives(told), 1):
        ends = [event.kind for event in life if event.kind in _ENDS]
        if len(ends) != 1:
            yield f"{job.id} ended {len(ends)} times in life {number}: {', '.join(ends) or 'never'}"
            continue
        position = next(index for index, event in enumerate(life) if event.kind in _ENDS)
        late = [event.kind for event in life[position + 1 :] if event.kind not in _AFTERWARDS]
        if late:
            yield f"{job.id} went on after its end in life {number}: {', '.join(late)}"
        yield from _steps(job.id, life)
    last = next((event.kind for event in reversed(told) if event.kind in _ENDS), "")
    if _ENDS.get(last) != job.state:
        yield f"{job.id} is {job.state}, but its last end was {last}"


def _lives(told: list[Event]) -> list[list[Event]]:
    """A retried job is queued again: one list for each time."""
    lives: list[list[Event]] = []
    for event in told:
        if event.kind == "job.queued" or not lives:
            lives.append([])
        lives[-1].append(event)
    return lives


def _steps(job_id: str, life: list[Event]) -> Iterator[str]:
    newest: dict[str, int] = {}
    done: set[str] = set()
    for event in life:
        step, attempt = event.step, event.data.get("attempt")
        if step is None:
            continue
        if event.kind == "step.leased" and attempt is not None:
            if attempt <= newest.get(step, 0):
                yield f"{job_id} {step}: attempt {attempt} was leased after attempt {newest[step]}"
            newest[step] = max(attempt, newest.get(step, 0))
        if event.kind == "step.done":
            if step in done:
                yield f"{job_id} {step} was committed twice"
            done.add(step)
            if not event.data.get("hit") and attempt != newest.get(step, attempt):
                yield f"{job_id} {step}: committed by attempt {attempt}, but {newest[step]} had the lease"


def _commits(tx: Transaction, told: Mapping[str, list[Event]]) -> Iterator[str]:
    committed: dict[str, set[int]] = defaultdict(set)
    for history in told.values():
        keys: dict[str, str] = {}
        for event in history:
            if event.step is not None and "key" in event.data:
                keys[event.step] = event.data["key"]
            if event.kind == "step.done" and event.step is not None and not event.data.get("hit"):
                committed[keys.get(event.step, "")].add(event.data.get("attempt", 0))
    rows = select(computations.c.key, computations.c.op, computations.c.state, computations.c.attempt)
    for row in tx.execute(rows):
        attempts = committed.get(row.key, set())
        if len(attempts) > 1:
            yield f"{row.op} {row.key[:12]} was committed by several attempts: {sorted(attempts)}"
        if row.state == "done" and attempts and attempts != {row.attempt}:
            yield f"{row.op} {row.key[:12]} was committed by attempt {sorted(attempts)}, its row says {row.attempt}"


def _left_open(tx: Transaction) -> Iterator[str]:
    for row in tx.execute(select(computations).where(computations.c.state.in_(("ready", "leased")))):
        yield f"{row.op} {row.key[:12]} is still {row.state} (worker {row.worker})"
    ended = select(jobs.c.id).where(jobs.c.state.in_(tuple(_ENDS.values())))
    open_ = select(steps).where(steps.c.state.in_(("waiting", "ready", "leased")), steps.c.job_id.in_(ended))
    for row in tx.execute(open_):
        yield f"{row.job_id} has ended, but its step {row.name} is {row.state}"


def _sums(tx: Transaction) -> Iterator[str]:
    summed = counters.totals(tx)
    for name, table in (("jobs", jobs), ("computations", computations)):
        kept: dict[str, float] = defaultdict(float)
        for labels, value in summed.get(name, {}).items():  # type: ignore[call-overload]
            kept[labels[0]] += value
        for state in ("succeeded", "failed", "canceled", "done"):
            count = tx.execute(select(func.count()).select_from(table).where(table.c.state == state)).scalar_one()
            if count != kept.get(state, 0.0):
                yield f"{count} {name} are {state}, the running sum says {kept.get(state, 0.0):.0f}"


def _away(history: list[Event]) -> Iterator[str]:
    for event in history:
        error = event.data.get("error") if event.kind in ("step.retry", "step.failed") else None
        if error and error["code"] == Unavailable.code:
            yield f"{event.job_id} {event.step}: attempt {event.data['attempt']} failed for what was only away"


class _Failures(NamedTuple):
    """Attempts that failed, over all jobs, since those that share a step are told of it each for its time only."""

    failed: dict[str, set[int]]
    """Numbers of the attempts for which a reason was told, by cache key."""
    final: dict[str, set[int]]
    """Those of them after which there was no other, until a job asked for the step anew."""
    of_step: dict[tuple[str, str], tuple[str, int]]
    """Key and number of the last final one, by job and step."""

    def used_up(self, job_id: str, step: str) -> int:
        """Failed attempts that the end of that step took, counted from the final one before."""
        if (last := self.of_step.get((job_id, step))) is None:
            return 0
        key, attempt = last
        before = max((number for number in self.final[key] if number < attempt), default=0)
        return sum(before < number <= attempt for number in self.failed[key])


def _failures(told: Mapping[str, list[Event]]) -> _Failures:
    found = _Failures(defaultdict(set), defaultdict(set), {})
    for job_id, history in told.items():
        keys: dict[str, str] = {}
        for event in history:
            if event.step is None:
                continue
            keys[event.step] = key = event.data.get("key", keys.get(event.step, ""))
            if event.kind in ("step.retry", "step.failed") and "error" in event.data:
                found.failed[key].add(event.data["attempt"])
            if event.kind == "step.failed":
                found.final[key].add(event.data["attempt"])
                found.of_step[job_id, event.step] = (key, event.data["attempt"])
    return found


def _reason(job: Job, scripted: str | None, failures: _Failures) -> Iterator[str]:
    if job.state == "succeeded" and scripted is not None:
        yield f"{job.id} succeeded, though its script ends by an error of class {scripted}"
    if job.state != "failed":
        return
    error = job.error or {}
    if error.get("class") == "user":
        if scripted != "user":
            yield f"{job.id} failed by a fault of its owner that it does not have: {error}"
    elif (step := error.get("step")) is None:
        yield f"{job.id} failed, and no step of it did: {error}"
    elif (count := failures.used_up(job.id, step)) < _ATTEMPTS:
        yield f"{job.id} failed after {count} of {_ATTEMPTS} attempts at {step}: {error}"
