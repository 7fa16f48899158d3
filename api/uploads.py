"""Taking an upload: stream, hash, inspect, register; what is refused leaves nothing behind.

1. The bytes go to the blob store as they come, with memory bounded by a part.
2. What was stored is inspected there, by its headers.
3. The row is written in one transaction with the blob's entry in the index. A refused upload deletes its blob in a
   transaction that holds the same entry, and only if nothing refers to it: so an upload of the same bytes that is
   accepted at that moment either keeps the blob, or sees that it is gone and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Generic, TypeVar

from flask import Response, request

from api.bodies import chunks_of, digest_of
from api.errors import Refused
from api.idempotency import body_hash, remember, replayed
from api.names import Name
from api.replies import reply
from api.services import services
from burnish.document import Document
from burnish.errors import BlobCorrupt, Unavailable, UserError
from burnish.resources import DatasetResource, ModelResource
from storage import blob_index, blob_uses
from storage.blobs import Blob
from storage.database import Transaction

__all__ = ["Intake", "UploadQuery", "take"]

FoundT = TypeVar("FoundT")
RecordT = TypeVar("RecordT")


class UploadQuery(Document):
    """Query of an upload."""

    name: Name
    """What it is called. Models of one name are its versions."""


@dataclass(frozen=True, kw_only=True)
class Intake(Generic[FoundT, RecordT]):
    """What one kind of upload does with its bytes."""

    inspect: Callable[[BinaryIO], FoundT]
    register: Callable[[Transaction, str, Blob, FoundT], RecordT]
    show: Callable[[RecordT], ModelResource | DatasetResource]


def take(intake: Intake[FoundT, RecordT], name: str) -> Response:
    """Handles the present request as an upload.

    Raises:
        Refused: broken off, announced with another digest, sent as a form, or too many transfers at once.
        burnish.errors.TooLarge: over `BURNISH_MAX_UPLOAD`.
        burnish.errors.UserError: what `inspect` refuses.
    """
    services().transfers.take()
    try:
        blob = _store()
        try:
            return _register(intake, name, blob)
        except UserError:
            _discard(blob)
            raise
    finally:
        services().transfers.give()


def _store() -> Blob:
    expect, limit = digest_of(request), services().settings.max_upload
    try:
        return services().blobs.put(chunks_of(request, limit), expect=expect, limit=limit)
    except BlobCorrupt as error:
        raise Refused(
            400, f"The bytes that arrived don't have the digest {expect} announced.", cure="Send them again."
        ) from error


def _register(intake: Intake[FoundT, RecordT], name: str, blob: Blob) -> Response:
    with services().blobs.reader(blob.digest) as file:
        found = intake.inspect(file)
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(blob.digest))
        if again:
            return again
        blob_index.seen(tx, blob.digest, blob.size)
        if services().blobs.size(blob.digest) is None:
            raise Unavailable("The same bytes were just refused elsewhere and removed.", cure="Send them again.")
        resource = intake.show(intake.register(tx, name, blob, found))
        return remember(tx, reply(resource, 201, headers={"Location": resource.links["self"]}))


def _discard(blob: Blob) -> None:
    with services().database.begin() as tx:
        blob_index.seen(tx, blob.digest, blob.size)
        if not blob_uses.refers(tx, blob.digest):
            services().blobs.delete(blob.digest)
            blob_uses.forget(tx, blob.digest)
