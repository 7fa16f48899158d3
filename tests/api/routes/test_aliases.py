"""Aliases over REST: set, rolled back, and the address that stays."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.api.place import Place
from tests.api.promoted import finished_job

ADDRESS = "/v1/models/net/aliases/production"


def put(place: Place, **document: Any) -> Any:
    return place.client.put(ADDRESS, json=document)


def wheres(response: Any) -> set[str]:
    assert response.status_code == 422, response.text
    return {fault["where"] for fault in response.json["faults"]}


def test_an_alias_stands_for_what_a_job_chose(place: Place) -> None:
    job, digest = finished_job(place)
    made = put(place, job=job.id, reason="It is better.")
    assert made.status_code == 200, made.text
    entry = made.json["entry"]
    assert (entry["artifact"]["digest"], entry["candidate"], entry["job"]) == (digest, "prune@onnxruntime", job.id)
    assert (entry["action"], entry["reason"], entry["model_version"]) == ("set", "It is better.", job.model)
    assert (made.json["revision"], made.json["previous"]) == (1, None)
    assert place.client.get(ADDRESS).json == made.json
    assert place.client.get("/v1/models/net/aliases").json["items"] == [made.json]
    assert put(place, job=job.id).json == made.json


def test_the_address_stays_and_its_etag_is_the_digest(place: Place) -> None:
    for content in (b"first", b"second"):
        job, digest = finished_job(place, content)
        put(place, job=job.id)
        response = place.client.get(f"{ADDRESS}/artifact")
        assert (response.data, response.headers["ETag"]) == (content, f'"{digest}"')
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Content-Disposition"] == "attachment; filename=model.onnx"
        etag = {"If-None-Match": response.headers["ETag"]}
        same = place.client.get(f"{ADDRESS}/artifact", headers=etag)
        assert (same.status_code, same.data) == (304, b"")
    part = place.client.get(f"{ADDRESS}/artifact", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.data) == (206, b"eco")
    other = place.client.get(f"{ADDRESS}/artifact", headers={"Range": "bytes=1-3", "If-Range": f'"{"0" * 64}"'})
    assert (other.status_code, other.data) == (200, b"second")


def test_on_a_store_with_links_the_address_leads_there(place_on_s3: Place) -> None:
    job, digest = finished_job(place_on_s3, b"linked")
    put(place_on_s3, job=job.id)
    response = place_on_s3.client.get(f"{ADDRESS}/artifact?redirect=true")
    assert response.status_code == 307
    same = {"If-None-Match": f'"{digest}"'}
    assert place_on_s3.client.get(f"{ADDRESS}/artifact?redirect=true", headers=same).status_code == 304


def test_a_rollback_brings_back_what_was_before(place: Place) -> None:
    digests = []
    for content in (b"first", b"second"):
        job, digest = finished_job(place, content)
        assert put(place, job=job.id).json["previous"] == (digests[-1] if digests else None)
        digests.append(digest)
    back = place.client.post(f"{ADDRESS}/rollback").json
    assert (back["entry"]["artifact"]["digest"], back["entry"]["action"]) == (digests[0], "rolled_back")
    assert place.client.get(f"{ADDRESS}/artifact").data == b"first"
    assert place.client.post(f"{ADDRESS}/rollback").status_code == 409
    history = place.client.get(f"{ADDRESS}/history").json["items"]
    assert [item["action"] for item in history] == ["rolled_back", "set", "set"]


def test_a_rollback_that_is_sent_twice_is_done_once(place: Place) -> None:
    for content in (b"first", b"second", b"third"):
        put(place, job=finished_job(place, content)[0].id)
    answers = [place.client.post(f"{ADDRESS}/rollback", headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert place.client.get(f"{ADDRESS}/artifact").data == b"second"


def test_another_candidate_may_be_named_if_it_was_verified_and_is_in_the_store(place: Place) -> None:
    job, digest = finished_job(place)
    assert put(place, job=job.id, artifact=digest).status_code == 200
    assert put(place, job=job.id, artifact="original@onnxruntime").status_code == 409  # its bytes are not in the store
    for wrong in ("prune@inductor", "eager", "none", "0" * 64):
        assert wheres(put(place, job=job.id, artifact=wrong)) == {"/artifact"}


def test_jobs_that_can_not_be_used_are_refused_with_the_reason(place: Place) -> None:
    other, queued = finished_job(place, name="other")[0], place.job()
    assert wheres(put(place, job=other.id)) == {"/job"}
    assert wheres(put(place, job=queued.id)) == {"/job"}
    assert put(place, job="job_none").status_code == 404
    assert wheres(put(place)) == {"/job"}
    assert wheres(put(place, job=queued.id, color=1)) == {"/color"}
    bad = place.client.put("/v1/models/net/aliases/Prod!", json={})
    assert wheres(bad) == {"/alias", "/job"}


def test_removed_it_stands_for_nothing(place: Place) -> None:
    put(place, job=finished_job(place)[0].id)
    assert place.client.delete(ADDRESS).status_code == 204
    for method, path in (("get", ""), ("delete", ""), ("get", "/artifact"), ("post", "/rollback")):
        assert getattr(place.client, method)(ADDRESS + path).status_code == 404
    assert len(place.client.get(f"{ADDRESS}/history").json["items"]) == 1


def test_aliases_of_no_model_are_a_404(place: Place) -> None:
    assert place.client.get("/v1/models/none/aliases").status_code == 404


@pytest.mark.parametrize("ref", ["net", "net:1"])
def test_a_version_or_an_id_of_the_model_means_its_name(place: Place, ref: str) -> None:
    job, digest = finished_job(place)
    put(place, job=job.id)
    for each in (ref, job.model_id):
        found = place.client.get(f"/v1/models/{each}/aliases/production").json
        assert (found["model"], found["entry"]["artifact"]["digest"]) == ("net", digest)
    assert hashlib.sha256(b"bytes").hexdigest() == digest


def test_changes_by_hand_are_told(place: Place) -> None:
    hook = place.client.post("/v1/webhooks", json={"url": "https://example.com/", "types": ["alias.changed"]}).json
    first, second = (finished_job(place, content)[0] for content in (b"first", b"second"))
    for job in (first, second, second):
        put(place, job=job.id)
    place.client.post(f"{ADDRESS}/rollback")
    place.client.delete(ADDRESS)
    told = place.client.get(hook["links"]["deliveries"]).json["items"]
    assert [item["payload"]["data"]["action"] for item in told] == ["removed", "rolled_back", "set", "set"]
