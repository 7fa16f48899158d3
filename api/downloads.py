"""Sending a blob: whole, a range of it, or a link to the store itself."""

from __future__ import annotations

import re

from flask import Response, request
from pydantic import Field

from api.ranges import range_of
from api.services import services
from burnish.document import Document
from burnish.errors import NotFound
from storage import blob_uses
from storage.blobs import Linked

__all__ = ["DOWNLOAD_RESPONSES", "DownloadQuery", "send"]

_LINK_SECONDS = 600
_FOR_EVER = "private, max-age=31536000, immutable"
DOWNLOAD_RESPONSES = {
    200: "The bytes.",
    206: "The range.",
    307: "Where the store itself gives the bytes, for ten minutes; ranges may be asked for there.",
    304: "Not changed: the same digest is always the same bytes.",
    416: "Nothing of the range is inside the file.",
}


class DownloadQuery(Document):
    """Query of a download."""

    name: str | None = Field(None, min_length=1, max_length=200)
    """File name to offer to a browser."""
    redirect: bool = False
    """Answer with a link to the store itself (307), if the store gives links; else the bytes come as without it."""


def send(digest: str, query: DownloadQuery, *, name: str | None = None, cache: str = _FOR_EVER) -> Response:
    """The answer to a download of the blob with this digest, which is its ETag too.

    Args:
        name: file name, where the query has none; by default the digest.
        cache: its `Cache-Control`.

    Raises:
        NotFound: no upload and no result has this digest.
    """
    size = _size(digest)
    filename = _filename(query.name or name or digest)
    blobs = services().blobs
    response = Response(mimetype="application/octet-stream")
    response.set_etag(digest)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = cache
    if request.if_none_match.contains(digest):
        response.status_code = 304
        return response
    if query.redirect and request.method == "GET" and isinstance(blobs, Linked):
        return _elsewhere(blobs.link(digest, name=filename, seconds=_LINK_SECONDS))
    response.headers.set("Content-Disposition", "attachment", filename=filename)
    part = range_of(request.headers.get("Range"), size) if _range_holds(digest) else None
    start, end = part or (0, size)
    if part:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    if request.method == "GET":
        _attach(response, digest, start, end)
    response.headers["Content-Length"] = str(end - start)
    return response


def _elsewhere(link: str) -> Response:
    """Whoever has the link has the bytes: it is neither kept nor told to other sites."""
    return Response(
        status=307, headers={"Location": link, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    )


def _size(digest: str) -> int:
    """Size of a blob that may be handed out: an upload, or the output of a computation."""
    size = None
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        with services().database.read() as tx:
            known = blob_uses.refers(tx, digest)
        size = services().blobs.size(digest) if known else None
    if size is None:
        raise NotFound(
            "No upload and no result has this digest.",
            cure="Take the digest from a job's artifacts. If it is from there, the store gave it up: submit the "
            "job again to make it anew, and pin the model to keep it.",
        )
    return size


def _range_holds(digest: str) -> bool:
    """False if the client only wants a range of a version that this is not."""
    condition = request.if_range
    return condition.date is None and condition.etag in (None, digest)


def _attach(response: Response, digest: str, start: int, end: int) -> None:
    """Makes the blob the body, and holds a transfer slot until it is sent or the client is gone."""
    transfers = services().transfers
    transfers.take()
    response.call_on_close(transfers.give)
    try:
        response.response = services().blobs.open(digest, start, end)
    except BaseException:
        response.close()
        raise


def _filename(name: str) -> str:
    """The last part of the name, without what a header or a file system would stumble over."""
    return re.sub(r"[\x00-\x1f\x7f\"\\/:*?<>|]", "_", name)
