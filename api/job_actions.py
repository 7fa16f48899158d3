"""What can be done to jobs, for the REST routes and the pages alike. The doorbell is rung after the commit."""

from __future__ import annotations

import logging

from api.documents import job_resource
from api.services import Services
from api.submission import Order
from api.tracing import current_trace
from burnish.errors import BurnishError
from burnish.resources import JobResource
from storage import firings, jobs, steps
from storage.database import Transaction
from storage.records import Job

__all__ = ["FINISHED", "accept", "ring", "whole"]

FINISHED = frozenset({"succeeded", "failed", "canceled"})
"""States that a job stays in, unless it is retried."""

_log = logging.getLogger(__name__)


def accept(tx: Transaction, order: Order) -> Job:
    """Writes the job: from here on it will end, whatever else fails."""
    return jobs.create(
        tx,
        spec=order.spec.model_dump(mode="json"),
        model=order.model,
        dataset=order.dataset,
        priority=order.spec.priority,
        traceparent=str(current_trace()),
    )


def whole(tx: Transaction, job: Job) -> JobResource:
    """The job with its steps and where it came from."""
    firing = firings.of_job(tx, job.id)
    return job_resource(job, steps.of_job(tx, job.id), firing.schedule_id if firing else None)


def ring(services: Services, job: Job) -> None:
    """Says that the job waits to be planned. Best effort: if the broker is away, the tick says it again later."""
    try:
        services.doorbell.plan(job.id, job.device, job.priority)
    except BurnishError as error:
        _log.warning("job %s is accepted, but the doorbell could not be rung: %s", job.id, error)
