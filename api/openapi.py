"""Completes the OpenAPI document that APIFlask collects from the routes.

1. Schemas get plain names (`StepResource`, not `JobResource.StepResource`), each once.
2. `x-body` of a route becomes its request body: media type → name of a schema (or several, `A | B`),
   `bytes`, `text` or `any` object; `x-content` the same of its responses: status → media type → schema. `x-headers` are
   the request headers that it reads.
3. Every error response is a problem document; those that any route can give are added to each.
4. Documents (GET, JSON) have an ETag, take `If-None-Match` and may answer 304. Every POST takes `Idempotency-Key`, but
   for those with `x-stores-nothing`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from burnish.recipe import JobSpec, ScheduleSpec
from burnish.resources import (
    AliasChange,
    JobChange,
    Problem,
    RecipeQuestion,
    ScheduleChange,
    UploadOrder,
    WebhookChange,
    WebhookSpec,
)

__all__ = ["complete"]

JsonObject = dict[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")
_COMMON = {"401": "Token missing or not valid.", "403": "Sent by a page of another site.", "500": "A fault of Burnish.",
           "503": "A part of the service can't be reached, or is busy: see Retry-After."}  # fmt: skip
_PROBES = ("/healthz", "/readyz")
_RESOURCES = (
    "models", "datasets", "uploads", "recipes", "jobs", "artifacts", "schedules", "webhooks", "passes", "workers",
)  # fmt: skip
_BODIES = (JobSpec, JobChange, Problem, UploadOrder, RecipeQuestion, ScheduleSpec, ScheduleChange, AliasChange,
           WebhookSpec, WebhookChange)  # fmt: skip
"""What routes name as their `x-body`, and what every error is."""

IDEMPOTENCY: JsonObject = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "Sent again with the same body within 24 hours, the first answer is given again; with another "
    "body it is a 409.",
}
IF_NONE_MATCH: JsonObject = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "ETag of the version at hand; if it is still the newest, the answer is 304.",
}
_HEADERS = {
    "Content-Digest": "`sha-256=:BASE64:` (RFC 9530) of the body; other bytes than these are refused.",
    "Range": "One range of bytes, `bytes=0-99`.",
    "If-None-Match": "The ETag at hand; if it is still the one, the answer is 304.",
    "If-Range": "The ETag that the range is of; of another version the whole is sent.",
    "Last-Event-ID": "Id of the last event that was seen of a stream, to resume it.",
}
"""Headers that single routes read, named in their `x-headers`."""
ETAG: JsonObject = {"ETag": {"schema": {"type": "string"}, "description": "Changes with the document (weak)."}}


def complete(collected: JsonObject | str) -> JsonObject | str:
    """The finished document."""
    assert isinstance(collected, dict)  # text would be YAML, which is not what the app is set to
    spec = _with_plain_names(collected)
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPError", "ValidationError"):
        schemas.pop(unused, None)
    for kind in _BODIES:
        _register(schemas, kind.__name__, kind.model_json_schema(ref_template="#/components/schemas/{model}"))
    for path, operations in spec["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete_operation(path, method, operations[method])
    spec["paths"] = dict(sorted(spec["paths"].items(), key=_place))
    spec["security"] = [{"bearer": []}, {}]
    return spec


def _with_plain_names(spec: JsonObject) -> JsonObject:
    schemas = spec.get("components", {}).get("schemas", {})
    plain = {name: _plain(name) for name in schemas}
    text = json.dumps(spec)
    for name, new in sorted(plain.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(json.dumps(f"#/components/schemas/{name}"), json.dumps(f"#/components/schemas/{new}"))
    renamed: JsonObject = json.loads(text)
    if schemas:
        renamed["components"]["schemas"] = {
            plain[name]: body for name, body in renamed["components"]["schemas"].items()
        }
    return renamed


def _plain(name: str) -> str:
    """`JobResource.StepResource` → `StepResource`; `Page[JobSummary]` → `JobSummaryPage`."""
    last = name.rsplit(".", 1)[-1]
    page = re.fullmatch(r"Page[\[_](\w+?)[\]_]", last)
    return f"{page[1]}Page" if page else last


def _place(path: tuple[str, JsonObject]) -> tuple[int, str]:
    """By resource, in the order in which they are used; what lies outside `/v1` comes last."""
    parts = path[0].split("/")
    resource = parts[2] if parts[1] == "v1" else ""
    return (_RESOURCES.index(resource) if resource in _RESOURCES else len(_RESOURCES), path[0])


def _register(schemas: JsonObject, name: str, schema: JsonObject) -> None:
    for inner, body in schema.pop("$defs", {}).items():
        schemas.setdefault(inner, body)
    schemas.setdefault(name, schema)


def _complete_operation(path: str, method: str, operation: JsonObject) -> None:
    operation["operationId"] = operation.get("operationId") or _operation_id(path, method)
    parameters: list[JsonObject] = operation.setdefault("parameters", [])
    body = operation.pop("x-body", None)
    if body:
        operation["requestBody"] = {"required": True, "content": {kind: _content(body[kind]) for kind in body}}
    parameters += [_header(name) for name in operation.pop("x-headers", ())]
    if method == "post" and not operation.pop("x-stores-nothing", False):
        parameters.append(IDEMPOTENCY)
    responses: JsonObject = operation["responses"]
    contents = operation.pop("x-content", {})
    for status, content in contents.items():
        responses[status]["content"] = {kind: _content(name) for kind, name in content.items()}
        if not content:
            del responses[status]["content"]
    if method == "get" and "application/json" in responses.get("200", {}).get("content", {}) and path not in _PROBES:
        parameters.append(IF_NONE_MATCH)
        responses["200"].setdefault("headers", {}).update(ETAG)
        responses["304"] = {"description": "Not changed since the ETag given.", "headers": ETAG}
    if path in _PROBES:
        operation["security"] = []
    else:
        for status, description in _COMMON.items():
            responses.setdefault(status, {"description": description})
    if parameters and not path.startswith("/healthz") and any(item["in"] == "query" for item in parameters):
        responses.setdefault("422", {"description": "A parameter has a fault."})
    for status, response in responses.items():
        if status[0] == "3":
            response.pop("content", None)
        if status[0] in "45" and status not in contents:
            response["content"] = {"application/problem+json": _content("Problem")}
    operation["responses"] = dict(sorted(responses.items()))


def _header(name: str) -> JsonObject:
    described = {"schema": {"type": "string"}, "description": _HEADERS[name]}
    return {"name": name, "in": "header", "required": False, **described}


def _content(schema: str) -> JsonObject:
    if schema == "bytes":
        return {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    if schema == "text":
        return {"schema": {"type": "string"}}
    if schema == "any":
        return {"schema": {"type": "object"}}
    if " | " in schema:
        return {"schema": {"anyOf": [_content(each)["schema"] for each in schema.split(" | ")]}}
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}}


def _operation_id(path: str, method: str) -> str:
    words = re.sub(r"[^a-z]+", "_", path.removeprefix("/v1").lower()).strip("_")
    return f"{method}_{words}"
