"""The pages of submit, models, fleet and schedules without a browser: what they hold, and who may see them."""

from __future__ import annotations

import html

import pytest
from flask.testing import FlaskClient

from storage import jobs
from storage.records import Job
from tests import keywords
from tests.api.place import Place, verdict

PAGES = ("/submit", "/models", "/fleet", "/schedules")


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_service_shows_what_to_do(client: FlaskClient, page: str) -> None:
    response = client.get(page)
    assert response.status_code == 200
    assert response.mimetype == "text/html"


@pytest.mark.parametrize("page", PAGES)
def test_who_is_not_signed_in_is_asked_to(guarded: Place, page: str) -> None:
    response = guarded.client.get(page)
    assert (response.status_code, response.headers["Location"]) == (303, f"/login?next={page}")


@pytest.mark.parametrize("page", ["/models/nobody", "/schedules/none", "/submit?from=job_none", "/submit?model=none"])
def test_what_is_not_there_is_a_page_that_says_so(client: FlaskClient, page: str) -> None:
    response = client.get(page, headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert "There is no" in response.text


@pytest.mark.parametrize("page", ["/fleet", "/schedules"])
def test_what_has_not_changed_is_a_304(place: Place, page: str) -> None:
    place.worker()
    first = place.client.get(f"{page}/fragment")
    again = place.client.get(f"{page}/fragment", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code) == (200, 304)


def test_the_fleet_names_each_worker_and_what_waits(place: Place) -> None:
    place.worker()
    place.worker("cuda")
    text = place.client.get("/fleet").text
    assert "bench-cpu" in text
    assert "bench-cuda" in text
    assert "No worker is alive" not in text


def submitted(place: Place, model_bytes: bytes) -> Job:
    """A job of an uploaded model `net`."""
    place.worker()
    model, dataset = place.upload(model_bytes)
    recipe = {"passes": [{"prune": {"ratio": 0.3}}]}
    made = place.client.post("/v1/jobs", json={"model": model, "dataset": dataset, "recipe": recipe})
    assert made.status_code == 202, made.text
    with place.database.read() as tx:
        return jobs.get(tx, made.json["id"])


def test_the_form_is_filled_from_an_earlier_job(place: Place, model_bytes: bytes) -> None:
    job = submitted(place, model_bytes)
    text = html.unescape(place.client.get(f"/submit?from={job.id}").text)
    assert f'<option value="{job.model_id}" selected>' in text
    assert '"ratio": 0.3' in text


def test_a_model_shows_its_versions_and_results(place: Place, model_bytes: bytes) -> None:
    job = submitted(place, model_bytes)
    place.plan(job, ())
    place.succeed(job, verdict())
    text = place.client.get("/models/net").text
    assert f'href="/jobs/{job.id}"' in text
    assert "Promote" in text
    assert "Nothing is in production" in text


def test_a_model_shows_what_it_takes_and_gives_by_the_names_that_its_users_know(place: Place) -> None:
    place.client.post("/v1/models?name=reader", data=keywords.archive())
    text = html.unescape(place.client.get("/models/reader").text)
    assert "takes input_ids int64[·, 10], attention_mask int64[·, 10], extra_scale float32[·, 1, 1] and gives" in text
    assert "logits float32[·, 4], states_0 float32[·, 10, 16], states_1 float32[·, 32]." in text
