"""A job's events as a server-sent event stream (WHATWG HTML, 9.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from api.feed import Feed
from storage.records import Job

__all__ = ["stream"]

_HEARTBEAT_SECONDS = 10.0
_LONGEST_SECONDS = 900.0
"""Then the stream ends, and the client comes back with `Last-Event-ID`: no client holds a slot for ever."""


def stream(feed: Feed, job: Job, after: int) -> Iterator[bytes]:
    """Events with ids above `after` as they come; a comment now and then, so that a dead client is noticed. Ends with
    an `end` event when the job is finished."""
    yield b"retry: 2000\n\n"
    until = time.monotonic() + _LONGEST_SECONDS
    with feed.follow(job, after) as follower:
        while time.monotonic() < until and (body := follower.next(_HEARTBEAT_SECONDS)) is not None:
            yield body or b": still there\n\n"
        if follower.over:
            yield f'event: end\ndata: {{"state":"{follower.over}"}}\n\n'.encode()
