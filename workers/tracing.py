"""What the log lines about a job or a computation carry, and the trace that a step's process goes on with."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.trace import Trace
from storage.records import Claim, Job
from storage.steps import Waiting

__all__ = ["about_claim", "about_job", "trace_of"]


def about_job(job: Job) -> dict[str, object]:
    """Members of the log lines about a job."""
    trace = Trace.parse(job.traceparent)
    return {"job": job.id, "trace": trace.trace_id if trace else None}


def about_claim(claim: Claim, waiting: Sequence[Waiting]) -> dict[str, object]:
    """Members of the log lines about an attempt: those of the oldest job that waits for it; if there are several, the
    ids of all as well."""
    traces = [trace.trace_id for each in waiting if (trace := Trace.parse(each.traceparent))]
    members: dict[str, object] = {"op": claim.op, "key": claim.key[:12], "attempt": claim.attempt}
    if waiting:
        members |= {"job": waiting[0].job_id, "step": waiting[0].step, "trace": traces[0] if traces else None}
    if len(waiting) > 1:
        members |= {"jobs": [each.job_id for each in waiting], "traces": traces}
    return members


def trace_of(waiting: Sequence[Waiting]) -> Trace | None:
    """The trace of the oldest job that waits, one step further."""
    found = next((trace for each in waiting if (trace := Trace.parse(each.traceparent))), None)
    return found.child() if found else None
