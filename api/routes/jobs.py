"""Jobs: submit, follow by polling, cancel, retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field

from api.bodies import json_of
from api.documents import job_summary
from api.idempotency import body_hash, remember, replayed
from api.job_actions import FINISHED, accept, ring, whole
from api.paging import PageQuery, page
from api.replies import reply, unchanged
from api.services import services
from api.submission import check, job_change
from burnish.errors import BurnishError
from burnish.resources import ArtifactList, JobResource, JobSummary, Page
from storage import jobs
from storage.database import Transaction
from storage.records import Job

__all__ = ["blueprint"]

blueprint = APIBlueprint("jobs", __name__, url_prefix="/v1")


class JobsQuery(PageQuery):
    """Query of the list of jobs."""

    state: Literal["queued", "running", "canceling", "succeeded", "failed", "canceled"] | None = None
    """Only jobs in this state."""
    model: str | None = None
    """Only jobs of this model (its id, or its name for all its versions)."""
    outcome: Literal["improved", "no_gain", "target_missed"] | None = None
    """Only jobs with this verdict."""
    search: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[^\x00]+$")
    """Only jobs with this in the name of their model or dataset, or in their id."""


@blueprint.post("/jobs")
@blueprint.output(JobResource, 202)
@blueprint.doc(
    responses={400: "Not JSON.", 409: "The key was used before.", 415: "Not sent as JSON.",
               422: "The spec has faults: all of them are listed, each with its path."},
    extensions={"x-body": {"application/json": "JobSpec"}},
)  # fmt: skip
def submit_job() -> Response:
    """Submit a job

    Everything that can be known without running it is checked first. Once accepted, a job always ends.
    """
    document, raw = json_of(request)
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(raw))
        if again:
            return again
        job = accept(tx, check(tx, document))
        response = remember(tx, _accepted(whole(tx, job)))
    ring(services(), job)
    return response


@blueprint.get("/jobs")
@blueprint.input(JobsQuery, location="query")
@blueprint.output(Page[JobSummary])
def list_jobs(query_data: JobsQuery) -> Response:
    """List jobs, newest first"""
    with services().database.read() as tx:
        return reply(
            page(
                lambda limit: jobs.list_(
                    tx,
                    after=query_data.cursor,
                    limit=limit,
                    state=query_data.state,
                    model=query_data.model,
                    outcome=query_data.outcome,
                    search=query_data.search,
                ),
                job_summary,
                query_data.limit,
            )
        )


@blueprint.get("/jobs/<id>")
@blueprint.output(JobResource)
def get_job(id: str) -> Response:
    """Get one job with its steps and verdict

    Made for polling: the ETag changes exactly when the job does, a 304 is cheap, and `Retry-After` is there until the
    job is finished.
    """
    with services().database.read() as tx:
        job = jobs.get(tx, id)
        etag, headers = f"{job.id}.{job.revision}", _waiting(job)
        return unchanged(etag, headers) or reply(whole(tx, job), etag=etag, headers=headers)


@blueprint.get("/jobs/<id>/artifacts")
@blueprint.output(ArtifactList)
def list_artifacts(id: str) -> Response:
    """List what the job made for download, the chosen one first"""
    with services().database.read() as tx:
        return reply(ArtifactList(items=whole(tx, jobs.get(tx, id)).artifacts))


@blueprint.patch("/jobs/<id>")
@blueprint.output(JobResource)
@blueprint.doc(
    responses={400: "Not JSON.", 404: "No such job.", 409: "It has ended, or is being canceled.",
               415: "Not sent as JSON.", 422: "Not a priority from 0 to 9, or something else beside it."},
    extensions={"x-body": {"application/json": "JobChange"}},
)  # fmt: skip
def change_job(id: str) -> Response:
    """Change the priority of a job

    Its ready steps move with it; what it shares with other jobs goes by the most urgent of them. The time that it has
    waited still counts.
    """
    document, _ = json_of(request)
    change = job_change(document)
    with services().database.begin() as tx:
        job = jobs.set_priority(tx, id, change.priority)
        answer = reply(whole(tx, job))
    ring(services(), job)
    return answer


@blueprint.post("/jobs/<id>/cancel")
@blueprint.output(JobResource, 202)
@blueprint.doc(responses={404: "No such job.", 409: "It is finished."})
def cancel_job(id: str) -> Response:
    """Cancel a job

    A queued job stops at once, a running one within seconds: its state is `canceling` until then.
    """
    return _act(id, jobs.request_cancel)[0]


@blueprint.post("/jobs/<id>/retry")
@blueprint.output(JobResource, 202)
@blueprint.doc(responses={404: "No such job.", 409: "It is neither failed nor canceled."})
def retry_job(id: str) -> Response:
    """Run a failed or canceled job again

    Steps that were done are read from the cache.
    """
    response, job = _act(id, jobs.retry)
    if job is not None:
        ring(services(), job)
    return response


def _act(id: str, action: Callable[[Transaction, str], Job]) -> tuple[Response, Job | None]:
    """The answer, and the job unless the request was answered before.

    A job that can't be shown, by a fault of ours, is acted upon all the same: somebody may have to get rid of it.
    """
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(id))
        if again:
            return again, None
        job = action(tx, id)
        try:
            return remember(tx, _accepted(whole(tx, job))), job
        except BurnishError:  # of SQL, which takes back everything
            raise
        except Exception as error:  # noqa: BLE001 - raised behind the commit
            fault = error
    raise fault


def _accepted(job: JobResource) -> Response:
    return reply(job, 202, headers={"Location": job.links["self"], "Retry-After": "1"})


def _waiting(job: Job) -> dict[str, str]:
    return {} if job.state in FINISHED else {"Retry-After": "1"}
