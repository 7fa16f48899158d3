"""The description of the API: valid, complete, and true."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.api.place import Place

OUTSIDE = {"static", "openapi.spec"}
"""Endpoints that are no part of the API; the pages are not either."""


@pytest.fixture
def spec(guarded: Place) -> dict[str, Any]:
    document: dict[str, Any] = guarded.client.get("/openapi.json").json
    return document


def operations(spec: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, methods in spec["paths"].items() for method, op in methods.items()]


def test_it_is_valid_openapi_3_1(spec: dict[str, Any]) -> None:
    assert spec["openapi"] == "3.1.0"
    validate(spec)


def test_every_route_is_described(guarded: Place, spec: dict[str, Any]) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in guarded.app.url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}
        if rule.endpoint not in OUTSIDE and not rule.endpoint.startswith("pages")
    }
    assert routes == {(path, method) for path, method, _ in operations(spec)}


def test_every_operation_has_a_summary_an_id_of_its_own_and_a_good_answer(spec: dict[str, Any]) -> None:
    found = operations(spec)
    assert len({op["operationId"] for _, _, op in found}) == len(found)
    for path, method, op in found:
        assert op["summary"], path
        assert any(status.startswith("2") for status in op["responses"]), (path, method)


def test_every_refusal_is_a_problem_document(spec: dict[str, Any]) -> None:
    for path, method, op in operations(spec):
        if path in ("/healthz", "/readyz"):
            continue
        assert {"401", "500", "503"} <= set(op["responses"])
        for status, response in op["responses"].items():
            if status[0] in "45":
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (path, method, status)
                assert response["description"]


def test_every_post_that_stores_takes_an_idempotency_key_and_every_document_an_etag(spec: dict[str, Any]) -> None:
    for path, method, op in operations(spec):
        names = {item["name"] for item in op["parameters"]}
        assert ("Idempotency-Key" in names) == (method == "post" and path != "/v1/recipes/check"), path
        is_document = method == "get" and path.startswith("/v1/") and "artifacts/" not in path
        assert ("If-None-Match" in names) == is_document, path
        if is_document:
            assert "304" in op["responses"]


def test_bodies_are_described(spec: dict[str, Any]) -> None:
    paths = spec["paths"]
    assert set(paths["/v1/models"]["post"]["requestBody"]["content"]) == {"application/octet-stream"}
    job = paths["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert job == {"$ref": "#/components/schemas/JobSpec"}
    events = paths["/v1/jobs/{id}/events"]["get"]["responses"]["200"]["content"]
    assert set(events) == {"application/json", "text/event-stream", "application/x-ndjson"}
    assert "content" not in paths["/v1/jobs/{id}/events"]["get"]["responses"]["204"]


def test_every_reference_resolves_and_no_schema_is_there_for_nothing(spec: dict[str, Any]) -> None:
    used = set(re.findall(r"#/components/schemas/([^\"']+)", repr(spec)))
    assert used == set(spec["components"]["schemas"])


def test_the_docs_page_lists_every_route_schema_and_error_and_loads_nothing_from_elsewhere(
    guarded: Place, spec: dict[str, Any]
) -> None:
    from burnish.errors import ERRORS

    page = guarded.client.get("/docs").text
    for path, method, op in operations(spec):
        assert (
            f'<a href="#{op["operationId"]}"><span class="method">{method.upper()}</span> <code>{path}</code>' in page
        )
        assert f'id="{op["operationId"]}"' in page
    assert all(f'id="schema-{name}"' in page for name in spec["components"]["schemas"])
    assert all(f"<code>{kind.code}</code>" in page for kind in ERRORS)
    assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", page)


def test_routes_stand_by_resource_in_the_order_of_use(spec: dict[str, Any]) -> None:
    paths = list(spec["paths"])
    assert paths[0] == "/v1/models"
    assert (
        paths.index("/v1/models/{id}") < paths.index("/v1/datasets") < paths.index("/v1/jobs") < paths.index("/healthz")
    )


def test_headers_that_a_route_reads_are_described(spec: dict[str, Any]) -> None:
    def headers(path: str, method: str) -> set[str]:
        return {item["name"] for item in spec["paths"][path][method]["parameters"] if item["in"] == "header"}

    assert headers("/v1/models", "post") == headers("/v1/datasets", "post") == {"Content-Digest", "Idempotency-Key"}
    assert headers("/v1/artifacts/{digest}", "get") == {"Range", "If-Range"}
    assert headers("/v1/jobs/{id}/events", "get") == {"Last-Event-ID", "If-None-Match"}
    assert not [op for _, _, op in operations(spec) if any(name.startswith("x-") for name in op)]
