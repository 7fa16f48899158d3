"""`Idempotency-Key`: sent twice, done once, answered twice."""

from __future__ import annotations

import threading

from flask.testing import FlaskClient

from tests.api.place import Place, dataset_bytes

KEY = {"Idempotency-Key": "one"}
SPEC = {"model": "net", "dataset": "samples"}


def test_a_job_sent_twice_with_a_key_is_one_job(place: Place, model_bytes: bytes) -> None:
    place.worker()
    place.upload(model_bytes)
    first = place.client.post("/v1/jobs", json=SPEC, headers=KEY)
    again = place.client.post("/v1/jobs", json=SPEC, headers=KEY)
    assert (again.status_code, again.json) == (202, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(place.client.get("/v1/jobs").json["items"]) == 1
    assert len(place.bell.rung) == 1


def test_the_first_answer_is_given_again_even_if_it_would_be_another_now(place: Place, model_bytes: bytes) -> None:
    from storage import workers

    place.worker()
    place.upload(model_bytes)
    first = place.client.post("/v1/jobs", json=SPEC, headers=KEY)
    with place.database.begin() as tx:
        workers.gone(tx, "wrk_cpu")
    assert place.client.post("/v1/jobs", json=SPEC).status_code == 422
    assert place.client.post("/v1/jobs", json=SPEC, headers=KEY).json == first.json


def test_the_same_key_with_another_body_is_a_conflict(place: Place, model_bytes: bytes) -> None:
    place.worker()
    place.upload(model_bytes)
    place.client.post("/v1/jobs", json=SPEC, headers=KEY)
    other = place.client.post("/v1/jobs", json={**SPEC, "priority": 1}, headers=KEY)
    assert (other.status_code, other.json["code"]) == (409, "conflict")


def test_a_refused_request_does_not_use_up_its_key(place: Place, model_bytes: bytes) -> None:
    place.upload(model_bytes)
    assert place.client.post("/v1/jobs", json=SPEC, headers=KEY).status_code == 422
    place.worker()
    assert place.client.post("/v1/jobs", json=SPEC, headers=KEY).status_code == 202


def test_an_upload_sent_twice_with_a_key_is_answered_twice(client: FlaskClient) -> None:
    first = client.post("/v1/datasets?name=a", data=dataset_bytes(), headers=KEY)
    again = client.post("/v1/datasets?name=a", data=dataset_bytes(), headers=KEY)
    assert (again.status_code, again.json) == (201, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"


def test_an_upload_of_other_bytes_with_a_key_is_a_conflict_and_its_bytes_are_not_kept(place: Place) -> None:
    first = place.client.post("/v1/datasets?name=a", data=dataset_bytes(), headers=KEY)
    assert place.client.post("/v1/datasets?name=a", data=dataset_bytes(50), headers=KEY).status_code == 409
    assert place.client.post("/v1/datasets?name=b", data=dataset_bytes(), headers=KEY).status_code == 409
    assert place.stored() == [first.json["digest"]]


def test_the_same_key_at_another_address_is_another_key(place: Place) -> None:
    one, two = place.job(), place.job()
    for job in (one, two):
        assert place.client.post(f"/v1/jobs/{job.id}/cancel", headers=KEY).json["id"] == job.id


def test_cancel_with_a_key_is_answered_twice(place: Place) -> None:
    job = place.job()
    first = place.client.post(f"/v1/jobs/{job.id}/cancel", headers=KEY)
    place.client.post(f"/v1/jobs/{job.id}/retry", headers=KEY)
    assert place.client.post(f"/v1/jobs/{job.id}/cancel", headers=KEY).json == first.json
    assert place.client.get(f"/v1/jobs/{job.id}").json["state"] == "queued"


def test_a_key_that_cannot_be_used_is_refused(place: Place) -> None:
    job = place.job()
    for key in ("", "x" * 201, "a\tb"):
        response = place.client.post(f"/v1/jobs/{job.id}/cancel", headers={"Idempotency-Key": key})
        assert response.status_code == 400, key


def test_two_at_the_same_moment_make_one_job(place: Place, model_bytes: bytes) -> None:
    place.worker()
    place.upload(model_bytes)
    answers: list[str] = []
    together = threading.Barrier(4)

    def send() -> None:
        together.wait()
        answers.append(place.app.test_client().post("/v1/jobs", json=SPEC, headers=KEY).json["id"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
