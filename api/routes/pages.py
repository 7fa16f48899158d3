"""Pages that show no state: the readable API, and signing in. Each other page has a file of its own beside this one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from api.auth import accepted, keep_token
from api.errors import STATUS
from api.services import services
from burnish.errors import ERRORS

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages", __name__, enable_openapi=False)


@blueprint.get("/docs")
def docs() -> str:
    """The API, readable."""
    spec: dict[str, Any] = current_app._get_spec("json")  # type: ignore[attr-defined]
    operations = [
        (path, method, operation) for path, methods in spec["paths"].items() for method, operation in methods.items()
    ]
    explained = [
        {"code": kind.code, "status": STATUS[kind].status, "error_class": kind.error_class, "meaning": kind.__doc__}
        for kind in ERRORS
    ]
    return render_template("docs.html", spec=spec, operations=operations, errors=explained, here="docs")


@blueprint.get("/login")
def login() -> str:
    """Asks for a token."""
    return render_template("login.html", next=_local(request.args.get("next", "/")), wrong=False)


@blueprint.post("/login")
def enter() -> BaseResponse:
    """Keeps an accepted token in a cookie, and goes on to where the person wanted to."""
    token = request.form.get("token", "").strip()
    target = _local(request.form.get("next", "/"))
    if not accepted(token, services().settings.tokens):
        return Response(render_template("login.html", next=target, wrong=True), 401)
    response = redirect(target, 303)
    keep_token(response, token)
    return response


def _local(address: str) -> str:
    """The address if it is one of this site, else the first page: no way out to elsewhere."""
    parts = urlsplit(address)
    inside = not parts.scheme and not parts.netloc and address.startswith("/") and "\\" not in address
    return address if inside and not address.startswith("//") else "/"
