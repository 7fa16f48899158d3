"""What is measured, and that the page of metrics explains it."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from storage import computations
from tests.api.place import Place

PAGE = Path(__file__).parents[3] / "docs/metrics.md"


def figures(place: Place) -> dict[tuple[str, frozenset[str]], float]:
    """By name and label values."""
    text = place.client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def done(place: Place, key: str = "c" * 64) -> None:
    """A computation that took two seconds."""
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture", key)
    assert claim is not None
    with place.database.begin() as tx:
        computations.commit(tx, key, claim.attempt, outputs={}, report={}, seconds=2.0, peak_memory=1)


def test_requests_are_timed_by_route_and_not_by_address(place: Place) -> None:
    place.client.get("/v1/models/a")
    place.client.get("/v1/models/b")
    place.client.get("/no/such")
    place.client.open("/no/such", method="BREW")
    found = figures(place)
    assert found["burnish_http_request_seconds_count", frozenset({"/v1/models/<id>", "GET", "404"})] == 2
    assert found["burnish_http_request_seconds_count", frozenset({"none", "404"})] == 2


def test_jobs_and_computations_are_counted_by_state_at_the_moment_of_the_scrape(place: Place) -> None:
    place.job()
    running = place.job()
    place.plan(running)
    place.start(running, "capture")
    place.worker()
    done(place)
    found = figures(place)
    assert found["burnish_jobs", frozenset({"queued"})] == 1
    assert found["burnish_jobs", frozenset({"running"})] == 2
    assert found["burnish_jobs", frozenset({"failed"})] == 0
    assert found["burnish_computations", frozenset({"leased", "cpu"})] == 1
    assert found["burnish_computations", frozenset({"done", "cpu"})] == 1
    assert found["burnish_workers", frozenset({"cpu"})] == 1


def test_the_age_of_a_queue_is_that_of_its_oldest_ready_computation(place: Place) -> None:
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture", "k")
    assert claim is not None
    with place.database.begin() as tx:
        computations.release(tx, "k", claim.attempt)
    assert 0 <= figures(place)["burnish_queue_age_seconds", frozenset({"cpu"})] < 60
    with place.database.begin() as tx:
        assert computations.claim(tx, "k", worker="w", environment="here", ttl=60)
    assert figures(place)["burnish_queue_age_seconds", frozenset({"cpu"})] == 0


def test_a_queue_that_nobody_serves_has_no_workers_rather_than_no_figure(place: Place) -> None:
    done(place)
    assert figures(place)["burnish_workers", frozenset({"cpu"})] == 0


def test_steps_hits_misses_losses_and_retries_come_from_the_sums_in_sql(place: Place) -> None:
    done(place)
    done_before = place.job()
    place.plan(done_before)
    assert place.start(done_before, "capture", "c" * 64) is None  # a hit
    lost = place.job()
    place.plan(lost)
    claim = place.start(lost, "capture")
    assert claim is not None
    with place.database.begin() as tx:
        error = {"code": "internal", "class": "internal", "message": "", "cure": ""}
        computations.fail(tx, claim.key, claim.attempt, error=error, retry_in=0.0)
    found = figures(place)
    assert found["burnish_step_seconds_bucket", frozenset({"capture", "1.0"})] == 0
    assert found["burnish_step_seconds_bucket", frozenset({"capture", "2.5"})] == 1
    assert found["burnish_step_seconds_bucket", frozenset({"capture", "+Inf"})] == 1
    assert found["burnish_step_seconds_count", frozenset({"capture"})] == 1
    assert found["burnish_step_seconds_sum", frozenset({"capture"})] == 2.0
    assert (found["burnish_cache_hits_total", frozenset()], found["burnish_cache_misses_total", frozenset()]) == (1, 2)
    assert found["burnish_step_retries_total", frozenset({"internal"})] == 1
    assert found["burnish_lease_losses_total", frozenset()] == 0


def test_store_and_sql_are_timed(place: Place, model_bytes: bytes) -> None:
    place.upload(model_bytes)
    found = figures(place)
    assert found["burnish_store_seconds_count", frozenset({"put"})] == 2
    assert found["burnish_sql_seconds_count", frozenset()] > 2


def test_without_sql_the_rest_is_served_and_says_so(place: Place, model_bytes: bytes) -> None:
    place.upload(model_bytes)
    broken = place.app.extensions["burnish.metrics"]
    from storage.database import Database

    away = Database("postgresql://nobody@127.0.0.1:1/none")
    broken._registry.unregister(next(iter(broken._registry._collector_to_names)))
    from api.metrics import _Service

    broken._registry.register(_Service(away))
    found = figures(place)
    assert found["burnish_sql_up", frozenset()] == 0
    assert ("burnish_jobs", frozenset({"queued"})) not in found
    assert found["burnish_store_seconds_count", frozenset({"put"})] == 2
    away.close()


def test_the_page_explains_every_metric_and_no_other(place: Place) -> None:
    text = place.client.get("/metrics").text
    served = {
        family.name + ("_total" if family.type == "counter" else "") for family in text_string_to_metric_families(text)
    }
    assert served == set(re.findall(r"^\| `(burnish_\w+)", PAGE.read_text(), re.MULTILINE))
