"""Jobs over REST: submission, polling, cancel and retry."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.place import Place, verdict


@pytest.fixture
def ready(place: Place, model_bytes: bytes) -> Place:
    """A place with a worker, a model `net` and a dataset `samples`."""
    place.worker()
    place.upload(model_bytes)
    return place


def spec(**changes: Any) -> dict[str, Any]:
    return {"model": "net", "dataset": "samples", "recipe": {"passes": [{"prune": {"ratio": 0.5}}]}, **changes}


def test_a_sound_job_is_accepted_and_the_doorbell_rung(ready: Place) -> None:
    response = ready.client.post("/v1/jobs", json=spec(priority=2))
    assert response.status_code == 202
    job = response.json
    assert (job["state"], job["model"], job["dataset"], job["priority"]) == ("queued", "net:1", "samples", 2)
    assert job["spec"]["recipe"]["passes"][0]["prune"]["ratio"] == 0.5
    assert (job["steps"], job["verdict"], job["error"], job["artifacts"]) == ([], None, None, [])
    assert response.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert job["links"]["html"] == f"/jobs/{job['id']}"
    assert ready.bell.rung == [(job["id"], "cpu", 2)]
    assert ready.client.get(job["links"]["self"]).json == job


def test_a_goal_without_passes_is_a_job_too(ready: Place) -> None:
    assert ready.client.post("/v1/jobs", json={"model": "net", "dataset": "samples"}).status_code == 202
    goal = {"minimize": "size", "max_drop": "0.5%", "max_size": "2MB"}
    response = ready.client.post("/v1/jobs", json=spec(recipe={"goal": goal}))
    assert response.json["spec"]["recipe"]["goal"]["max_size"] == 2_000_000


def test_a_job_is_accepted_while_the_broker_is_away(ready: Place) -> None:
    ready.bell.broken = True
    response = ready.client.post("/v1/jobs", json=spec())
    assert response.status_code == 202
    assert ready.client.get(response.headers["Location"]).json["state"] == "queued"


def test_a_refused_job_rings_no_doorbell_and_leaves_no_row(ready: Place) -> None:
    assert ready.client.post("/v1/jobs", json=spec(model="other")).status_code == 422
    assert ready.client.get("/v1/jobs").json["items"] == []
    assert ready.bell.rung == []


def test_several_faults_come_in_one_problem_document_each_with_its_path_and_cure(ready: Place) -> None:
    response = ready.client.post(
        "/v1/jobs",
        json={
            "model": "nett",
            "dataset": "sampels",
            "priorty": 1,
            "recipe": {
                "target": {"device": "cuda", "backend": "tensorrt"},
                "passes": [{"quantize": {"weights": "int5"}}, {"prune": {"ratio": 2}}],
            },
        },
    )
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    problem = response.json
    assert (problem["status"], problem["code"], problem["error_class"]) == (422, "spec.invalid", "user")
    assert problem["type"] == "about:burnish#spec.invalid"
    assert {fault["where"] for fault in problem["faults"]} == {
        "/model",
        "/dataset",
        "/priorty",
        "/recipe/target/backend",
        "/recipe/passes/0/quantize/weights",
        "/recipe/passes/1/prune/ratio",
        "/recipe/passes/1",
    }
    assert all(fault["message"] and fault["cure"] for fault in problem["faults"])


def test_what_is_not_json_is_a_400(client: FlaskClient) -> None:
    for body in (b"{", b"", b"[]", b'"x"', b"[" * 100_000, b"\xff"):
        response = client.post("/v1/jobs", data=body, content_type="application/json")
        assert response.status_code == 400, body[:10]
        assert response.json["cure"]


def test_json_over_a_mebibyte_is_a_400(client: FlaskClient) -> None:
    body = b'{"model": "' + b"x" * (1 << 20) + b'"}'
    assert client.post("/v1/jobs", data=body, content_type="application/json").status_code == 400


def test_another_media_type_is_a_415(client: FlaskClient) -> None:
    response = client.post("/v1/jobs", data=b"model: net", content_type="application/yaml")
    assert response.status_code == 415
    assert "application/json" in response.json["cure"]


def test_a_job_is_polled_with_its_etag_until_it_is_finished(place: Place) -> None:
    job = place.job()
    address = f"/v1/jobs/{job.id}"
    first = place.client.get(address)
    assert first.headers["Retry-After"] == "1"
    etag = first.headers["ETag"]
    again = place.client.get(address, headers={"If-None-Match": etag})
    assert (again.status_code, again.data, again.headers["Retry-After"]) == (304, b"", "1")
    place.plan(job)
    changed = place.client.get(address, headers={"If-None-Match": etag})
    assert (changed.status_code, changed.json["state"]) == (200, "running")
    assert changed.headers["ETag"] != etag
    place.succeed(job, verdict())
    done = place.client.get(address, headers={"If-None-Match": changed.headers["ETag"]})
    assert (done.status_code, done.json["state"], done.json["progress"]) == (200, "succeeded", 1.0)
    assert "Retry-After" not in done.headers


def test_a_running_job_shows_each_step_and_how_far_it_is(place: Place) -> None:
    job = place.job()
    place.plan(job, ["capture", "prune", "distill"])
    claim = place.start(job, "capture")
    assert claim is not None
    place.finish(claim, report={"parameters": 10})
    claim = place.start(job, "prune")
    assert claim is not None
    place.progress(claim, 0.5, "layer 3 of 6")
    shown = place.client.get(f"/v1/jobs/{job.id}").json
    capture, prune, distill = shown["steps"]
    assert (capture["state"], capture["progress"], capture["seconds"], capture["peak_memory"]) == ("done", 1, 1.5, 2000)
    assert (capture["report"], capture["hit"], capture["attempt"]) == ({"parameters": 10}, False, 1)
    assert (prune["state"], prune["progress"], prune["doing"]) == ("leased", 0.5, "layer 3 of 6")
    assert prune["worker"] == "wrk_cpu"
    assert (distill["state"], distill["key"], distill["attempt"]) == ("waiting", None, 0)
    assert shown["progress"] == 0.5


def test_a_step_says_why_it_hit_or_missed(place: Place) -> None:
    first, second = place.job(), place.job()
    for job in (first, second):
        place.plan(job)
    claim = place.start(first, "capture", "a" * 64)
    assert claim is not None
    place.finish(claim)
    place.start(first, "prune", "b" * 64)
    assert place.start(second, "capture", "a" * 64) is None
    place.start(second, "prune", "c" * 64)
    steps = place.client.get(f"/v1/jobs/{second.id}").json["steps"]
    assert steps[0]["hit"]
    assert "cache" in steps[0]["why"]
    assert not steps[1]["hit"]
    assert "key" in steps[1]["why"]


def test_a_verdict_brings_figures_and_artifacts_the_chosen_first(place: Place) -> None:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict())
    shown = place.client.get(f"/v1/jobs/{job.id}").json
    assert (shown["outcome"], shown["speedup"], shown["drop"]) == ("improved", 4.0, 0.003)
    assert [artifact["digest"][0] for artifact in shown["artifacts"]] == ["a", "b"]
    assert place.client.get(f"/v1/jobs/{job.id}/artifacts").json == {"items": shown["artifacts"]}


def test_without_a_gain_there_is_no_figure_of_a_chosen_one(place: Place) -> None:
    job = place.job()
    place.plan(job)
    place.succeed(job, verdict(chosen=None))
    shown = place.client.get(f"/v1/jobs/{job.id}").json
    assert (shown["outcome"], shown["speedup"], shown["drop"]) == ("no_gain", None, None)


def test_a_failed_job_says_why_and_what_to_do(place: Place) -> None:
    from storage import jobs

    job = place.job()
    with place.database.begin() as tx:
        jobs.fail(tx, job.id, {"code": "resource.memory", "class": "resource", "message": "Killed.", "where": None,
                               "cure": "Use less.", "log": "last line", "signal": 9})  # fmt: skip
    error = place.client.get(f"/v1/jobs/{job.id}").json["error"]
    assert (error["code"], error["error_class"], error["cure"]) == ("resource.memory", "resource", "Use less.")
    assert error["details"] == {"log": "last line", "signal": 9}


def test_jobs_are_listed_newest_first_by_pages_and_by_state(place: Place) -> None:
    made = [place.job().id for _ in range(3)]
    place.plan(place.job())
    first = place.client.get("/v1/jobs?limit=2&state=queued").json
    second = place.client.get(f"/v1/jobs?limit=2&state=queued&cursor={first['next']}").json
    assert [job["id"] for job in first["items"] + second["items"]] == made[::-1]
    assert len(place.client.get("/v1/jobs?state=running").json["items"]) == 1
    assert place.client.get("/v1/jobs?state=asleep").status_code == 422


def test_jobs_are_listed_by_model(place: Place) -> None:
    job = place.job(name="one")
    place.job(name="two")
    assert [item["id"] for item in place.client.get("/v1/jobs?model=one").json["items"]] == [job.id]


def test_a_queued_job_is_canceled_at_once_and_can_be_retried(place: Place) -> None:
    job = place.job()
    canceled = place.client.post(f"/v1/jobs/{job.id}/cancel")
    assert (canceled.status_code, canceled.json["state"]) == (202, "canceled")
    again = place.client.post(f"/v1/jobs/{job.id}/retry")
    assert (again.status_code, again.json["state"]) == (202, "queued")
    assert place.bell.rung == [(job.id, "cpu", 5)]


def test_a_finished_job_cannot_be_canceled_nor_a_running_one_retried(place: Place) -> None:
    job = place.job()
    place.plan(job)
    early = place.client.post(f"/v1/jobs/{job.id}/retry")
    assert (early.status_code, early.json["code"]) == (409, "conflict")
    place.succeed(job, verdict())
    late = place.client.post(f"/v1/jobs/{job.id}/cancel")
    assert (late.status_code, late.json["code"]) == (409, "conflict")


def test_a_job_that_is_not_there_is_a_404_everywhere(client: FlaskClient) -> None:
    for address in ("", "/artifacts", "/events"):
        assert client.get(f"/v1/jobs/job_none{address}").status_code == 404
    for action in ("cancel", "retry"):
        assert client.post(f"/v1/jobs/job_none/{action}").status_code == 404


def test_a_job_that_waits_can_be_hurried(place: Place) -> None:
    job = place.job()
    address = f"/v1/jobs/{job.id}"
    before = place.client.get(address).headers["ETag"]
    response = place.client.patch(address, json={"priority": 0})
    assert (response.status_code, response.json["priority"]) == (200, 0)
    assert place.bell.rung[-1] == (job.id, "cpu", 0)
    now = place.client.get(address, headers={"If-None-Match": before})
    assert (now.status_code, now.json["priority"]) == (200, 0)


def test_a_job_that_has_ended_can_not_be_hurried(place: Place) -> None:
    job = place.job()
    place.client.post(f"/v1/jobs/{job.id}/cancel")
    response = place.client.patch(f"/v1/jobs/{job.id}", json={"priority": 0})
    assert (response.status_code, response.json["code"]) == (409, "conflict")


@pytest.mark.parametrize("change", [{}, {"priority": 10}, {"priority": "high"}, {"priority": 1, "state": "done"}])
def test_a_change_that_is_none_is_refused_with_its_faults(place: Place, change: dict[str, Any]) -> None:
    job = place.job()
    response = place.client.patch(f"/v1/jobs/{job.id}", json=change)
    assert response.status_code == 422
    assert response.json["faults"][0]["where"] in ("/priority", "/state")


def test_a_job_that_does_not_exist_can_not_be_changed(client: FlaskClient) -> None:
    assert client.patch("/v1/jobs/job_x", json={"priority": 1}).status_code == 404


def test_the_list_is_filtered_by_outcome_and_search_and_each_job_has_its_goal(place: Place) -> None:
    done, other = place.job(name="alpha", recipe={"goal": {"max_drop": "0.5%"}}), place.job(name="beta")
    place.plan(done)
    place.succeed(done, verdict())
    (found,) = place.client.get("/v1/jobs?outcome=improved").json["items"]
    assert (found["id"], found["goal"]["max_drop"]) == (done.id, 0.005)
    assert [item["id"] for item in place.client.get("/v1/jobs?search=BET").json["items"]] == [other.id]
    for wrong in ("outcome=best", "search=", "search=%00"):
        assert place.client.get(f"/v1/jobs?{wrong}").status_code == 422, wrong
