"""Schedules that another version of Burnish wrote: shown as far as they are understood, and not fired."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from storage import firings, schedules
from storage.tables import firings as history
from storage.tables import schedules as table
from tests.api.place import Place

JOB = {"model": "net", "dataset": "samples", "recipe": {"passes": ["quantize"], "goal": {"max_drop": "1%"}}}


@pytest.fixture
def ready(place: Place, model_bytes: bytes) -> Place:
    """With a worker, the model `net` and the dataset `samples`."""
    place.worker()
    place.upload(model_bytes)
    return place


def create(place: Place, name: str = "odd") -> dict[str, Any]:
    response = place.client.post("/v1/schedules", json={"name": name, "trigger": {"every": "6h"}, "job": JOB})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json
    return document


def odd(place: Place, **changes: Any) -> str:
    """The address of a schedule with parts that this version did not write; `...` takes one away."""
    made = create(place)
    with place.database.begin() as tx:
        spec = {**schedules.get(tx, made["id"]).spec, **changes}
        spec = {name: value for name, value in spec.items() if value is not ...}
        tx.execute(update(table).where(table.c.id == made["id"]).values(spec=spec))
    address: str = made["links"]["self"]
    return address


def job(**recipe: Any) -> dict[str, Any]:
    return {**JOB, "recipe": {**JOB["recipe"], **recipe}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("changes", "where", "shown"),
    [
        ({"moon": "full"}, "/moon", {}),
        ({"overlap": "never"}, "/overlap", {"overlap": None}),
        ({"kind": "rehearse"}, "/kind", {"kind": None}),
        ({"promote": "Not A Name"}, "/promote", {"promote": None}),
        ({"kind": "remeasure", "promote": "production"}, "/promote", {"kind": "remeasure", "promote": "production"}),
        ({"trigger": {"on": "moonrise"}}, "/trigger/on", {"trigger": None}),
        ({"trigger": "dawn"}, "/trigger", {"trigger": None}),
        ({"trigger": None}, "/trigger", {"trigger": None}),
        ({"trigger": ...}, "/trigger", {"trigger": None}),
        ({"trigger": {"cron": "@dawn"}}, "/trigger/cron", {}),
        ({"job": ["net"]}, "/job", {"job": None}),
        ({"job": {"dataset": "samples"}}, "/job/model", {"job": None}),
    ],
    ids=str,
)
def test_what_is_understood_is_kept_and_what_is_not_is_named(
    ready: Place, changes: dict[str, Any], where: str, shown: dict[str, Any]
) -> None:
    address = odd(ready, **changes)
    document = ready.client.get(address).json
    assert [fault["where"] for fault in document["not_understood"]] == [where]
    assert "Update this service" in document["not_understood"][0]["cure"]
    assert {name: document[name] for name in shown} == shown
    assert document["name"] == "odd"
    if "job" not in changes:
        assert document["job"]["recipe"]["goal"]["max_drop"] == 0.01
    if "trigger" not in changes:
        assert document["trigger"]["every"] == 21600.0
    create(ready, "sound")
    items = ready.client.get("/v1/schedules").json["items"]
    assert [(item["name"], bool(item["not_understood"])) for item in items] == [("sound", False), ("odd", True)]
    for page in ("/schedules", f"/schedules/{document['id']}"):
        assert ready.client.get(page).status_code == 200


def test_a_job_is_shown_without_the_parts_that_are_not_understood(ready: Place) -> None:
    shown = ready.client.get(odd(ready, job=job(passes=["melt", "quantize"], moon="full"))).json
    assert [list(entry) for entry in shown["job"]["recipe"]["passes"]] == [["quantize"]]
    assert [fault["where"] for fault in shown["not_understood"]] == ["/job/recipe/passes/0", "/job/recipe/moon"]


def test_what_an_older_version_did_not_write_is_at_its_default(ready: Place) -> None:
    shown = ready.client.get(odd(ready, overlap=..., promote=...)).json
    assert (shown["overlap"], shown["promote"], shown["not_understood"]) == ("skip", None, [])


def test_the_pages_say_so(ready: Place) -> None:
    address = odd(ready, trigger={"on": "moonrise"}, overlap="never")
    page = ready.client.get(address.removeprefix("/v1")).text
    for part in ("Another version of Burnish wrote parts of this schedule", "/trigger/on", "/overlap", "does not fire"):
        assert part in page, part
    assert "does not fire" in ready.client.get("/schedules").text
    ready.client.delete(address)
    sound = create(ready)["id"]
    for path in ("/schedules", f"/schedules/{sound}"):
        assert "does not fire" not in ready.client.get(path).text


@pytest.mark.parametrize("action", ["run", "resume"])
def test_it_is_neither_run_nor_resumed_and_the_refusal_names_the_cure(ready: Place, action: str) -> None:
    address = odd(ready, overlap="never")
    ready.client.post(f"{address}/pause")
    refusal = ready.client.post(f"{address}/{action}")
    assert (refusal.status_code, refusal.json["code"]) == (409, "conflict")
    assert "/overlap: " in refusal.json["detail"]
    assert refusal.json["cure"].startswith("Update this service")
    assert "delete the schedule and create it again" in refusal.json["cure"]
    assert ready.client.get(address).json["state"] == "paused"
    assert ready.client.get(f"{address}/history").json["items"] == []


def test_it_is_paused_mended_and_deleted_like_any_other(ready: Place) -> None:
    address = odd(ready, trigger={"on": "moonrise"})
    assert ready.client.post(f"{address}/pause").json["state"] == "paused"
    mended = ready.client.patch(address, json={"trigger": {"every": "1h"}}).json
    assert (mended["trigger"]["every"], mended["not_understood"]) == (3600.0, [])
    assert ready.client.post(f"{address}/run").json["outcome"] == "fired"
    assert ready.client.delete(address).status_code == 204


def test_a_history_of_another_version_is_shown_as_far_as_it_is_understood(ready: Place) -> None:
    made = create(ready)
    known = {"outcome": "kept", "reason": "Too slow.", "champion": None, "challenger": None, "speedup": None}
    for decision in ({**known, "aura": 1}, {**known, "outcome": "blessed"}):
        fired: dict[str, Any] = {"outcome": "fired", "job_id": ready.job().id, "contest": {"kind": "optimize"}}
        with ready.database.begin() as tx:
            told = firings.add(tx, made["id"], cause="moonrise", reason="It rose.", due_at=None, **fired)
            tx.execute(update(history).where(history.c.id == told.id).values(decision=decision))
    newest, older = ready.client.get(f"{made['links']['self']}/history").json["items"]
    assert (older["cause"], older["decision"]) == ("moonrise", known)
    assert [fault["where"] for fault in older["not_understood"]] == ["/decision/aura"]
    assert newest["decision"] is None
    assert newest["not_understood"][0]["where"] == "/decision/outcome"
    assert ready.client.get(made["links"]["self"]).json["last"] == newest
    page = ready.client.get(f"/schedules/{made['id']}").text
    assert page.count("Another version of Burnish wrote parts of what was decided") == 2
