"""What is measured, and that the page of metrics explains it."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from storage import computations, deliveries, firing, firings, outbox, schedules, tables, webhooks
from storage.counters import Tally
from storage.deliveries import Answer
from storage.firing import Cause
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
        assert computations.claim(tx, "k", worker="w", ttl=60)
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


def test_deliveries_to_webhooks_are_counted_by_how_they_ended(place: Place) -> None:
    with place.database.begin() as tx:
        hook = webhooks.create(tx, url="https://example.com/", types=[], description="")
        outbox.publish(tx, "job.succeeded", {"job": "job_1"})
        outbox.publish(tx, "job.succeeded", {"job": "job_2"})
    assert figures(place)["burnish_webhook_age_seconds", frozenset()] > 0
    for status in (500, 200, 410):
        with place.database.begin() as tx:
            tx.execute(update(tables.deliveries).values(next_at=tx.now))
            sending = deliveries.claim(tx, hook.id)
            assert sending is not None
            deliveries.finish(tx, sending, Answer(status=status, error=None, seconds=0.1))
    found = figures(place)
    assert found["burnish_webhook_deliveries_total", frozenset({"delivered"})] == 1
    assert found["burnish_webhook_deliveries_total", frozenset({"failed"})] == 1
    assert found["burnish_webhook_retries_total", frozenset()] == 1
    assert found["burnish_webhook_age_seconds", frozenset()] == 0


def test_what_waits_for_a_webhook_that_is_disabled_is_not_late(place: Place) -> None:
    with place.database.begin() as tx:
        hook = webhooks.create(tx, url="https://example.com/", types=[], description="")
        outbox.publish(tx, "job.succeeded", {"job": "job_1"})
        webhooks.disable(tx, hook, "It is gone.")
    assert figures(place)["burnish_webhook_age_seconds", frozenset()] == 0


def test_schedules_tell_what_came_of_them_and_how_late_it_was(place: Place, model_bytes: bytes) -> None:
    place.upload(model_bytes)
    place.worker()
    job = {"model": "net", "dataset": "samples"}
    document = {"name": "nightly", "trigger": {"every": 3600}, "job": job}
    made = place.client.post("/v1/schedules", json=document).json["id"]
    with place.database.begin() as tx:
        tx.execute(update(tables.schedules).values(next_at=tx.now - 20))
    assert 20 <= figures(place)["burnish_schedule_overdue_seconds", frozenset()] < 80
    with place.database.begin() as tx:
        firing.fire(tx, schedules.get(tx, made), Cause("every", "It was due.", due_at=tx.now - 20))
        tx.execute(update(tables.schedules).values(next_at=tx.now + 3600))
    place.client.post(f"/v1/schedules/{made}/run")  # the job before has not ended
    found = figures(place)
    assert found["burnish_schedule_firings_total", frozenset({"fired"})] == 1
    assert found["burnish_schedule_firings_total", frozenset({"skipped"})] == 1
    assert found["burnish_schedule_lateness_seconds_count", frozenset({"every"})] == 1
    assert found["burnish_schedule_lateness_seconds_bucket", frozenset({"every", "10.0"})] == 0
    assert found["burnish_schedule_overdue_seconds", frozenset()] == 0


def test_a_firing_that_waits_is_counted_when_it_waits_no_more(place: Place, model_bytes: bytes) -> None:
    place.upload(model_bytes)
    place.worker()
    job = {"model": "net", "dataset": "samples"}
    document = {"name": "nightly", "trigger": {"every": 3600}, "overlap": "queue", "job": job}
    made = place.client.post("/v1/schedules", json=document).json
    for _ in range(2):
        place.client.post(f"{made['links']['self']}/run")
    counted = {"fired": 1.0, "skipped": 0.0}
    for outcome, value in counted.items():
        assert figures(place)["burnish_schedule_firings_total", frozenset({outcome})] == value
    with place.database.begin() as tx:
        firings.end_waiting(tx, made["id"], "Paused.")
    assert figures(place)["burnish_schedule_firings_total", frozenset({"skipped"})] == 1


def test_store_and_sql_are_timed(place: Place, model_bytes: bytes) -> None:
    place.upload(model_bytes)
    found = figures(place)
    assert found["burnish_store_seconds_count", frozenset({"put"})] == 2
    assert found["burnish_sql_seconds_count", frozenset()] > 2


def test_calls_of_workers_are_served(place: Place) -> None:
    tally = Tally()
    tally.observe("worker_calls", "fetch", 2.0)
    with tally.writing(place.database.begin()):
        pass
    found = figures(place)
    assert found["burnish_worker_call_seconds_bucket", frozenset({"fetch", "1.0"})] == 0
    assert found["burnish_worker_call_seconds_bucket", frozenset({"fetch", "2.5"})] == 1
    assert found["burnish_worker_call_seconds_sum", frozenset({"fetch"})] == 2.0


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
