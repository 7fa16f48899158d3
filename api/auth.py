"""Who may ask: bearer tokens, the same token in a cookie for pages, and nothing from other sites' pages.

1. Without configured tokens the service is open, and then only answers to loopback names (so that a foreign page
   can't reach it by pointing its own name at 127.0.0.1).
2. A token is compared by its SHA-256 in constant time with every accepted one.
3. A browser says where a request comes from (`Sec-Fetch-Site`, `Origin`). What changes something is refused when
   that is another site: a cookie, or mere reach of loopback, is no consent.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import quote, urlsplit

from apiflask import APIFlask
from flask import redirect, request
from werkzeug.wrappers import Response

from api.errors import Refused
from api.services import services
from burnish.errors import Unauthorized

__all__ = ["COOKIE", "accepted", "install", "is_loopback", "keep_token"]

COOKIE = "burnish_token"

_OPEN = frozenset(
    {"health.healthz", "health.readyz", "static", "openapi.spec", "pages.docs", "pages.login", "pages.enter"}
)
"""Endpoints that need no token: probes, the description of the API, and the way in."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def install(app: APIFlask) -> None:
    """Checks every request before its route runs."""
    app.before_request(_check)


def accepted(token: str, digests: tuple[str, ...]) -> bool:
    """True if the token is one of those whose SHA-256 is accepted. Looks at all of them, whatever it finds."""
    given = hashlib.sha256(token.encode()).hexdigest()
    matches = [hmac.compare_digest(given, digest) for digest in digests]
    return any(matches)


def is_loopback(host: str) -> bool:
    """True for `localhost` and every loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check() -> Response | None:
    _refuse_foreign()
    if not services().settings.tokens:
        _refuse_rebound()
        return None
    if request.endpoint in _OPEN or accepted(_token(), services().settings.tokens):
        return None
    if request.endpoint is not None and request.endpoint.startswith("pages") and request.method in _SAFE:
        return redirect(f"/login?next={quote(request.full_path.rstrip('?'))}", 303)
    raise Unauthorized(
        "This service needs a token, and the request has none that it accepts.",
        cure="Send `Authorization: Bearer …` (the CLI takes it from BURNISH_TOKEN).",
    )


def _token() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")


def _refuse_foreign() -> None:
    if request.method in _SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    if site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc != request.host):
        raise Refused(403, "A page of another site sent this.")


def _refuse_rebound() -> None:
    host = urlsplit(f"//{request.host}").hostname or ""
    if not is_loopback(host):
        raise Refused(
            403,
            f"Without tokens this service answers on loopback only, and it was asked as {host!r}.",
            cure="Use http://127.0.0.1, or start it with BURNISH_TOKENS.",
        )


def keep_token(response: Response, token: str) -> None:
    """Sets the cookie that carries the token of a person's browser, for this site's own pages only."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure, max_age=30 * 86400)
