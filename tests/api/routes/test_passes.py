"""The catalogue."""

from __future__ import annotations

from flask.testing import FlaskClient

from api.routes.passes import BACKEND_SUMMARIES
from burnish.passes import PASSES
from burnish.recipe import BACKENDS


def test_every_pass_and_backend_is_in_the_catalogue_with_its_settings(client: FlaskClient) -> None:
    items = client.get("/v1/passes").json["items"]
    assert [(item["kind"], item["name"]) for item in items] == [
        *(("pass", name) for name in PASSES),
        *(("backend", name) for name in BACKENDS),
    ]
    prune = next(item for item in items if item["name"] == "prune")
    assert prune["settings"]["properties"]["ratio"]["description"]
    assert prune["never_after"] == ["cache", "quantize"]
    assert all(item["summary"] and item["understands"] and item["devices"] for item in items)
    assert prune["needs"] == []
    assert prune["may_need"] == ["calibration", "labels"]
    assert {item["name"] for item in items if "cuda" in item["devices"]} == {"inductor", "eager"}


def test_every_backend_has_a_summary() -> None:
    assert set(BACKEND_SUMMARIES) == set(BACKENDS)
