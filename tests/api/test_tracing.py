"""The trace of a request: taken or made, kept with the job, in every log line."""

from __future__ import annotations

import logging

import pytest

from burnish.trace import Trace
from storage import jobs
from tests.api.place import Place

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def submitted(place: Place, model_bytes: bytes, **headers: str) -> str:
    place.worker()
    model, dataset = place.upload(model_bytes)
    response = place.client.post("/v1/jobs", json={"model": model, "dataset": dataset}, headers=headers)
    assert response.status_code == 202
    job: str = response.json["id"]
    return job


def test_a_job_keeps_the_trace_of_the_request_that_submitted_it(place: Place, model_bytes: bytes) -> None:
    job = submitted(place, model_bytes, traceparent=GIVEN)
    assert place.client.get(f"/v1/jobs/{job}").json["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    with place.database.read() as tx:
        kept = Trace.parse(jobs.get(tx, job).traceparent)
    assert kept is not None
    assert kept.span_id != "00f067aa0ba902b7"  # that of our request, which is a part of the client's


def test_a_request_without_a_trace_begins_one_and_names_it(place: Place, model_bytes: bytes) -> None:
    job = submitted(place, model_bytes)
    assert len(place.client.get(f"/v1/jobs/{job}").json["trace_id"]) == 32
    first, second = (Trace.parse(place.client.get("/healthz").headers["traceparent"]) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.trace_id != second.trace_id


def test_a_trace_that_can_not_be_read_is_replaced(place: Place) -> None:
    for header in ("nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"):
        answer = place.client.get("/healthz", headers={"traceparent": header}).headers["traceparent"]
        assert Trace.parse(answer) is not None
        assert "0" * 32 not in answer


def test_the_answer_to_a_repeated_request_is_the_job_with_its_first_trace(place: Place, model_bytes: bytes) -> None:
    place.worker()
    model, dataset = place.upload(model_bytes)
    send = {"json": {"model": model, "dataset": dataset}}
    first, again = (
        place.client.post("/v1/jobs", headers={"Idempotency-Key": "k", "traceparent": header}, **send).json
        for header in (GIVEN, GIVEN.replace("4bf9", "5bf9"))
    )
    assert first == again


def test_changes_are_logged_with_route_and_status_and_reading_is_not(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    job = place.job()
    with caplog.at_level(logging.INFO):
        place.client.get(f"/v1/jobs/{job.id}")
        place.client.post(f"/v1/jobs/{job.id}/cancel")
    (said,) = [record.getMessage() for record in caplog.records if record.name == "api.tracing"]
    assert said.startswith("POST /v1/jobs/<id>/cancel: 202 in ")
