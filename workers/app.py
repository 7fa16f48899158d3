"""The Celery app of a worker: one thin task. Its name, and the broker's settings, are in `storage/doorbell.py`; the
doorbells of new jobs are taken elsewhere (`workers/plan_consumer.py`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import Celery

from burnish.errors import BurnishError
from storage.doorbell import STEP, broker_options
from workers.runner import Runner

__all__ = ["make_app"]

logger = logging.getLogger(__name__)


def make_app(broker_url: str, runner: Runner, queues: Sequence[str]) -> Celery:
    """An app whose task calls `runner`; its workers consume `queues`."""
    app = Celery("burnish", broker=broker_url, set_as_current=False)
    app.conf.update(broker_options())
    app.conf.update(
        task_queues=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    app.amqp.queues.select(queues)

    @app.task(name=STEP)  # type: ignore[untyped-decorator]  # celery ships no types
    def step(key: str) -> None:
        try:
            runner.execute(key)
        except BurnishError as error:  # Celery would tell it with a traceback of its own; the tick rings again
            logger.error("What the doorbell for %s was rung for is left: %s", key[:12], error)

    return app
