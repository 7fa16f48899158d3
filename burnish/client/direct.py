"""Parts sent straight to the store, by links that the service made.

1. What is missing, and the links for it, is asked of the service again whenever links are used up or refused: they work
   for an hour. A part that has arrived is never sent again.
2. A store that can't be reached from here, or takes nothing, costs no upload: the parts go through the service then.
   Once a part has arrived, a store that is away is waited for instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from burnish.errors import Unavailable
from burnish.resources import DirectPart, UploadResource

__all__ = ["send_direct"]

TRIES = 3
"""Times that a part is tried before the store counts as out of reach."""
PATIENCE = 120.0
"""Seconds that a store is waited for once it took a part."""
_PAUSE = 1.0

Ask = Callable[[], UploadResource]
Seen = Callable[[int, int], None]


def send_direct(upload: UploadResource, again: Ask, path: Path, seen: Seen | None) -> bool:
    """Sends what is missing at the store; `again` asks the service for the upload as it is then.

    Returns:
        Whether all of it is there. False if the store took nothing: send it through the service.

    Raises:
        burnish.errors.Unavailable: the store took some parts, and then no more.
    """
    with httpx.Client(timeout=httpx.Timeout(None, connect=5.0)) as store:
        stuck = 0
        while upload.direct is not None and upload.direct.missing:
            before = upload.direct.missing
            trouble = _round(store, upload, path, seen)
            upload = again()
            stuck = 0 if upload.direct is None or upload.direct.missing < before else stuck + 1
            if stuck < 2:  # links that had expired are the first reason, and new ones the cure
                continue
            if before == upload.part_count:
                return False
            raise Unavailable(
                f"The store took some parts of the upload, and now takes no more: {trouble}.",
                cure="Upload the file again: what has arrived is not sent twice.",
            )
    return upload.direct is not None


def _round(store: httpx.Client, upload: UploadResource, path: Path, seen: Seen | None) -> str:
    """Sends the parts that there are links for, up to one that does not get through: what was in its way."""
    assert upload.direct is not None
    reached = upload.direct.missing < upload.part_count
    with path.open("rb") as file:
        for part in upload.direct.parts:
            file.seek((part.number - 1) * upload.part_size)
            trouble = _put(store, part, file.read(part.size), PATIENCE if reached else 0.0)
            if trouble:
                return trouble
            reached = True
            if seen:
                seen(file.tell(), upload.size)
    return "what it took does not show"


def _put(store: httpx.Client, part: DirectPart, data: bytes, patience: float) -> str:
    """Sends a part, again while the store is away; gives what is in its way, nothing if it arrived."""
    until, tries = time.monotonic() + patience, 0
    while True:
        tries += 1
        try:
            status = store.put(part.url, content=data).status_code
            trouble = f"it answered {status} to part {part.number}"
        except httpx.TransportError as error:
            status, trouble = 503, f"it does not answer ({type(error).__name__})"
        if status < 300:
            return ""
        if (status < 500 and status != 429) or (tries >= TRIES and time.monotonic() > until):
            return trouble
        time.sleep(_PAUSE)
