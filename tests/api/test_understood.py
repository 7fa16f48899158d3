"""Jobs that another version of Burnish wrote: shown as far as they are understood, and as good to cancel as any."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from api.understood import spec_of
from burnish.passes import Quantize
from storage import jobs
from storage.records import Job
from storage.tables import jobs as table
from tests.api.place import Place, verdict

RECIPE: dict[str, Any] = {
    "target": {"device": "cpu", "threads": 2, "overclock": 3},
    "goal": {"max_drop": 0.01, "max_size": "as small as it gets"},
    "passes": [{"melt": {"heat": 3}}, {"quantize": {"weights": "int8", "glow": True}}, {"prune": {"ratio": "half"}}],
    "moon": "full",
}


def odd(place: Place, spec: Any = None) -> Job:
    """A job with a spec that this version did not write."""
    made = place.job()
    with place.database.begin() as tx:
        spec = {**made.spec, "recipe": RECIPE} if spec is None else spec
        tx.execute(update(table).where(table.c.id == made.id).values(spec=spec))
        return jobs.get(tx, made.id)


def test_what_is_understood_is_kept_and_what_is_not_is_named(place: Place) -> None:
    spec, faults = spec_of(odd(place))
    assert (spec.recipe.target.threads, spec.recipe.goal.max_drop, spec.recipe.goal.max_size) == (2, 0.01, None)
    assert spec.recipe.passes[0] == Quantize(weights="int8")
    assert [fault.where for fault in faults] == [
        "/spec/recipe/target/overclock",
        "/spec/recipe/goal/max_size",
        "/spec/recipe/passes/0",
        "/spec/recipe/passes/1/quantize/glow",
        "/spec/recipe/passes/2/prune/ratio",
        "/spec/recipe/moon",
    ]
    assert faults[0].message == "There is no setting 'overclock' here."
    assert "There is no pass 'melt'" in faults[2].message


def test_a_sound_spec_is_read_whole(place: Place) -> None:
    job = place.job(recipe={"passes": [{"quantize": {"weights": "int4"}}]})
    spec, faults = spec_of(job)
    assert faults == ()
    assert spec.model_dump(mode="json") == job.spec


@pytest.mark.parametrize("spec", [[], {}, {"recipe": 3}, {"recipe": {"passes": 3}}, {"priority": "high"}], ids=str)
def test_of_a_spec_that_says_nothing_model_and_dataset_are_known_all_the_same(place: Place, spec: Any) -> None:
    job = odd(place, spec)
    found, _ = spec_of(job)
    assert (found.model, found.dataset, found.priority) == (job.model_id, job.dataset_id, 5)


def test_the_document_the_list_and_the_pages_show_it_with_a_word_on_the_rest(place: Place) -> None:
    job = odd(place)
    shown = place.client.get(f"/v1/jobs/{job.id}").json
    assert shown["spec"]["recipe"]["target"]["threads"] == 2
    assert "/spec/recipe/moon" in [fault["where"] for fault in shown["not_understood"]]
    assert place.client.get("/v1/jobs").json["items"][0]["goal"]["max_drop"] == 0.01
    page = place.client.get(f"/jobs/{job.id}").text
    for part in ("Another version of Burnish wrote parts of this job", "/spec/recipe/moon", "2 threads"):
        assert part in page, part
    other = place.job(name="other")
    for address in ("/", f"/submit?from={job.id}", f"/compare?job={job.id}&job={other.id}"):
        assert place.client.get(address).status_code == 200, address


def test_a_sound_job_has_no_such_word(place: Place) -> None:
    job = place.job()
    assert place.client.get(f"/v1/jobs/{job.id}").json["not_understood"] == []
    assert "Another version" not in place.client.get(f"/jobs/{job.id}").text


def test_it_can_be_hurried_canceled_and_tried_again(place: Place) -> None:
    address = f"/v1/jobs/{odd(place).id}"
    assert place.client.patch(address, json={"priority": 1}).json["priority"] == 1
    assert place.client.post(f"{address}/cancel").json["state"] == "canceled"
    assert place.client.post(f"{address}/retry").json["state"] == "queued"


def test_one_that_can_not_be_shown_at_all_is_canceled_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job = odd(place)
    place.plan(job)
    with monkeypatch.context() as patched:
        patched.setattr("api.routes.jobs.whole", lambda *_: {}["a fault"])
        assert place.client.post(f"/v1/jobs/{job.id}/cancel").status_code == 500
    assert place.client.get(f"/v1/jobs/{job.id}").json["state"] == "canceled"


def test_one_that_runs_is_canceled_from_its_page(place: Place) -> None:
    job = odd(place)
    place.plan(job)
    assert place.client.post(f"/jobs/{job.id}/cancel").status_code == 303
    assert place.client.get(f"/v1/jobs/{job.id}").json["state"] == "canceled"


def test_a_verdict_with_more_in_it_is_shown_without_that_and_another_not_at_all(place: Place) -> None:
    newer, strange = place.job(), place.job(name="strange")
    for job, document in ((newer, {**verdict().model_dump(mode="json"), "aura": 1}), (strange, {"outcome": "divine"})):
        with place.database.begin() as tx:
            ended = {"state": "succeeded", "verdict": document, "finished_at": tx.now}
            tx.execute(update(table).where(table.c.id == job.id).values(**ended))
    shown = place.client.get(f"/v1/jobs/{newer.id}").json
    assert shown["outcome"] == "improved"
    assert [fault["where"] for fault in shown["not_understood"]] == ["/verdict/aura"]
    other = place.client.get(f"/v1/jobs/{strange.id}").json
    assert (other["state"], other["verdict"], other["outcome"]) == ("succeeded", None, None)
    assert other["not_understood"]
    assert {item["id"] for item in place.client.get("/v1/jobs").json["items"]} == {newer.id, strange.id}
    assert place.client.get(f"/jobs/{strange.id}").status_code == 200
