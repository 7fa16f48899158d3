"""Pages that follow what they show: a whole page first, then its changing part again whenever that changed.

A page `NAME` is two templates: `NAME.html` extends `live.html` and `NAME_fragment.html` is what changes. The page polls
its fragment with the ETag at hand; an unchanged one costs a 304. Event streams are not used: each would hold one of six
slots of the server, and one of six connections that a browser makes to a site, so that a few open tabs starve the rest.
"""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, render_template, request

__all__ = ["live_fragment", "live_page"]


def live_page(name: str, *, fragment_url: str, etag: str | None = None, unfinished: bool, **context: Any) -> Response:
    """The whole page.

    Args:
        name: of its templates.
        fragment_url: where its changing part is asked for.
        etag: what changes with that part; by default a hash of its text.
        context: for the templates; they also get `whole`, true if this is the whole page.
        unfinished: it is going to change soon; without JavaScript it is then loaded again every two seconds.
    """
    context["unfinished"] = unfinished
    etag = etag or _hash(render_template(f"{name}_fragment.html", **context, whole=False))
    shown = render_template(
        f"{name}.html",
        **context,
        fragment=f"{name}_fragment.html",
        fragment_url=fragment_url,
        etag=f'W/"{etag}"',
        whole=True,
    )
    response = Response(shown, mimetype="text/html")
    response.headers["Cache-Control"] = "private, no-store"
    return response


def live_fragment(name: str, *, etag: str | None = None, unfinished: bool, **context: Any) -> Response:
    """The changing part alone, or a 304. Takes what `live_page` takes, so that both can be made from one context."""
    context.pop("fragment_url", None)
    body = render_template(f"{name}_fragment.html", unfinished=unfinished, whole=False, **context)
    response = Response(body, mimetype="text/html")
    response.set_etag(etag or _hash(body), weak=True)
    response.headers["Cache-Control"] = "private, no-store"
    if unfinished:
        response.headers["Retry-After"] = "1"
    response.make_conditional(request)
    return response


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:32]
