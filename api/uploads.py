"""Taking an upload: stream, hash, inspect, register; what is refused leaves nothing behind.

1. The bytes go to the blob store as they come, with memory bounded by a part. A hold keeps the blob from the collector.
2. What was stored is inspected there, by its headers.
3. The row is written in the transaction that ends the hold. A refused upload ends its hold and removes the blob, unless
   something refers to it or another upload of the same bytes holds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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
from storage import blob_index, removal
from storage.blob_index import Hold
from storage.blobs import Before, Blob
from storage.database import Transaction

__all__ = ["Intake", "UploadQuery", "discard", "held_by", "receive", "register", "take"]

FoundT = TypeVar("FoundT")
RecordT = TypeVar("RecordT")
Resource = ModelResource | DatasetResource


class UploadQuery(Document):
    """Query of an upload."""

    name: Name
    """What it is called. Models of one name are its versions."""


@dataclass(frozen=True, kw_only=True)
class Intake(Generic[FoundT, RecordT]):
    """What one kind of upload does with its bytes."""

    inspect: Callable[[BinaryIO], FoundT]
    register: Callable[[Transaction, str, Blob, FoundT], RecordT]
    find: Callable[[Transaction, str], RecordT]
    show: Callable[[RecordT], Resource]

    def again(self, tx: Transaction, id: str) -> Resource:
        """What an earlier upload has become."""
        return self.show(self.find(tx, id))


def take(intake: Intake[FoundT, RecordT], name: str) -> Response:
    """Handles the present request as an upload.

    Raises:
        Refused: broken off, announced with another digest, sent as a form, or too many transfers at once.
        burnish.errors.TooLarge: over `BURNISH_MAX_UPLOAD`.
        burnish.errors.UserError: what `inspect` refuses.
    """
    expect, limit = digest_of(request), services().settings.max_upload
    services().transfers.take()
    try:
        return register(intake, name, receive(chunks_of(request, limit), expect=expect, limit=limit))
    finally:
        services().transfers.give()


def receive(chunks: Iterable[bytes], *, expect: str | None, limit: int) -> Hold:
    """Stores bytes and holds them.

    Raises:
        Refused: they don't have the digest announced (400).
        burnish.errors.TooLarge: more than `limit` bytes.
    """
    try:
        return held_by(lambda before: services().blobs.put(chunks, expect=expect, limit=limit, before=before))
    except BlobCorrupt as error:
        raise Refused(
            400, f"The bytes that arrived don't have the digest {expect} announced.", cure="Send them again."
        ) from error


def held_by(write: Callable[[Before], object]) -> Hold:
    """The hold on what `write` publishes, taken when it calls the function that it gets."""
    held: list[Hold] = []

    def hold(blob: Blob) -> None:
        with services().database.begin() as tx:
            held.append(blob_index.hold(tx, blob))

    write(hold)
    return held[-1]


def register(
    intake: Intake[FoundT, RecordT],
    name: str,
    held: Hold,
    also: Callable[[Transaction, Resource], None] = lambda tx, resource: None,
) -> Response:
    """Inspects what was received and writes its row; `also` is called in the same transaction. What `inspect` refuses
    is removed.

    Raises:
        burnish.errors.UserError: what `inspect` refuses.
        burnish.errors.Unavailable: the bytes were removed meanwhile.
    """
    try:
        with services().blobs.reader(held.blob.digest) as file:
            found = intake.inspect(file)
        with services().database.begin() as tx:
            again = replayed(tx, body_hash(held.blob.digest))
            if again:
                return again
            if not blob_index.confirm(tx, held):
                raise Unavailable("What was uploaded was removed before it was registered.", cure="Send it again.")
            resource = intake.show(intake.register(tx, name, held.blob, found))
            also(tx, resource)
            return remember(tx, reply(resource, 201, headers={"Location": resource.links["self"]}))
    except UserError:
        discard(held)
        raise


def discard(held: Hold) -> None:
    """Ends the hold and removes the bytes, unless something refers to them or somebody else holds them."""
    with services().database.begin() as tx:
        blob_index.confirm(tx, held)
        removal.remove(tx, services().blobs, held.blob.digest, before=math.inf)
