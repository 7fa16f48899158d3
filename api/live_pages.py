"""Pages that follow what they show: a whole page first, then its changing part again whenever that changed.

A page `NAME` is two templates: `NAME.html` extends `live.html` and `NAME_fragment.html` is what changes. The page polls
its fragment with the ETag at hand; an unchanged one costs a 304. Event streams are not used: each would hold one of
the six connections that a browser makes to a site, so that a few open tabs starve the rest.
"""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

from flask import Response, render_template, request

__all__ = ["live_body", "live_fragment", "live_page", "packed_page"]


def live_page(name: str, *, fragment_url: str, etag: str | None = None, unfinished: bool, **context: Any) -> Response:
    """The whole page.

    Args:
        name: of its templates.
        fragment_url: where its changing part is asked for.
        etag: what changes with that part; by default a hash of its text.
        context: for the templates; they also get `whole`, true if this is the whole page.
        unfinished: it is going to change soon; without JavaScript it is then loaded again every two seconds (unless
            the context says `reload=False`).
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
    body = live_body(name, unfinished=unfinished, **context)
    response = Response(body, mimetype="text/html")
    response.set_etag(etag or _hash(body), weak=True)
    response.headers["Cache-Control"] = "private, no-store"
    if unfinished:
        response.headers["Retry-After"] = "1"
    response.make_conditional(request)
    return response


def live_body(name: str, *, fragment_url: str = "", **context: Any) -> str:
    """The text of the changing part. Takes what `live_page` takes."""
    return render_template(f"{name}_fragment.html", **context, whole=False)


def packed_page(body: bytes, etag: str) -> Response:
    """The answer of `live_fragment` to an unfinished page, from its text as gzip has it."""
    takes_gzip = request.accept_encodings["gzip"] > 0
    response = Response(body if takes_gzip else gzip.decompress(body), mimetype="text/html")
    if takes_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(etag, weak=True)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Retry-After"] = "1"
    return response


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:32]
