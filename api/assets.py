"""The files of the pages: style, scripts, plots. Their address holds a hash of all of them: they are kept for ever.

1. `url_for("static", filename=…)` gives `/static/<hash>/<file>`. A script that imports a neighbour by a relative
   address stays within the same hash.
2. Asked by the present hash, an answer may be kept for a year and is never asked for again. By another hash (a page
   from before an upgrade, or from another API process) it is the present file, to be asked for again.
3. Texts are sent compressed, and so are pages.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from apiflask import APIFlask
from flask import Response, request

from burnish.errors import NotFound

__all__ = ["FOLDER", "install"]

FOLDER = Path(__file__).parent / "static"
_COMPRESSED = frozenset({"text/html", "text/css", "text/javascript", "application/javascript", "image/svg+xml"})
_WORTH_IT = 1000
"""Bytes below which a header more costs as much as is saved."""
_YEAR = 365 * 86400


@dataclass(frozen=True)
class _File:
    body: bytes
    small: bytes | None
    """The same, compressed; `None` if that is not worth it."""
    mimetype: str


def install(app: APIFlask) -> None:
    """Serves the files, and compresses pages."""
    app.add_url_rule("/static/<version>/<path:filename>", endpoint="static", view_func=_send)
    app.url_defaults(_with_version)
    app.after_request(_compress)


@cache
def _files() -> dict[str, _File]:
    """All files by name, in memory: together they are small, and a request can name no other."""
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in sorted(FOLDER.rglob("*")) if path.is_file()}


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, file in _files().items():
        digest.update(f"{name}\0{len(file.body)}\0".encode() + file.body)
    return digest.hexdigest()[:16]


def _read(path: Path) -> _File:
    body = path.read_bytes()
    mimetype = mimetypes.guess_type(path.name)[0] or "text/plain"
    small = gzip.compress(body, mtime=0) if mimetype in _COMPRESSED and len(body) > _WORTH_IT else None
    return _File(body, small, mimetype)


def _with_version(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint == "static":
        values.setdefault("version", _version())


def _send(version: str, filename: str) -> Response:
    found = _files().get(filename)
    if found is None:
        raise NotFound(f"There is no file {filename}.", cure="Reload the page.")
    packed = found.small is not None and _takes_gzip()
    response = Response(found.small if packed and found.small else found.body, mimetype=found.mimetype)
    response.set_etag(_version() + ("-gz" if packed else ""))
    response.headers["Vary"] = "Accept-Encoding"
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    kept = version == _version()
    response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable" if kept else "no-cache"
    response.make_conditional(request)
    return response


def _compress(response: Response) -> Response:
    """Pages are text with much repetition: a list of 50 jobs gets ten times smaller."""
    if response.mimetype != "text/html" or response.is_streamed or response.direct_passthrough:
        return response
    response.headers["Vary"] = "Accept-Encoding"
    body = response.get_data()
    if _takes_gzip() and len(body) > _WORTH_IT and "Content-Encoding" not in response.headers:
        response.set_data(gzip.compress(body, compresslevel=4, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def _takes_gzip() -> bool:
    return request.accept_encodings["gzip"] > 0
