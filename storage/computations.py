"""Computations: the lease, the single flight and the cache entry of one cache key, in one row.

| from | to | by | when |
| --- | --- | --- | --- |
| (no row), `failed`, `canceled` | `ready` | `arm` | a job binds a step to the key |
| `ready` | `leased` | `claim` | `run_after` is past; attempt + 1 |
| `leased` | `leased` | `claim` | the lease lapsed, attempts are left, `cancel` isn't set; both counted |
| `leased` | `leased` | `heartbeat` | attempt is the present one |
| `leased` | `leased` | `outages.spare` | nobody could write for a while: the lease lasts longer |
| `leased` | `done` | `commit` | attempt is the present one |
| `leased` | `ready` | `fail`, `reap` | attempts are left (and the error may be retried); failure counted |
| `leased` | `failed` | `fail`, `reap` | no attempt is left, or the error may not be retried; failure counted |
| `leased` | `ready` | `release` | the worker stopped; nothing counted |
| `leased` | `canceled` | `fail`, `release`, `reap` | `cancel` is set and no running job wants it |
| `leased` | `ready` | `fail`, `release`, `reap` | `cancel` is set, but a running job wants it again |
| `ready` | `canceled` | `abandon` | no running job wants it |
| `done` | `failed` | `disown` | an output of it is gone from the store, or corrupt there |
| `done` | `canceled` | `evict` | the store is full, and no live job and no pinned model needs its outputs |

Rules:

1. Every transition is one UPDATE that names the state and the attempt it starts from, in the caller's transaction; the
   steps bound to the key change in the same transaction (`bindings.spread`), and so do their jobs' events.
2. `attempt` is the fencing token. It only grows, re-arming included; a call with an old one changes nothing.
3. `failures` counts against `max_attempts`; `reasons` holds one entry for each.
4. A worker may go on after its lease lapsed, as long as nobody else took it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import bindparam, literal, select, update

from burnish.errors import InternalError
from storage import bindings, counters, events, products
from storage.computation_rows import held, locked, move
from storage.database import Transaction
from storage.reasons import counted_with, lost, reason_of
from storage.records import Claim, Computation, ComputationState, from_row
from storage.tables import computations
from storage.turns import turn

__all__ = [
    "IS_READY",
    "abandon",
    "arm",
    "claim",
    "commit",
    "disown",
    "done",
    "evict",
    "fail",
    "get",
    "heartbeat",
    "lease",
    "prioritize",
    "reap",
    "release",
]

MAX_ATTEMPTS = 3
# Written into the statement, not bound to it: only so can a planner tell that the partial indexes fit.
IS_READY = computations.c.state == literal("ready", literal_execute=True)
_IS_LEASED = computations.c.state == literal("leased", literal_execute=True)
_IDLE = {"lease_until": None, "cancel": False}
_EMPTY: dict[str, Any] = dict.fromkeys(Computation.__dataclass_fields__)
_READY = {**_IDLE, "state": "ready", "worker": None, "dispatched_at": None, "progress": 0.0, "doing": None}
_THIS = computations.c.key == bindparam("at")
# Statements of the way that every step takes are made once; what an UPDATE sets are the columns among its values.
_GET = select(computations).where(_THIS)
_LEASE = update(computations).where(_THIS, IS_READY, computations.c.attempt == bindparam("before"))


def get(tx: Transaction, key: str) -> Computation | None:
    """The computation of a key, in any state."""
    row = tx.execute(_GET, {"at": key}).first()
    return None if row is None else from_row(Computation, row)


def done(tx: Transaction, key: str) -> Computation | None:
    """The cache: the computation of a key, if it is done."""
    found = get(tx, key)
    return found if found is not None and found.state == "done" else None


def arm(
    tx: Transaction,
    key: str,
    *,
    op: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, str],
    key_parts: Mapping[str, Any],
    queue: str,
    alone: bool,
    priority: int,
    since: float | None = None,
    position: int = 0,
) -> tuple[Computation, ComputationState | None]:
    """Makes sure that the key is computed, being computed, or ready to be; the row stays locked.

    The caller holds its job's row. A failed or canceled one starts over with all its attempts; one that is under way
    takes the earlier of the two turns, and the more urgent of the two priorities.

    Args:
        since: when the job began to wait (`storage/turns.py`); by default now.
        position: of the step in the job's plan.

    Returns:
        How it stands now, and in which state it was before; `None` if there was no such row.
    """
    fixed = {"key": key, "op": op, "spec": dict(spec), "inputs": dict(inputs), "key_parts": dict(key_parts)}
    wish = {"priority": priority, "turn": turn(tx.now if since is None else since, priority, position)}
    place = {"queue": queue, "alone": alone, **wish}
    start: dict[str, Any] = {**_READY, "failures": 0, "reasons": [], "error": None, "run_after": tx.now}
    created = {"attempt": 0, "max_attempts": MAX_ATTEMPTS, "created_at": tx.now}
    made = {**fixed, **place, **start, **created}
    if tx.insert_new(computations, made):
        return Computation(**_EMPTY | made), None
    found = locked(tx, key)
    if found.state in ("failed", "canceled"):
        move(tx, found, **start, **wish, finished_at=None)
    elif found.state in ("ready", "leased") and (priority < found.priority or wish["turn"] < found.turn):
        move(tx, found, priority=min(priority, found.priority), turn=min(wish["turn"], found.turn))
    else:
        return found, found.state
    return locked(tx, key), found.state


def claim(tx: Transaction, key: str, *, worker: str, ttl: float) -> Claim | None:
    """Takes the lease for `ttl` seconds, if it is to be had.

    `None` means that there is nothing to do: a duplicate doorbell, canceled, or not yet due.
    """
    if not _claimable(get(tx, key), tx.now):
        return None
    found = bindings.lock(tx, [key]).computations.get(key)
    if found is None or not _claimable(found, tx.now):
        return None
    if found.state == "ready":
        return lease(tx, _seen_by_worker(found), worker=worker, ttl=ttl)
    why = lost(found, tx.now)
    counted = {**counted_with(found, why), "attempt": found.attempt + 1}
    if not move(tx, found, **_leased(tx, worker, ttl), **counted):
        return None
    tx.count("lease_losses")
    tx.count("step_retries", why["error"]["class"])
    bindings.spread(tx, key, "leased", "leased", "step.retry", why)
    bindings.spread(tx, key, "leased", "leased", "step.leased", {"worker": worker, "attempt": found.attempt + 1})
    return _seen_by_worker(replace(found, **counted))


def lease(tx: Transaction, seen: Claim, *, worker: str, ttl: float) -> Claim:
    """ready → leased, for whoever holds the row, and those of the jobs that wait for it; `seen` is the row as it is.

    Raises:
        InternalError: the caller does not hold it.
    """
    attempt = seen.attempt + 1
    seen_as = {"at": seen.key, "before": seen.attempt}
    if tx.execute(_LEASE, {**seen_as, **_leased(tx, worker, ttl), "attempt": attempt}).rowcount != 1:
        raise InternalError(f"{seen.key} was leased without being held.", cure="Report this as a bug.")
    bindings.spread(tx, seen.key, "ready", "leased", "step.leased", {"worker": worker, "attempt": attempt})
    return replace(seen, attempt=attempt)


def heartbeat(
    tx: Transaction, key: str, attempt: int, *, ttl: float, progress: float, doing: str, log: Sequence[str] = ()
) -> Literal["go", "cancel", "lost"]:
    """Renews the lease, notes progress and log lines, and says whether to go on.

    `cancel`: stop, then call `release`. `lost`: the lease is somebody else's; kill the work and write nothing.
    """
    doing = doing.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    found = get(tx, key)
    told = found is None or (found.progress, found.doing) != (progress, doing)
    if told or log:
        bindings.lock(tx, [key])
    alive = {"lease_until": tx.now + ttl, "seen_at": tx.now, "progress": progress, "doing": doing}
    mine = (computations.c.key == key, computations.c.state == "leased", computations.c.attempt == attempt)
    row = tx.execute(update(computations).where(*mine).values(**alive).returning(computations.c.cancel)).first()
    if row is None:
        return "lost"
    if told:
        events.add(tx, "step.progress", {"progress": progress, "doing": doing}, key=key)
    for line in log:
        events.add(tx, "log", {"line": line}, key=key)
    return "cancel" if row.cancel else "go"


def commit(
    tx: Transaction,
    key: str,
    attempt: int,
    *,
    outputs: Mapping[str, str],
    report: Mapping[str, Any],
    seconds: float,
    peak_memory: int | None,
    log: Sequence[str] = (),
) -> list[str] | None:
    """Ends the lease with a result, for every job that waits for it. The outputs are in the blob store already; `log`
    is what no heartbeat has told.

    Returns:
        Ids of the running jobs to advance, or `None` if the attempt was fenced off and nothing was written.
    """
    found, states = held(tx, key, attempt)
    made = {"outputs": dict(outputs), "report": dict(report), "seconds": seconds, "peak_memory": peak_memory}
    if found is None or not move(tx, found, **_IDLE, **made, state="done", progress=1.0, finished_at=tx.now):
        return None
    products.note(tx, key, outputs.values())
    counters.observe(tx, "step_seconds", found.op, seconds)
    told = {"hit": False, "seconds": seconds, "attempt": attempt}
    bindings.spread(tx, key, "leased", "done", "step.done", told, log=log)
    return _advance(tx, states)


def fail(
    tx: Transaction,
    key: str,
    attempt: int,
    *,
    error: Mapping[str, Any],
    retry_in: float | None,
    seconds: float | None = None,
    peak_memory: int | None = None,
    log: Sequence[str] = (),
) -> list[str] | None:
    """Ends the lease with an error (`BurnishError.document()`); it is ready again after `retry_in` seconds, unless that
    is `None` or the attempts are used up. `log` as for `commit`.

    Returns:
        Ids of the running jobs to advance (none if it is tried again), or `None` if the attempt was fenced off.
    """
    found, states = held(tx, key, attempt)
    if found is None:
        return None
    cost = {"seconds": seconds, "peak_memory": peak_memory}
    return _end(tx, found, {**reason_of(found, tx.now), **cost, "error": dict(error)}, retry_in, states, log)


def release(tx: Transaction, key: str, attempt: int) -> bool:
    """Gives the lease back unfinished, because the worker drains or `heartbeat` said `cancel`; false if it was fenced
    off. Counts as no failure."""
    found, states = held(tx, key, attempt)
    return found is not None and _stop(tx, found, states)


def reap(tx: Transaction, limit: int = 100) -> list[str]:
    """Ends lapsed leases: ready again, or failed as `WorkerLost` with the last sign of life when attempts are used up.

    Returns:
        Ids of the running jobs to advance.
    """
    lapsed = select(computations.c.key).where(_IS_LEASED, computations.c.lease_until < tx.now)
    keys = list(tx.execute(lapsed.order_by(computations.c.lease_until).limit(limit)).scalars())
    rows = bindings.lock(tx, keys).computations if keys else {}
    advance: set[str] = set()
    for key in keys:
        found = rows.get(key)
        if found is not None and _lapsed(found, tx.now):
            tx.count("lease_losses")
            advance.update(_end(tx, found, lost(found, tx.now), 0.0, bindings.states_of(tx, key)))
    return sorted(advance)


def abandon(tx: Transaction, key: str) -> bool:
    """Stops a computation that no running job wants any more; whether a worker has yet to stop it.

    The caller holds its job's row, and has changed the state of it.
    """
    found = locked(tx, key)
    if found.state not in ("ready", "leased") or bindings.wanted(tx, key):
        return False
    if found.state == "leased":
        return move(tx, found, cancel=True)
    move(tx, found, state="canceled", finished_at=tx.now)
    return False


def prioritize(tx: Transaction, key: str) -> None:
    """Puts a computation that is ready or leased where the running jobs that want it now would have it; its doorbell
    is rung anew. The caller holds one of those jobs, and has changed its priority."""
    found = locked(tx, key)
    wishes = bindings.wishes(tx, key)
    if found.state not in ("ready", "leased") or not wishes:
        return
    place = {"priority": min(wish.priority for wish in wishes), "turn": min(turn(*wish) for wish in wishes)}
    if place != {"priority": found.priority, "turn": found.turn}:
        move(tx, found, **place, dispatched_at=None)


def disown(tx: Transaction, digest: str, error: Mapping[str, Any]) -> int:
    """Takes out of the cache what has this blob among its outputs, because the store lost or spoiled it; how many.

    Steps that are done stay so; the next job (or the same one, retried) computes it again.
    """
    count = 0
    for key in products.makers(tx, digest):
        found = locked(tx, key)
        count += found.state == "done" and move(tx, found, state="failed", outputs=None, error=dict(error))
        products.drop(tx, key)
    return count


def evict(tx: Transaction, key: str) -> bool:
    """Takes out of the cache what is done, so that its outputs may be removed; its report stays for jobs that show it.

    The caller holds the row, and has made sure that nobody needs it (`storage/eviction.py`).
    """
    found = locked(tx, key)
    if found.state != "done" or not move(tx, found, state="canceled", outputs=None):
        return False
    products.drop(tx, key)
    return True


def _leased(tx: Transaction, worker: str, ttl: float) -> dict[str, Any]:
    alive = {"lease_until": tx.now + ttl, "seen_at": tx.now, "started_at": tx.now}
    return {"state": "leased", "worker": worker, **alive, "progress": 0.0, "doing": None}


def _seen_by_worker(found: Computation) -> Claim:
    """What a worker gets to see of the computation it leased."""
    names = Claim.__dataclass_fields__
    return Claim(**{name: getattr(found, name) for name in names})


def _claimable(found: Computation | None, now: float) -> bool:
    if found is None:
        return False
    if found.state == "ready":
        return found.run_after <= now
    return _lapsed(found, now) and not found.cancel and found.failures + 1 < found.max_attempts


def _lapsed(found: Computation, now: float) -> bool:
    return found.state == "leased" and found.lease_until is not None and found.lease_until < now


def _stop(tx: Transaction, found: Computation, states: Mapping[str, str]) -> bool:
    """leased → ready for whoever still wants it, else canceled. Counts as no failure."""
    if bindings.wanted(tx, found.key):
        moved = move(tx, found, **_READY, run_after=tx.now)
        bindings.spread(tx, found.key, "leased", "ready", "step.ready", {"released": True})
    else:
        moved = move(tx, found, **_IDLE, state="canceled", finished_at=tx.now)
        bindings.spread(tx, found.key, "leased", "canceled", "step.canceled", {})
    _advance(tx, states)
    return moved


def _end(
    tx: Transaction,
    found: Computation,
    reason: Mapping[str, Any],
    retry_in: float | None,
    states: Mapping[str, str],
    log: Sequence[str] = (),
) -> list[str]:
    """leased → ready or failed for this reason, or what `_stop` does if it was to be canceled anyway."""
    if found.cancel:
        _stop(tx, found, states)
        return []
    counted = counted_with(found, reason)
    if retry_in is not None and found.failures + 1 < found.max_attempts:
        move(tx, found, **_READY, **counted, run_after=tx.now + retry_in)
        tx.count("step_retries", reason["error"]["class"])
        bindings.spread(tx, found.key, "leased", "ready", "step.retry", {**reason, "retry_in": retry_in}, log=log)
        _advance(tx, states)
        return []
    cost = {"seconds": reason.get("seconds"), "peak_memory": reason.get("peak_memory")}
    error = reason["error"]
    move(tx, found, **_IDLE, **counted, **cost, state="failed", error=error, finished_at=tx.now)
    bindings.spread(tx, found.key, "leased", "failed", "step.failed", reason, error=error, log=log)
    return _advance(tx, states)


def _advance(tx: Transaction, states: Mapping[str, str]) -> list[str]:
    """Ends those of the bound jobs that were only waiting to be canceled; the running ones are to be advanced."""
    bindings.settle(tx, [job_id for job_id, state in states.items() if state == "canceling"])
    return [job_id for job_id, state in states.items() if state == "running"]
