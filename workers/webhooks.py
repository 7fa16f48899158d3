"""Sends what webhooks are to be told: a thread of the tick, so that a slow receiver delays no doorbell.

Any number of ticks may send at once: each delivery is claimed in SQL (`storage/deliveries.py`).
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait

from burnish.errors import BurnishError, Unavailable
from burnish.settings import Settings
from storage import chores, deliveries
from storage.database import Database
from storage.deliveries import Sending
from workers.faults import Faults
from workers.webhook_post import post

__all__ = ["Sender"]

logger = logging.getLogger(__name__)

_LOOK = 0.5
_AT_ONCE = 8
"""Webhooks that are told at the same time."""
_PRUNE = 3600.0
_KEPT = 30 * 86400.0
"""Seconds that ended deliveries are kept for the log."""


class Sender:
    """Looks for what is due, and hands it to a few threads; one delivery of a webhook at a time."""

    def __init__(self, settings: Settings) -> None:
        self._allow_private = settings.webhook_allow_private == "on"
        self._database = Database(settings.database_url)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")
        self._busy: dict[str, Future[None]] = {}
        """By webhook."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; an attempt that is under way and does not end soon is made again by another tick."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(self._busy.values(), 5.0)
        self._database.close()

    def once(self) -> int:
        """Begins what is due, as far as threads are free; how many deliveries these are.

        Raises:
            Unavailable: SQL is away.
        """
        self._busy = {webhook: sent for webhook, sent in self._busy.items() if not sent.done()}
        free = _AT_ONCE - len(self._busy)
        if free <= 0:
            return 0
        with self._database.read() as tx:
            waiting = deliveries.due(tx, self._busy)[:free]
        begun = 0
        for webhook_id in waiting:
            with self._database.begin() as tx:
                sending = deliveries.claim(tx, webhook_id)
            if sending is not None:
                self._busy[webhook_id] = self._pool.submit(self._send, sending)
                begun += 1
        return begun

    def drain(self) -> int:
        """Sends all that is due and waits for it; how many deliveries that were."""
        total = 0
        while begun := self.once():
            total += begun
            for sent in self._busy.values():
                sent.result()
        return total

    def _send(self, sending: Sending) -> None:
        answer = post(sending, allow_private=self._allow_private)
        delivery = sending.delivery
        try:
            with self._database.begin() as tx:
                written = deliveries.finish(tx, sending, answer)
        except Unavailable as error:  # it is sent again when the lease is over
            logger.warning("What came of delivery %s can't be written: %s", delivery.id, error)
            return
        if written and not answer.good:
            logger.warning(
                "Webhook %s did not take %s at attempt %d: %s",
                sending.webhook.id, delivery.type, delivery.attempt, answer.error,
            )  # fmt: skip

    def _prune(self) -> None:
        with self._database.begin() as tx:
            if chores.take(tx, "webhook log", _PRUNE):
                deliveries.prune(tx, tx.now - _KEPT)

    def _run(self) -> None:
        rounds, faults = 0, Faults(logger)
        while not self._ended.wait(_LOOK):
            try:
                with faults.survived("Telling webhooks", but=BurnishError):
                    while self.once() and not self._ended.wait(0.05):
                        continue
                    if rounds % round(60 / _LOOK) == 0:
                        self._prune()
            except BurnishError as error:
                logger.warning("Webhooks were not told: %s", error)
            rounds += 1
