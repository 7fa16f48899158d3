"""Blobs on their way between the store and a step's folder: a store that is away is waited for, a cancel is not.

A store can hang for minutes, and a thread that waits for its answer can't be woken. So each transfer has a thread of
its own, which is left to itself when the work has to end: what it still reads is thrown away with the folder, and what
it still stores is what any writer leaves that dies (`storage/blob_index.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TypeVar

from burnish.errors import BurnishError
from workers.lease import Lease
from workers.retrying import retried

__all__ = ["Stopped", "transfer"]

ResultT = TypeVar("ResultT")

_LOOK = 0.1
"""Seconds that a reason to stop can go unnoticed."""


class Stopped(Exception):
    """The work has to end, as `lease.stop` says. Never leaves the runner."""


def transfer(lease: Lease, doing: str, work: Callable[[], ResultT]) -> ResultT:
    """What `work` gives; it is called again while it raises `Unavailable`, for up to `retrying.PATIENCE` seconds.

    Args:
        doing: what the step is said to do meanwhile; while something is away, also what and since when.
        work: may be left running in its thread when this raises `Stopped`.

    Raises:
        Stopped: the lease has to end.
        BurnishError: as `work`; `Unavailable` when the patience is over.
    """

    def waiting(error: BurnishError) -> None:
        since = time.strftime("%H:%M:%S UTC", time.gmtime())
        lease.say(f"{doing}, waiting since {since}: {error.message}")

    lease.say(doing)
    try:
        return retried(lambda: _unless_stopped(lease, work), lease.pause, waiting=waiting)
    except BurnishError:
        if lease.pause(0):
            raise Stopped from None
        raise


def _unless_stopped(lease: Lease, work: Callable[[], ResultT]) -> ResultT:
    made: Future[ResultT] = Future()
    context = copy_context()  # so that its log lines say what they are about

    def run() -> None:
        try:
            made.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for it
            made.set_exception(error)

    threading.Thread(target=run, name="transfer", daemon=True).start()
    while not wait([made], _LOOK).done:
        if lease.pause(0):
            raise Stopped
    return made.result()
