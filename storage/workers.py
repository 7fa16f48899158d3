"""Worker processes: who is there, what each can run, and when it was last seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, literal, select, update

from storage.database import Transaction
from storage.records import WorkerRow, from_row
from storage.tables import computations, workers

__all__ = ["announce", "beat", "gone", "live", "running"]


def announce(
    tx: Transaction,
    *,
    id: str,
    name: str,
    queues: Sequence[str],
    device: str,
    isa: Sequence[str],
    threads: int,
    memory: int,
    environment: str,
    versions: Mapping[str, str],
) -> None:
    """Adds a worker, or renews what is known of it."""
    row = {"id": id, "name": name, "queues": list(queues), "device": device, "isa": list(isa), "threads": threads}
    more = {"memory": memory, "environment": environment, "versions": dict(versions)}
    tx.upsert(workers, {**row, **more, "started_at": tx.now, "seen_at": tx.now}, keep=frozenset({"started_at"}))


def beat(tx: Transaction, worker_id: str) -> bool:
    """A sign of life; false if the worker is not known (any more) and has to announce itself again."""
    return tx.execute(update(workers).where(workers.c.id == worker_id).values(seen_at=tx.now)).rowcount == 1


def gone(tx: Transaction, worker_id: str) -> None:
    """Takes a worker off the list, because it stops. Its leases are not touched: it releases them itself."""
    tx.execute(delete(workers).where(workers.c.id == worker_id))


def live(tx: Transaction, within: float = 60.0) -> list[WorkerRow]:
    """Workers seen within so many seconds, by name."""
    seen = select(workers).where(workers.c.seen_at >= tx.now - within).order_by(workers.c.name, workers.c.id)
    return [from_row(WorkerRow, row) for row in tx.execute(seen)]


def running(tx: Transaction) -> dict[str, list[str]]:
    """Keys of the leased computations, by worker id."""
    leased = select(computations.c.worker, computations.c.key).where(
        computations.c.state == literal("leased", literal_execute=True)
    )
    found: dict[str, list[str]] = {}
    for row in tx.execute(leased.order_by(computations.c.started_at)):
        found.setdefault(row.worker, []).append(row.key)
    return found
