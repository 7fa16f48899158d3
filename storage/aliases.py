"""Aliases: names such as `production` for one artifact of all that the versions of a model have.

1. An alias belongs to a model's name. Every change appends an entry to its history; the alias points to the newest.
2. Each entry knows the one below it, which a rollback brings back. A rollback is an entry too: of the artifact below,
   with what was below that. So two rollbacks go back two steps, and nothing of the history is lost.
3. The artifacts of the newest `KEPT` steps of that way back stay in the blob store (`kept`), whatever the cache evicts.
4. Whoever changes an alias holds its row; who wants to replace what stood there at an earlier moment says so
   (`expected`) and is told if it stands there no more.

Order of locks: jobs, then aliases, then blobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update

from burnish.errors import Conflict, NotFound
from burnish.results import Artifact
from storage.database import Transaction
from storage.ids import new_id
from storage.records import Job, from_row
from storage.tables import alias_entries, aliases, blobs

__all__ = ["KEPT", "Entry", "entry", "find", "get", "history", "list_", "remove", "rollback", "set_"]

KEPT = 10
_ENTRY = alias_entries.c


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What an alias stood for from one moment on."""

    id: str
    model: str
    """Name of the model, without version."""
    alias: str
    revision: int
    """1 for the first entry of its alias."""
    action: str
    """`set`, `promoted` or `rolled_back`."""
    reason: str
    artifact: dict[str, Any]
    """An `Artifact`."""
    digest: str
    """Of the artifact."""
    candidate: str
    """Its name in the verdict of the job."""
    job_id: str
    model_id: str
    """The version that it was made from."""
    model_version: str
    """`name:version` of that."""
    previous_id: str | None
    """The entry that a rollback brings back."""
    kept: bool
    at: float


def find(tx: Transaction, model: str, alias: str) -> Entry | None:
    """What an alias stands for; `None` if it stands for nothing."""
    row = tx.execute(_current(model, alias)).first()
    return None if row is None else from_row(Entry, row)


def get(tx: Transaction, model: str, alias: str) -> Entry:
    """What an alias stands for. Raises `NotFound`."""
    found = find(tx, model, alias)
    if found is None:
        raise NotFound(
            f"The alias {alias} of {model} stands for nothing.",
            cure="Set it to an artifact of a job, or give a schedule `promote` to have it set.",
        )
    return found


def entry(tx: Transaction, entry_id: str) -> Entry:
    """The entry with this id, which exists."""
    return from_row(Entry, tx.execute(select(alias_entries).where(_ENTRY.id == entry_id)).one())


def list_(tx: Transaction, model: str) -> list[Entry]:
    """What each alias of a model stands for, by name."""
    found = select(alias_entries).join(aliases, aliases.c.entry_id == _ENTRY.id).where(aliases.c.model == model)
    return [from_row(Entry, row) for row in tx.execute(found.order_by(aliases.c.alias))]


def history(tx: Transaction, model: str, alias: str, *, after: str | None, limit: int) -> list[Entry]:
    """Entries of an alias, newest first, older than the entry `after`; also of one that was removed."""
    page = select(alias_entries).where(_ENTRY.model == model, _ENTRY.alias == alias)
    if after is not None:
        page = page.where(_ENTRY.id < after)
    return [from_row(Entry, row) for row in tx.execute(page.order_by(_ENTRY.id.desc()).limit(limit))]


def set_(
    tx: Transaction,
    *,
    model: str,
    alias: str,
    artifact: Artifact,
    candidate: str,
    job: Job,
    action: str,
    reason: str,
    expected: object = ...,
) -> Entry:
    """Lets an alias stand for an artifact of a job. If it does already, nothing changes.

    Args:
        expected: id of the entry that it must still stand for (`None`: nothing); left out, whatever it is.

    Raises:
        Conflict: it stands for something else than `expected`, is being changed at this moment, or the artifact's
            bytes are not in the store any more. Take the transaction, or a savepoint of it, back.
    """
    now = _locked(tx, model, alias)
    if expected is not ... and expected != (now.id if now else None):
        raise Conflict(f"The alias {alias} of {model} stands for another artifact by now.", cure="Read it again.")
    if now is not None and now.digest == artifact.digest:
        return now
    made_from = {"job_id": job.id, "model_id": job.model_id, "model_version": job.model, "candidate": candidate}
    what = {"artifact": artifact.model_dump(mode="json"), "digest": artifact.digest, **made_from}
    return _push(tx, model, alias, {**what, "action": action, "reason": reason}, now.id if now else None)


def rollback(tx: Transaction, model: str, alias: str, reason: str) -> Entry:
    """Brings back what an alias stood for before.

    Raises:
        NotFound: it stands for nothing.
        Conflict: there is nothing before it.
    """
    now = _locked(tx, model, alias) or get(tx, model, alias)
    if now.previous_id is None:
        raise Conflict(
            f"There is nothing before what the alias {alias} of {model} stands for.",
            cure="Set it to an artifact of a job, or remove the alias.",
        )
    before = entry(tx, now.previous_id)
    same = ("artifact", "digest", "candidate", "job_id", "model_id", "model_version")
    what = {name: getattr(before, name) for name in same}
    return _push(tx, model, alias, {**what, "action": "rolled_back", "reason": reason}, before.previous_id)


def remove(tx: Transaction, model: str, alias: str) -> Entry:
    """Lets an alias stand for nothing; what it stood for. Its history stays. Raises `NotFound`."""
    now = _locked(tx, model, alias) or get(tx, model, alias)
    tx.execute(delete(aliases).where(aliases.c.model == model, aliases.c.alias == alias))
    tx.execute(update(alias_entries).where(_ENTRY.model == model, _ENTRY.alias == alias).values(kept=False))
    return now


def _push(tx: Transaction, model: str, alias: str, what: Mapping[str, Any], previous_id: str | None) -> Entry:
    newest = select(func.max(_ENTRY.revision)).where(_ENTRY.model == model, _ENTRY.alias == alias)
    revision = (tx.execute(newest).scalar() or 0) + 1
    entry_id = new_id("als")
    place = {"id": entry_id, "model": model, "alias": alias, "revision": revision, "previous_id": previous_id}
    if not tx.insert_new(alias_entries, {**place, **what, "kept": True, "at": tx.now}):
        raise Conflict(f"The alias {alias} of {model} is being changed at this moment.", cure="Try again.")
    tx.upsert(aliases, {"model": model, "alias": alias, "entry_id": entry_id})
    made = entry(tx, entry_id)
    _keep(tx, made)
    # Rows of blobs are locked last. One that is gone was collected: nothing kept it.
    kept = update(blobs).where(blobs.c.digest == made.digest).values(seen_at=tx.now, doomed_at=None)
    if tx.execute(kept).rowcount != 1:
        raise Conflict(
            f"The bytes of {made.candidate} of job {made.job_id} are not in the store any more.",
            cure="Submit the job again to make them anew.",
        )
    return made


def _keep(tx: Transaction, top: Entry) -> None:
    """Rule 3."""
    way, below = [top.id], top.previous_id
    while below is not None and len(way) < KEPT:
        way.append(below)
        below = entry(tx, below).previous_id
    this = (_ENTRY.model == top.model, _ENTRY.alias == top.alias)
    tx.execute(update(alias_entries).where(*this, _ENTRY.kept, _ENTRY.id.not_in(way)).values(kept=False))
    tx.execute(update(alias_entries).where(*this, ~_ENTRY.kept, _ENTRY.id.in_(way)).values(kept=True))


def _locked(tx: Transaction, model: str, alias: str) -> Entry | None:
    row = select(aliases.c.alias).where(aliases.c.model == model, aliases.c.alias == alias).with_for_update()
    tx.execute(row).first()
    return find(tx, model, alias)


def _current(model: str, alias: str) -> Any:
    joined = select(alias_entries).join(aliases, aliases.c.entry_id == _ENTRY.id)
    return joined.where(aliases.c.model == model, aliases.c.alias == alias)
