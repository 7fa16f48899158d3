"""Two or more results side by side."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, render_template, request

from api.comparison import compare
from api.errors import Refused
from api.job_actions import whole
from api.services import services
from storage import jobs

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_compare", __name__, enable_openapi=False)

_MOST = 8
"""More columns than that can't be read side by side."""


@blueprint.get("/compare")
def page() -> Response:
    """The jobs named by `?job=…&job=…`.

    Raises:
        NotFound: there is no such job.
        Refused: more jobs than can be shown.
    """
    ids = list(dict.fromkeys(request.args.getlist("job")))
    if len(ids) > _MOST:
        raise Refused(400, f"{len(ids)} jobs can't be read side by side.", cure=f"Select at most {_MOST}.")
    with services().database.read() as tx:
        shown = [whole(tx, jobs.get(tx, id)) for id in ids]
    comparison = compare(shown) if len(shown) > 1 else None
    response = Response(render_template("compare.html", comparison=comparison, one=shown, here="jobs"))
    response.headers["Cache-Control"] = "private, no-store"
    return response
