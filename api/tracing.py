"""The trace that a request belongs to: the client's (`traceparent`), or one that begins here.

All log lines of the request carry its id, the job that it submits keeps it, and the answer names it in `traceparent`.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import ExitStack
from typing import cast

from apiflask import APIFlask
from flask import Response, g, request

from burnish.logs import about
from burnish.trace import Trace

__all__ = ["current_trace", "install"]

logger = logging.getLogger(__name__)
_JOB = re.compile(r"job_[0-9a-z]+")
_QUIET = frozenset({"GET", "HEAD", "OPTIONS"})


def install(app: APIFlask) -> None:
    """Gives every request of the app its trace, and its log lines the id; changes and failures are logged."""
    app.before_request(_begin)
    app.after_request(_name)
    app.teardown_request(_end)


def current_trace() -> Trace:
    """The place of the present request in its trace."""
    return cast(Trace, g.trace)


def _begin() -> None:
    above = Trace.parse(request.headers.get("traceparent"))
    g.trace = above.child() if above else Trace.new()
    g.trace_began = time.monotonic()
    g.log_about = ExitStack()
    id_ = str((request.view_args or {}).get("id", ""))
    g.log_about.enter_context(about(trace=g.trace.trace_id, job=id_ if _JOB.fullmatch(id_) else None))


def _name(response: Response) -> Response:
    if "trace" not in g:  # refused before the first hook of ours
        return response
    response.headers["traceparent"] = str(g.trace)
    failed = response.status_code >= 500
    if failed or request.method not in _QUIET:
        route = request.url_rule.rule if request.url_rule else "none"  # an address may hold what should stay private
        said = (request.method, route, response.status_code, time.monotonic() - g.trace_began)
        logger.log(logging.WARNING if failed else logging.INFO, "%s %s: %d in %.3f s", *said)
    return response


def _end(error: BaseException | None) -> None:
    stack = g.pop("log_about", None)
    if stack is not None:
        stack.close()
