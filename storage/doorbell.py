"""The doorbell: hints to workers, sent through the broker by task name. SQL is the truth; a lost hint is rung again."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from burnish.errors import Unavailable

__all__ = ["PLAN", "STEP", "Doorbell", "broker_options", "plan_queue"]

PLAN = "burnish.plan"
"""Task: plan the job with this id."""
STEP = "burnish.step"
"""Task: claim the computation of this key, and run it."""
_PUBLISH_SECONDS = 0.9
"""Longest wait to connect to the broker, and again for its answer."""

_CONNECTIONS = 256
"""Most connections of one sender; they are made as threads need them."""


def plan_queue(queue: str) -> str:
    """Where jobs to plan wait: apart from the steps, so that planning never waits for a free slot."""
    return f"{queue}.plan"


def broker_options() -> dict[str, Any]:
    """The Celery configuration that sender and worker share.

    A message is acknowledged on receipt, never redelivered, and has no result: leases and results are in SQL. On Redis
    priority 0 is the most urgent, as it is in our rows.
    """
    return {
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "task_acks_on_failure_or_timeout": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_publish_retry": False,  # the tick is the retry
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
            "sep": ":",
            "global_keyprefix": "burnish:",
        },
    }


class Doorbell:
    """Rings workers. Safe to share by threads. Never blocks for more than two seconds."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("burnish", broker=broker_url, set_as_current=False)
        self._app.conf.update(broker_options())
        # Enough for all threads of a process: whoever waits for a connection waits longer than for the broker.
        self._app.conf.broker_pool_limit = _CONNECTIONS
        self._app.conf.broker_transport_options |= {
            "socket_timeout": _PUBLISH_SECONDS,
            "socket_connect_timeout": _PUBLISH_SECONDS,
            "max_retries": 0,
        }

    def plan(self, job_id: str, queue: str, priority: int) -> None:
        """A job is queued. Raises `Unavailable`."""
        self._ring(PLAN, job_id, plan_queue(queue), priority)

    def step(self, key: str, queue: str, priority: int) -> None:
        """A computation is ready. Raises `Unavailable`."""
        self._ring(STEP, key, queue, priority)

    def waiting(self, queue: str) -> int:
        """Doorbells in a queue that nobody has taken yet. Raises `Unavailable`."""
        try:
            with self._app.pool.acquire(block=True) as connection:
                return int(connection.default_channel.queue_declare(queue).message_count)
        except (OperationalError, RedisError, OSError) as error:
            raise _away(f"The broker did not say how long a queue is: {error}.") from error

    def close(self) -> None:
        """Closes the connections."""
        self._app.close()

    def _ring(self, task: str, argument: str, queue: str, priority: int) -> None:
        try:
            self._app.send_task(task, args=[argument], queue=queue, priority=priority, retry=False, ignore_result=True)
        except (OperationalError, RedisError, OSError) as error:
            raise _away(f"The broker did not take a message: {error}.") from error


def _away(message: str) -> Unavailable:
    cure = "Check BURNISH_BROKER_URL and that Valkey runs; what is queued is rung again once it is back."
    return Unavailable(message, cure=cure)
