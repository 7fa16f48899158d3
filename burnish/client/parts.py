"""Large files go to the service in parts: a broken connection, or a service that restarts, costs one part.

The upload is found again by its content: it is begun under an idempotency key made of name, size and digest, so that
another process with the same file, even on another machine, goes on where this one was killed.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import httpx

from burnish.client.direct import send_direct
from burnish.client.transport import Transport
from burnish.errors import NotFound, Unavailable
from burnish.resources import UploadOrder, UploadResource

__all__ = ["IN_PARTS", "send_in_parts"]

IN_PARTS = 64 << 20
"""Bytes from which on a file is sent in parts."""
PATIENCE = 120.0
"""Seconds without a part getting through, after which it is given up. What has arrived stays for a day."""
_PAUSE = 1.0

Seen = Callable[[int, int], None]


def send_in_parts(
    transport: Transport, kind: Literal["model", "dataset"], path: Path, name: str, digest: str, seen: Seen | None
) -> httpx.Response:
    """Sends what has not arrived yet; the answer has the model or dataset.

    Args:
        digest: SHA-256 of the file, in hex.

    Raises:
        burnish.errors.Unavailable: nothing got through for two minutes.
        burnish.errors.BurnishError: the file is refused.
    """
    order = UploadOrder(kind=kind, name=name, size=path.stat().st_size, sha256=digest)
    upload = _begun(transport, order)
    if upload.resource is None and not _sent_direct(transport, upload, path, seen):
        _send(transport, upload, path, seen)
    return _patiently(lambda: transport.post(upload.links["complete"]))


def _begun(transport: Transport, order: UploadOrder) -> UploadResource:
    """The upload of this very file that was begun before, else a new one."""
    document = order.model_dump(mode="json")
    key = "parts-" + hashlib.sha256(order.model_dump_json().encode()).hexdigest()
    first = UploadResource.model_validate_json(transport.post("/v1/uploads", document, key=key).content)
    try:
        return UploadResource.model_validate_json(transport.get(first.links["self"]).content)
    except NotFound:  # given up, or it was refused at its end: the key still stands for it
        return UploadResource.model_validate_json(transport.post("/v1/uploads", document).content)


def _sent_direct(transport: Transport, upload: UploadResource, path: Path, seen: Seen | None) -> bool:
    """Whether the parts went straight to the store; not if some have come to the service: a file goes one way."""

    def again() -> UploadResource:
        answer = _patiently(lambda: transport.get(upload.links["self"]))
        return UploadResource.model_validate_json(answer.content)

    return upload.direct is not None and not upload.parts and send_direct(upload, again, path, seen)


def _send(transport: Transport, upload: UploadResource, path: Path, seen: Seen | None) -> None:
    """Through the service."""
    arrived = {part.number: part.digest for part in upload.parts}
    with path.open("rb") as file:
        for number in range(1, upload.part_count + 1):
            data = file.read(upload.part_size)
            if arrived.get(number) != hashlib.sha256(data).hexdigest():
                _patiently(partial(_put, transport, upload, number, data))
            if seen:
                seen(file.tell(), upload.size)


def _put(transport: Transport, upload: UploadResource, number: int, data: bytes) -> httpx.Response:
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:", "Content-Type": "application/octet-stream"}
    return transport.put_bytes(upload.links["part"].replace("{number}", str(number)), data, headers=headers)


def _patiently(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Sends again while the service is away."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return send()
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)
