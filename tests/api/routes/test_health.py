"""Probes and metrics."""

from __future__ import annotations

import shutil

from prometheus_client.parser import text_string_to_metric_families

from tests.api.place import Place


def figures(place: Place) -> dict[tuple[str, tuple[str, ...]], float]:
    text = place.client.get("/metrics").text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_process_says_that_it_is_alive(place: Place) -> None:
    assert place.client.get("/healthz").json == {"status": "ok"}


def test_it_is_not_ready_while_a_part_is_away_and_says_which(place: Place) -> None:
    response = place.client.get("/readyz")
    assert response.status_code == 503
    assert response.json["ready"] is False
    assert response.json["parts"]["database"] == response.json["parts"]["blobs"] == "ok"
    assert "refused" in response.json["parts"]["broker"]


def test_a_database_that_is_away_is_named(place: Place) -> None:
    if place.settings.database_url.startswith("postgresql"):
        place.database.close()
        broken = place.settings.database_url.rpartition("/")[0] + "/none"
    else:
        broken = f"sqlite:///{place.folder / 'sub' / 'burnish.sqlite'}"
    from storage.database import Database

    database = Database(broken)
    if not broken.startswith("postgresql"):
        shutil.rmtree(place.folder / "sub")
    object.__setattr__(place.app.extensions["burnish"], "database", database)
    assert place.client.get("/readyz").json["parts"]["database"].startswith("Unavailable")
    database.close()


def test_requests_are_counted_by_route_and_not_by_address(place: Place) -> None:
    place.client.get("/v1/models/a")
    place.client.get("/v1/models/b")
    place.client.get("/no/such")
    found = figures(place)
    assert found["burnish_requests_total", ("GET", "/v1/models/<id>", "404")] == 2
    assert found["burnish_requests_total", ("GET", "none", "404")] == 1
    assert found["burnish_request_seconds_count", ("GET", "/v1/models/<id>")] == 2


def test_jobs_and_computations_are_counted_by_state_at_the_moment_of_the_scrape(place: Place) -> None:
    place.job()
    running = place.job()
    place.plan(running)
    place.start(running, "capture")
    place.worker()
    found = figures(place)
    assert found["burnish_jobs", ("queued",)] == 1
    assert found["burnish_jobs", ("running",)] == 1
    assert found["burnish_jobs", ("failed",)] == 0
    assert found["burnish_computations", ("leased",)] == 1
    assert found["burnish_workers", ()] == 1
