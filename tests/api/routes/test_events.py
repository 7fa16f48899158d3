"""Events of a job, as pages. The stream is tested in `tests/api/test_streams.py`."""

from __future__ import annotations

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
