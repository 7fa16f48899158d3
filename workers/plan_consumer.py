"""Takes the doorbells of new jobs in a thread of its own, so that planning never waits for a slot to come free."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kombu.connection import Connection
from kombu.entity import Queue
from kombu.mixins import ConsumerMixin

from burnish.errors import BurnishError
from storage.doorbell import PLAN, broker_options, plan_queue

__all__ = ["PlanConsumer"]

logger = logging.getLogger(__name__)


class PlanConsumer(ConsumerMixin):
    """Calls `plan(job_id)` for each message of the plan queues; reconnects for ever."""

    def __init__(self, broker_url: str, queues: Sequence[str], plan: Callable[[str], None]) -> None:
        options = broker_options()["broker_transport_options"]
        self.connection = Connection(broker_url, transport_options=options)  # type: ignore[no-untyped-call]  # kombu
        self._names = [plan_queue(queue) for queue in queues]
        self._plan = plan
        self._thread = threading.Thread(target=self.run, name="plan", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it after the message in hand."""
        self.should_stop = True
        self._thread.join(5.0)

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:
        """kombu's hook: what to consume on each new connection."""
        queues = [Queue(name, routing_key=name) for name in self._names]  # type: ignore[no-untyped-call]  # kombu
        return [Consumer(queues, callbacks=[self._take], accept=["json"], no_ack=True)]

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """kombu's hook: one line; by itself it would log a traceback each time."""
        logger.warning(
            "No jobs can be planned: the broker does not answer (BURNISH_BROKER_URL): %s. Next try in %.0f s",
            exc,
            interval,
        )

    def _take(self, body: Any, message: Any) -> None:
        if message.headers.get("task") != PLAN:
            logger.warning("A message on the plan queue is no plan task: %s", message.headers.get("task"))
            return
        try:
            self._plan(str(body[0][0]))
        except BurnishError as error:  # SQL is away, for example; the tick rings again
            logger.error("A job could not be taken up: %s", error)
        except Exception:
            logger.exception("A job could not be taken up")
