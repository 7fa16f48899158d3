"""The Celery app of a worker: two thin tasks. Their names, and the broker's settings, are in `storage/doorbell.py`."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from storage.doorbell import PLAN, STEP, broker_options
from workers.runner import Runner

__all__ = ["make_app"]


def make_app(broker_url: str, runner: Runner, queues: Sequence[str]) -> Celery:
    """An app whose tasks call `runner`; its workers consume `queues`."""
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

    @app.task(name=PLAN)  # type: ignore[untyped-decorator]  # celery ships no types
    def plan(job_id: str) -> None:
        runner.plan(job_id)

    @app.task(name=STEP)  # type: ignore[untyped-decorator]
    def step(key: str) -> None:
        runner.execute(key)

    return app
