"""Schedules over REST: what is taken, what is refused with its path, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.place import Place, dataset_bytes

JOB = {"model": "net", "dataset": "samples", "recipe": {"passes": ["quantize"], "goal": {"max_drop": "1%"}}}
NIGHTLY = {"name": "nightly", "trigger": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, "job": JOB}


@pytest.fixture
def ready(place: Place, model_bytes: bytes) -> Place:
    """With a worker, the model `net` and the dataset `samples`."""
    place.worker()
    place.upload(model_bytes)
    return place


def create(place: Place, **changes: Any) -> dict[str, Any]:
    response = place.client.post("/v1/schedules", json={**NIGHTLY, **changes})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json
    return document


def refused(place: Place, document: dict[str, Any], address: str = "/v1/schedules", method: str = "post") -> set[str]:
    """The paths of all faults."""
    response = getattr(place.client, method)(address, json=document)
    assert (response.status_code, response.mimetype) == (422, "application/problem+json")
    assert all(fault["message"] and fault["cure"] for fault in response.json["faults"])
    return {fault["where"] for fault in response.json["faults"]}


def test_a_schedule_is_made_and_found_by_id_and_name(ready: Place) -> None:
    made = create(ready, promote="production")
    assert (made["state"], made["overlap"], made["last"]) == ("active", "skip", None)
    assert made["next_at"].endswith((":00:00Z", ":00:00+00:00"))
    for ref in (made["id"], "nightly"):
        assert ready.client.get(f"/v1/schedules/{ref}").json == made
    assert [item["id"] for item in ready.client.get("/v1/schedules").json["items"]] == [made["id"]]


def test_the_same_request_again_is_answered_once(ready: Place) -> None:
    sent = {"json": NIGHTLY, "headers": {"Idempotency-Key": "one"}}
    first, second = (ready.client.post("/v1/schedules", **sent) for _ in range(2))
    assert (first.json, second.headers["Idempotent-Replayed"]) == (second.json, "true")


def test_every_fault_of_a_schedule_and_of_its_job_is_named_at_once(ready: Place) -> None:
    bad = {
        "name": " nightly",
        "trigger": {"cron": "61 3 * * *", "timezone": "Europe/Bonn"},
        "overlap": "never",
        "promote": "Production",
        "job": {"model": "none", "dataset": "samples", "recipe": {"passes": ["quantise"]}, "priority": 12},
        "color": "red",
    }
    assert refused(ready, bad) == {
        "/name", "/trigger/cron", "/trigger/timezone", "/overlap", "/promote", "/color",
        "/job/model", "/job/recipe/passes/0", "/job/priority",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("trigger", "where"),
    [({}, "/trigger"), ({"cron": "0 3 * * *", "every": "6h"}, "/trigger"), ({"every": "1s"}, "/trigger/every"),
     ({"every": "soon"}, "/trigger/every"), ({"on": "moon"}, "/trigger/on"), (None, "/trigger"), ("daily", "/trigger")],
)  # fmt: skip
def test_a_trigger_is_exactly_one_of_three(ready: Place, trigger: object, where: str) -> None:
    assert refused(ready, {**NIGHTLY, "trigger": trigger}) == {where}


def test_what_is_missing_is_named(ready: Place) -> None:
    assert refused(ready, {}) == {"/name", "/trigger", "/job"}
    assert refused(ready, {**NIGHTLY, "job": "net"}) == {"/job"}


def test_a_name_is_taken_once(ready: Place) -> None:
    create(ready)
    assert refused(ready, NIGHTLY) == {"/name"}


def test_one_version_for_good_brings_no_news(ready: Place) -> None:
    one = {**NIGHTLY, "trigger": {"on": "model"}, "job": {**JOB, "model": "net:1"}}
    assert refused(ready, one) == {"/job/model"}
    data = ready.client.get("/v1/datasets").json["items"][0]["id"]
    one = {**NIGHTLY, "trigger": {"on": "dataset"}, "job": {**JOB, "dataset": data}}
    assert refused(ready, one) == {"/job/dataset"}


def test_kind_promote_and_watch_go_together(ready: Place) -> None:
    assert refused(ready, {**NIGHTLY, "watch": "production"}) == {"/watch"}
    assert refused(ready, {**NIGHTLY, "kind": "remeasure", "promote": "production"}) == {"/promote"}
    assert refused(ready, {**NIGHTLY, "kind": "remeasure"}) == {"/job/recipe/passes"}
    assert create(ready, kind="remeasure", job={**JOB, "recipe": {}})["kind"] == "remeasure"


def test_a_job_that_no_worker_serves_is_refused_as_any_job(ready: Place) -> None:
    job = {**JOB, "recipe": {"target": {"device": "cuda"}}}
    assert refused(ready, {**NIGHTLY, "job": job}) == {"/job/recipe/target/device"}


def test_members_are_changed_one_by_one(ready: Place) -> None:
    made = create(ready)
    address = made["links"]["self"]
    changed = ready.client.patch(address, json={"overlap": "queue", "promote": "production"}).json
    assert (changed["overlap"], changed["promote"], changed["next_at"]) == ("queue", "production", made["next_at"])
    assert ready.client.patch(address, json={"promote": None}).json["promote"] is None
    moved = ready.client.patch(address, json={"trigger": {"every": "6h"}}).json
    assert (moved["trigger"]["every"], moved["trigger"]["cron"]) == (21600.0, None)


def test_a_change_that_would_have_faults_changes_nothing(ready: Place) -> None:
    made = create(ready)
    address = made["links"]["self"]
    assert refused(ready, {"trigger": {"cron": "x"}, "job": {**JOB, "model": "none"}}, address, "patch") == {
        "/trigger/cron",
        "/job/model",
    }
    assert refused(ready, {"kind": "remeasure", "color": 1}, address, "patch") == {"/kind", "/color"}
    create(ready, name="weekly")
    assert refused(ready, {"name": "weekly"}, address, "patch") == {"/name"}
    assert ready.client.get(address).json == made


def test_it_is_paused_and_resumed(ready: Place) -> None:
    address = create(ready)["links"]["self"]
    paused = ready.client.post(f"{address}/pause").json
    assert (paused["state"], paused["next_at"]) == ("paused", None)
    resumed = ready.client.post(f"{address}/resume").json
    assert (resumed["state"], resumed["next_at"] is None) == ("active", False)


def test_run_now_makes_a_job_and_rings_for_it_and_the_history_tells(ready: Place) -> None:
    made = create(ready)
    firing = ready.client.post(f"/v1/schedules/{made['id']}/run")
    assert firing.status_code == 202
    assert (firing.json["outcome"], firing.json["cause"]) == ("fired", "manual")
    assert [job_id for job_id, _, _ in ready.bell.rung] == [firing.json["job"]]
    job = ready.client.get(firing.json["links"]["job"]).json
    assert (job["model"], job["state"]) == ("net:1", "queued")
    again = ready.client.post(f"/v1/schedules/{made['id']}/run").json
    assert (again["outcome"], firing.json["job"] in again["reason"]) == ("skipped", True)
    history = ready.client.get(f"/v1/schedules/{made['id']}/history").json["items"]
    assert history == [again, firing.json]
    page = ready.client.get(f"/v1/schedules/{made['id']}/history?limit=1").json
    rest = ready.client.get(f"/v1/schedules/{made['id']}/history?cursor={page['next']}").json
    assert rest["items"] == [firing.json]
    assert ready.client.get("/v1/schedules/nightly").json["last"] == again


def test_a_job_names_the_schedule_that_made_it(ready: Place) -> None:
    made = create(ready)
    job = ready.client.post(f"/v1/schedules/{made['id']}/run").json["job"]
    assert ready.client.get(f"/v1/jobs/{job}").json["schedule"] == made["id"]
    assert f'href="/schedules/{made["id"]}"' in ready.client.get(f"/jobs/{job}").text
    ready.client.delete(made["links"]["self"])
    assert ready.client.get(f"/v1/jobs/{job}").json["schedule"] is None
    assert "Made by" not in ready.client.get(f"/jobs/{job}").text


def test_a_job_that_somebody_submitted_names_no_schedule(ready: Place) -> None:
    job = ready.job()
    assert ready.client.get(f"/v1/jobs/{job.id}").json["schedule"] is None
    assert "Made by" not in ready.client.get(f"/jobs/{job.id}").text


def test_a_newer_dataset_is_what_the_next_job_gets(ready: Place) -> None:
    made = create(ready)
    newer = ready.client.post("/v1/datasets?name=samples", data=dataset_bytes(samples=60)).json
    firing = ready.client.post(f"/v1/schedules/{made['id']}/run").json
    assert ready.client.get(firing["links"]["job"]).json["dataset_id"] == newer["id"]


def test_a_deleted_schedule_is_gone(ready: Place) -> None:
    address = create(ready)["links"]["self"]
    assert ready.client.delete(address).status_code == 204
    assert ready.client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", ""), ("patch", ""), ("delete", ""), ("post", "/run"), ("post", "/pause"), ("post", "/resume"),
     ("get", "/history")],
)  # fmt: skip
def test_one_that_does_not_exist_is_a_404(place: Place, method: str, path: str) -> None:
    sent = {"json": {}} if method == "patch" else {}
    assert getattr(place.client, method)(f"/v1/schedules/none{path}", **sent).status_code == 404
