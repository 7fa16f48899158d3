"""Events of a job, as pages. The stream is tested in `tests/api/test_streams.py`."""

from __future__ import annotations

import json

from storage import computations
from tests.api.place import Place


def test_events_are_read_page_by_page_in_order(place: Place) -> None:
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    address = f"/v1/jobs/{job.id}/events"
    first = place.client.get(f"{address}?limit=2").json
    assert [event["kind"] for event in first["items"]] == ["job.queued", "job.planned"]
    rest = place.client.get(f"{address}?after={first['next']}").json
    assert [event["kind"] for event in rest["items"]] == ["step.ready", "step.leased"]
    assert {event["step"] for event in rest["items"]} == {"capture"}
    assert rest["next"] is None
    assert place.client.get(f"{address}?after={rest['items'][-1]['id']}").json["items"] == []


def test_a_page_of_events_that_did_not_change_is_a_304(place: Place) -> None:
    address = f"/v1/jobs/{place.job().id}/events"
    etag = place.client.get(address).headers["ETag"]
    assert place.client.get(address, headers={"If-None-Match": etag}).status_code == 304


def test_limits_of_events_are_checked(place: Place) -> None:
    address = f"/v1/jobs/{place.job().id}/events"
    for query in ("after=-1", "after=x", "limit=0", "limit=1001"):
        assert place.client.get(f"{address}?{query}").status_code == 422, query


def test_the_history_is_exported_whole_one_event_a_line(place: Place) -> None:
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    with place.database.begin() as tx:
        computations.heartbeat(
            tx, claim.key, claim.attempt, ttl=60, progress=0.5, doing="x", log=[f"line {n}\u2028" for n in range(1200)]
        )
    address = f"/v1/jobs/{job.id}/events"
    response = place.client.get(f"{address}?format=ndjson")
    assert response.mimetype == "application/x-ndjson"
    found = [json.loads(line) for line in response.text.rstrip("\n").split("\n")]
    assert [event["id"] for event in found] == list(range(1, len(found) + 1))
    assert len(found) == 1200 + 5
    paged, after = [], "0"
    while after:
        page = place.client.get(f"{address}?limit=1000&after={after}").json
        paged += page["items"]
        after = page["next"]
    assert paged == found
    rest = place.client.get(f"{address}?format=ndjson&after=1200").text
    assert len(rest.splitlines()) >= 5


def test_an_export_ends_even_if_the_job_goes_on(place: Place) -> None:
    job = place.job()
    response = place.client.get(f"/v1/jobs/{job.id}/events?format=ndjson", buffered=False)
    place.plan(job)
    assert len(response.text.splitlines()) == 1


def test_exports_take_the_slots_of_transfers_and_give_them_back(place: Place) -> None:
    address = f"/v1/jobs/{place.job().id}/events?format=ndjson"
    for _ in range(20):
        with place.client.get(address) as response:
            assert response.status_code == 200
    assert place.client.get("/v1/jobs/job_none/events?format=ndjson").status_code == 404
