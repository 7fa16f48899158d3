"""Live workers."""

from __future__ import annotations

from tests.api.place import Place


def test_live_workers_are_listed_with_what_they_run(place: Place) -> None:
    assert place.client.get("/v1/workers").json == {"items": [], "next": None}
    place.worker()
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    (worker,) = place.client.get("/v1/workers").json["items"]
    assert (worker["name"], worker["queues"], worker["running"]) == ("bench-cpu", ["cpu"], [claim.key])
