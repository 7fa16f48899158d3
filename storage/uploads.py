"""Uploads in parts: what of a file has arrived, so that a broken connection costs one part and not the file.

1. A part is a blob like any other, under its own SHA-256, kept from the collector by a hold that lasts as long as the
   upload may stand still (`KEEP`). So a part is published whole or not at all, and the same part sent twice is one.
2. Each part that arrives renews the upload. The holds of its parts last an hour longer than the upload, and are all
   renewed by the first part of each hour: by each part, they would cost the square of their number.
3. Completed, an upload remembers what became of it until it expires: who asks again is told the same. Its parts are let
   go in the same transaction, and so are those of an upload that is dropped or has expired (`expire`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from sqlalchemy import delete, exists, select, update

from burnish.errors import NotFound, Unavailable
from storage.blob_index import Hold
from storage.blob_uses import unreferred
from storage.database import Transaction
from storage.ids import new_id
from storage.records import from_row
from storage.tables import blobs, holds, upload_parts, uploads

__all__ = ["KEEP", "Part", "Upload", "add_part", "complete", "create", "drop", "expire", "find", "get", "lock", "parts"]

KEEP = 86400.0
"""Seconds after its last part at which an upload expires."""
PART = 16 << 20
"""Bytes of a part, and a step by which it grows where the file would else have more than `MOST_PARTS`."""
MOST_PARTS = 10_000
_HOUR = 3600.0

Kind = Literal["model", "dataset"]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that is on its way, or has arrived."""

    id: str
    kind: Kind
    name: str
    """Of the model or dataset that it will be."""
    size: int
    part_size: int
    """Bytes of each part but the last."""
    sha256: str | None
    """Announced for the whole."""
    resource_id: str | None
    """What became of it."""
    created_at: float
    expires_at: float

    @property
    def count(self) -> int:
        """How many parts make the file; an empty file has one, empty."""
        return max(1, ceil(self.size / self.part_size))

    def part_bytes(self, number: int) -> int:
        """Bytes of part `number`, from 1. Raises `NotFound` for one that the file does not have."""
        if not 1 <= number <= self.count:
            raise NotFound(f"The upload has parts 1 to {self.count}, and no part {number}.", cure="Send only those.")
        return min(self.part_size, self.size - (number - 1) * self.part_size)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that has arrived."""

    number: int
    digest: str
    size: int


def create(tx: Transaction, *, kind: Kind, name: str, size: int, sha256: str | None) -> Upload:
    """A new upload, without parts yet."""
    row = {"id": new_id("upl"), "kind": kind, "name": name, "size": size, "part_size": _part_size(size)}
    tx.insert_new(
        uploads, {**row, "sha256": sha256, "resource_id": None, "created_at": tx.now, "expires_at": tx.now + KEEP}
    )
    return get(tx, str(row["id"]))


def get(tx: Transaction, upload_id: str) -> Upload:
    """The upload with that id. Raises `NotFound`, also for one that has expired."""
    return _get(tx, upload_id, locked=False)


def find(tx: Transaction, upload_id: str) -> Upload | None:
    """The upload with that id, if there is one that has not expired."""
    return _find(tx, upload_id, locked=False)


def lock(tx: Transaction, upload_id: str) -> Upload:
    """The same, its row locked until the end of the transaction."""
    return _get(tx, upload_id, locked=True)


def parts(tx: Transaction, upload_id: str) -> list[Part]:
    """The parts that have arrived, by number."""
    columns = (upload_parts.c.number, upload_parts.c.digest, upload_parts.c.size)
    found = select(*columns).where(upload_parts.c.upload_id == upload_id).order_by(upload_parts.c.number)
    return [from_row(Part, row) for row in tx.execute(found)]


def add_part(tx: Transaction, upload: Upload, number: int, held: Hold) -> Part:
    """Notes a part whose bytes are in the store and held; one that was there under its number before is let go.

    Call it with the upload locked.

    Raises:
        Unavailable: the hold has lapsed and the bytes are gone.
    """
    until = tx.now + KEEP + _HOUR
    _release(tx, upload.id, number)
    if tx.execute(update(holds).where(holds.c.id == held.id).values(until=until)).rowcount != 1:
        raise Unavailable("The part was removed before it was noted.", cure="Send it again.")
    part = {"number": number, "digest": held.blob.digest, "size": held.blob.size}
    tx.upsert(upload_parts, {"upload_id": upload.id, **part, "hold_id": held.id})
    tx.execute(update(uploads).where(uploads.c.id == upload.id).values(expires_at=tx.now + KEEP))
    if tx.now // _HOUR != (upload.expires_at - KEEP) // _HOUR:
        mine = select(upload_parts.c.hold_id).where(upload_parts.c.upload_id == upload.id)
        tx.execute(update(holds).where(holds.c.id.in_(mine)).values(until=until))
    return Part(number=number, digest=held.blob.digest, size=held.blob.size)


def complete(tx: Transaction, upload_id: str, resource_id: str) -> None:
    """Notes what became of it, and lets its parts go. Call it after the row that refers to the whole was written."""
    tx.execute(update(uploads).where(uploads.c.id == upload_id).values(resource_id=resource_id))
    _release(tx, upload_id)


def drop(tx: Transaction, upload_id: str) -> None:
    """Forgets an upload and lets its parts go. One that is not there is no error."""
    _release(tx, upload_id)
    tx.execute(delete(uploads).where(uploads.c.id == upload_id))


def expire(tx: Transaction, limit: int = 100) -> int:
    """Drops up to `limit` uploads that have stood still for too long; gives the count."""
    old = select(uploads.c.id).where(uploads.c.expires_at <= tx.now).order_by(uploads.c.expires_at).limit(limit)
    found = list(tx.execute(old.with_for_update(skip_locked=True)).scalars())
    for upload_id in found:
        drop(tx, upload_id)
    return len(found)


def _get(tx: Transaction, upload_id: str, *, locked: bool) -> Upload:
    found = _find(tx, upload_id, locked=locked)
    if found is None:
        raise NotFound(
            f"There is no upload {upload_id}.",
            cure=f"Start a new one: an upload to which nothing is added expires after {KEEP / 3600:.0f} hours.",
        )
    return found


def _find(tx: Transaction, upload_id: str, *, locked: bool) -> Upload | None:
    query = select(uploads).where(uploads.c.id == upload_id, uploads.c.expires_at > tx.now)
    row = tx.execute(query.with_for_update() if locked else query).first()
    return None if row is None else from_row(Upload, row)


def _release(tx: Transaction, upload_id: str, number: int | None = None) -> None:
    """Ends the holds of its parts (or of one) and dooms the blobs that are nothing else to anybody."""
    chosen = [upload_parts.c.upload_id == upload_id]
    if number is not None:
        chosen.append(upload_parts.c.number == number)
    rows = tx.execute(
        delete(upload_parts).where(*chosen).returning(upload_parts.c.digest, upload_parts.c.hold_id)
    ).all()
    for batch in _batches([row.hold_id for row in rows]):
        tx.execute(delete(holds).where(holds.c.id.in_(batch)))
    held = exists().where(holds.c.digest == blobs.c.digest, holds.c.until > tx.now)
    for batch in _batches(sorted({row.digest for row in rows})):
        tx.execute(update(blobs).where(blobs.c.digest.in_(batch), unreferred(), ~held).values(doomed_at=tx.now))


def _batches(items: list[str], size: int = 500) -> Iterable[list[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _part_size(size: int) -> int:
    return PART * max(1, ceil(size / (PART * MOST_PARTS)))
