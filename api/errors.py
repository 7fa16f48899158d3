"""Errors as RFC 9457 problem documents. `STATUS` is the one table from error class to status and title."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from apiflask import APIFlask, HTTPError
from flask import Response, render_template, request
from werkzeug.exceptions import HTTPException

from burnish import errors
from burnish.errors import BurnishError, Fault, InvalidSpec
from burnish.resources import FaultResource, Problem

__all__ = ["STATUS", "Refused", "Shown", "install", "problem_of"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """How one error class looks from outside."""

    status: int
    title: str


STATUS: dict[type[BurnishError], Shown] = {
    BurnishError: Shown(500, "Internal error"),
    errors.UserError: Shown(400, "Bad request"),
    errors.InvalidSpec: Shown(422, "The spec has faults"),
    errors.InvalidModel: Shown(422, "The model can't be used"),
    errors.InvalidDataset: Shown(422, "The dataset can't be used"),
    errors.UnsupportedModel: Shown(422, "The model can't be treated"),
    errors.NotFound: Shown(404, "Not found"),
    errors.Conflict: Shown(409, "Conflict with the present state"),
    errors.Unauthorized: Shown(401, "Token missing or not valid"),
    errors.TooLarge: Shown(413, "Too large"),
    errors.BadSetting: Shown(500, "A setting can't be used"),
    errors.ResourceError: Shown(503, "Not enough resources"),
    errors.OutOfMemory: Shown(503, "Out of memory"),
    errors.DiskFull: Shown(507, "No space left"),
    errors.StepTimeout: Shown(504, "Out of time"),
    errors.WorkerLost: Shown(503, "A worker was lost"),
    errors.Unavailable: Shown(503, "Not available now"),
    errors.InternalError: Shown(500, "Internal error"),
    errors.StepCrashed: Shown(500, "A step crashed"),
    errors.BlobCorrupt: Shown(500, "Stored bytes are damaged"),
}
"""Every class of `burnish.errors.ERRORS`."""


@dataclass(frozen=True)
class _Refusal:
    code: str
    title: str
    cure: str


_REFUSALS: dict[int, _Refusal] = {
    400: _Refusal("user", "The request can't be read", "Correct the request."),
    403: _Refusal("unauthorized", "Refused", "Send it from the service's own page, or with the CLI."),
    404: _Refusal("not_found", "Not found", "Look up the address in /docs."),
    405: _Refusal("user", "Method not allowed", "Use one of the methods in the Allow header."),
    413: _Refusal("too_large", "Too large", "Send less."),
    415: _Refusal("user", "Media type not taken", "Send the media type that /docs names."),
    416: _Refusal("user", "No such range", "Ask for bytes that are there."),
    422: _Refusal("spec.invalid", "The request has faults", "Correct each and send it again."),
    503: _Refusal("resource.unavailable", "Busy", "Try again in a few seconds."),
}
"""What HTTP itself refuses: no error of the tree stands behind it, but clients go by its code all the same."""


class Refused(Exception):
    """A request that is refused for how it was sent: what only HTTP has, and no other part of Burnish."""

    def __init__(
        self, status: int, message: str, *, cure: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.cure = cure or _REFUSALS[status].cure
        self.headers = dict(headers or {})


def problem_of(error: BurnishError) -> Problem:
    """The problem document of an error."""
    shown = STATUS[type(error)]
    return Problem(
        type=f"about:burnish#{error.code}",
        title=shown.title,
        status=shown.status,
        detail=error.message,
        code=error.code,
        error_class=error.error_class,
        where=error.where,
        cure=error.cure,
        faults=_shown_faults(error.faults if isinstance(error, InvalidSpec) else ()),
    )


def install(app: APIFlask) -> None:
    """Makes every error of the app a problem document (or, for a page in a browser, a page that shows one)."""
    app.register_error_handler(BurnishError, _burnish)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(Exception, _unknown)
    app.error_processor(_http)


def _burnish(error: BurnishError) -> Response:
    problem = problem_of(error)
    if problem.status >= 500:
        _log.error("%s %s: %s", request.method, request.path, error, exc_info=error)
    headers = {401: {"WWW-Authenticate": 'Bearer realm="burnish"'}, 503: {"Retry-After": "2"}}
    return _answer(problem, headers.get(problem.status, {}))


def _refused(error: Refused) -> Response:
    return _answer(_refusal_problem(error.status, error.message, error.cure, ()), error.headers)


def _http(error: HTTPError) -> Response:
    """What Flask or APIFlask refused: unknown address, method, query parameters that don't validate."""
    faults = _query_faults(error.detail)
    detail = " ".join(str(fault) for fault in faults) or f"{request.method} {request.path}: {error.message}."
    return _answer(
        _refusal_problem(error.status_code, detail, None, faults),
        {name: str(value) for name, value in dict(error.headers).items()},
    )


def _refusal_problem(status: int, detail: str, cure: str | None, faults: Sequence[Fault]) -> Problem:
    refusal = _REFUSALS.get(status, _REFUSALS[400])
    return Problem(
        type=f"about:burnish#{refusal.code}",
        title=refusal.title,
        status=status,
        detail=detail,
        code=refusal.code,
        error_class="resource" if status >= 500 else "user",
        cure=cure or refusal.cure,
        faults=_shown_faults(faults),
    )


def _query_faults(detail: object) -> list[Fault]:
    """APIFlask's `{location: {field: [message]}}` as faults at `?field`."""
    located = detail.values() if isinstance(detail, Mapping) else ()
    return [
        Fault(where=f"?{field}", message=f"{str(message).removeprefix('Value error, ')}.", cure="Correct the value.")
        for fields in located
        for field, messages in fields.items()
        for message in messages
    ]


def _unknown(error: Exception) -> Response | HTTPException:
    """The last resort: whatever arrives here is a fault of ours. The log has it, the answer does not."""
    if isinstance(error, HTTPException):  # redirects of Flask's own routing come by here
        return error
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    problem = problem_of(
        errors.InternalError(
            "Burnish failed on this request, by a fault of its own.",
            cure="Send it again; if it fails again, report it with the lines that the API's log has of this moment.",
        )
    )
    return _answer(problem, {})


def _shown_faults(faults: Sequence[Fault]) -> tuple[FaultResource, ...]:
    return tuple(FaultResource(**asdict(fault)) for fault in faults)


def _answer(problem: Problem, headers: Mapping[str, str]) -> Response:
    if _is_page():
        body, kind = render_template("error.html", problem=problem), "text/html"
    else:
        body, kind = problem.model_dump_json(), "application/problem+json"
    response = Response(body, problem.status, headers=dict(headers), mimetype=kind)
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_page() -> bool:
    """True if a person reads the answer: outside `/v1`, in something that prefers HTML to JSON."""
    accepted = request.accept_mimetypes
    return not request.path.startswith("/v1/") and accepted["text/html"] > accepted["application/json"]
