"""The list of jobs as a page: filters, pages by cursor, what to do with several at once."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args
from urllib.parse import urlencode

from apiflask import APIBlueprint
from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from api.documents import job_summary
from api.errors import Refused
from api.job_actions import ring
from api.live_pages import live_body, live_page, packed_page
from api.paging import page
from api.rendered import Rendered
from api.replies import unchanged
from api.services import services
from burnish.errors import Conflict, NotFound
from storage import jobs, models
from storage.database import Transaction
from storage.records import Job, JobState

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_jobs", __name__, enable_openapi=False)

_PER_PAGE = 50
_MOST_AT_ONCE = 200
_NAMES = 200
"""Names of models that the filter proposes."""
_STATES: tuple[str, ...] = get_args(JobState)
_OUTCOMES = ("improved", "no_gain", "target_missed")
_rendered = Rendered(32)
"""The key has all that decides what a list shows; ids are unique beyond one database."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What of the list is shown. A value that means nothing is as good as none: a page is no place for a 422."""

    state: JobState | None = None
    outcome: str | None = None
    model: str | None = None
    search: str | None = None

    @classmethod
    def of(cls, args: Mapping[str, str]) -> Filters:
        """From the query of the page."""
        state, outcome = args.get("state"), args.get("outcome")
        return cls(
            state=cast(JobState, state) if state in _STATES else None,
            outcome=outcome if outcome in _OUTCOMES else None,
            model=_text(args.get("model", "")),
            search=_text(args.get("search", "")),
        )

    @property
    def given(self) -> dict[str, str]:
        """Those that are set, as the query has them."""
        return {name: value for name, value in vars(self).items() if value is not None}


def _text(given: str) -> str | None:
    """What SQL can look for: no text holds a NUL, and PostgreSQL refuses to be asked."""
    return given.replace("\0", "").strip()[:200] or None


@blueprint.get("/")
def index() -> Response:
    """All jobs."""
    return live_page(**_shown(_etag()))


@blueprint.get("/fragment")
def fragment() -> Response:
    """What changes of that page. A list in which nothing moved is not even read whole."""
    etag = _etag()
    # After a change every open page asks for the same: it is rendered once, not once for each.
    key = (request.query_string.decode("latin-1"), etag)
    return unchanged(etag) or packed_page(_rendered.get(key, lambda: _packed(etag)), etag)


@blueprint.post("/jobs/act")
def act() -> BaseResponse:
    """Cancels or retries the jobs that were ticked, each for itself, and shows the list again.

    Raises:
        Refused: neither cancel nor retry was asked for, or too many jobs are named.
    """
    action, ids = request.form.get("action"), request.form.getlist("job")
    if action not in ("cancel", "retry"):
        raise Refused(400, "Nothing to do was named.", cure="Use the buttons of the list.")
    if len(ids) > _MOST_AT_ONCE:
        raise Refused(400, f"{len(ids)} jobs at once are too many.", cure=f"Select at most {_MOST_AT_ONCE}.")
    done = sum(_act(id, jobs.request_cancel if action == "cancel" else jobs.retry, action == "retry") for id in ids)
    told = {{"cancel": "canceled", "retry": "retried"}[action]: str(done), "left": str(len(ids) - done)}
    return redirect(f"/?{urlencode({**Filters.of(request.args).given, **_cursor(), **told})}", 303)


def _packed(etag: str) -> bytes:
    return gzip.compress(live_body(**_shown(etag)).encode(), compresslevel=6, mtime=0)


def _act(id: str, action: Callable[[Transaction, str], Job], starts: bool) -> bool:
    """False if the job is in no state for it: another may have been quicker."""
    try:
        with services().database.begin() as tx:
            job = action(tx, id)
    except (Conflict, NotFound):
        return False
    if starts:
        ring(services(), job)
    return True


def _cursor() -> dict[str, str]:
    cursor = _text(request.args.get("cursor", ""))
    return {"cursor": cursor} if cursor else {}


def _etag() -> str:
    """Changes with what the list shows: which jobs, their states, their ends."""
    filters, cursor = Filters.of(request.args), _cursor().get("cursor")
    with services().database.read() as tx:
        marks = jobs.list_marks(tx, after=cursor, limit=_PER_PAGE + 1, **vars(filters))
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:32]


def _shown(etag: str) -> dict[str, Any]:
    filters, cursor = Filters.of(request.args), _cursor().get("cursor")
    with services().database.read() as tx:
        found = page(lambda limit: jobs.list_(tx, after=cursor, limit=limit, **vars(filters)), job_summary, _PER_PAGE)
        names = models.names(tx, _NAMES)
    query = {**filters.given, **_cursor()}
    return {
        "name": "jobs",
        "jobs": found.items,
        "filters": filters,
        "states": _STATES,
        "outcomes": _OUTCOMES,
        "model_names": names,
        "query": urlencode(query),
        "next_query": urlencode({**filters.given, "cursor": found.next}) if found.next else None,
        "first_query": urlencode(filters.given) if cursor else None,
        "told": {name: request.args.get(name, 0, int) for name in ("canceled", "retried", "left")},
        "unfinished": True,
        "reload": False,  # without JavaScript it would undo what is ticked
        "fragment_url": "/fragment" + (f"?{urlencode(query)}" if query else ""),
        "etag": etag,
        "here": "jobs",
    }
