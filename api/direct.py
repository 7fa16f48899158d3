"""Uploads that go straight to the store: links for the parts, and the check of what was sent by them.

Offered where the operator wants it (`BURNISH_DIRECT_UPLOADS`) and the store can (`storage.blobs.Direct`). The service
signs the links, and reads the whole file once, at the end: it becomes a blob under the digest that was computed here.
"""

from __future__ import annotations

import time

from api.errors import Refused
from api.replies import moment
from api.services import services
from api.uploads import held_by
from burnish.errors import BlobCorrupt
from burnish.resources import DirectPart, DirectParts
from burnish.settings import Settings
from storage.blob_index import Hold
from storage.blobs import BlobStore, Direct, DirectFile
from storage.uploads import Upload

__all__ = ["drop", "missing", "offer", "origin", "receive"]

SECONDS = 3600
"""How long a link works: it has to be used up, not only begun."""
AT_ONCE = 100
"""Links in one answer."""


def origin(settings: Settings, blobs: BlobStore) -> str | None:
    """The server that pages may send parts to, if any."""
    return blobs.direct_origin() if settings.direct_uploads == "on" and isinstance(blobs, Direct) else None


def offer(upload: Upload) -> DirectParts | None:
    """Links for what is missing, if the upload may go that way."""
    file = _file(upload)
    if file is None or upload.resource_id is not None:
        return None
    left = file.missing(_sizes(upload))
    sizes = {number: upload.part_bytes(number) for number in left[:AT_ONCE]}
    until = moment(time.time() + SECONDS)
    links = file.links(sizes, SECONDS) if sizes else {}
    return DirectParts(
        missing=len(left),
        parts=tuple(DirectPart(number=number, size=sizes[number], url=url) for number, url in links.items()),
        expires_at=until,
    )


def missing(upload: Upload) -> list[int] | None:
    """Parts that have not arrived at the store; `None` if the upload can't go that way."""
    file = _file(upload)
    return None if file is None else file.missing(_sizes(upload))


def receive(upload: Upload) -> Hold:
    """The blob of what was sent, held.

    Raises:
        Refused: the whole does not have the digest announced; it was removed (400).
        burnish.errors.Unavailable: the store is away, or another request completes the upload.
    """
    file = _file(upload)
    assert file is not None
    try:
        return held_by(lambda before: file.publish(upload.size, expect=upload.sha256, before=before))
    except BlobCorrupt as error:
        raise Refused(
            400,
            f"The bytes that were sent to the store are not those announced: {error.message}",
            cure="Send all parts again, of a file that does not change meanwhile.",
        ) from error


def drop(upload: Upload) -> None:
    """Removes what was sent to the store and has not become a blob."""
    file = _file(upload)
    if file is not None:
        file.drop()


def _file(upload: Upload) -> DirectFile | None:
    blobs = services().blobs
    if services().settings.direct_uploads != "on" or not isinstance(blobs, Direct) or not upload.size:
        return None
    return blobs.direct(upload.id)


def _sizes(upload: Upload) -> dict[int, int]:
    return {number: upload.part_bytes(number) for number in range(1, upload.count + 1)}
