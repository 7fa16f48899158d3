"""Uploads in parts: what arrives stays, what is wrong is refused, and the end is that of an upload in one piece."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from storage import tables, uploads
from tests.api.place import Place, dataset_bytes


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file has several."""
    monkeypatch.setattr(uploads, "PART", 4096)


def digest_header(data: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


def begin(client: FlaskClient, data: bytes, kind: str = "model", **more: Any) -> dict[str, Any]:
    order = {"kind": kind, "name": "net", "size": len(data), **more}
    response = client.post("/v1/uploads", json=order)
    assert response.status_code == 201, response.text
    upload: dict[str, Any] = response.json
    return upload


def cut(upload: dict[str, Any], data: bytes, number: int) -> bytes:
    return data[(number - 1) * upload["part_size"] : number * upload["part_size"]]


def put(client: FlaskClient, upload: dict[str, Any], number: int, part: bytes, **headers: str) -> Any:
    return client.put(f"{upload['links']['self']}/parts/{number}", data=part, headers=headers)


def send_all(client: FlaskClient, upload: dict[str, Any], data: bytes) -> None:
    for number in range(1, upload["part_count"] + 1):
        assert put(client, upload, number, cut(upload, data, number)).status_code == 200


def complete(client: FlaskClient, upload: dict[str, Any]) -> Any:
    return client.post(upload["links"]["complete"])


def test_parts_in_any_order_become_the_model_that_one_piece_would_be(place: Place, model_bytes: bytes) -> None:
    client = place.client
    upload = begin(client, model_bytes, sha256=hashlib.sha256(model_bytes).hexdigest())
    assert upload["part_count"] > 3
    for number in reversed(range(1, upload["part_count"] + 1)):
        part = cut(upload, model_bytes, number)
        told = put(client, upload, number, part, **digest_header(part)).json
        assert told == {"number": number, "size": len(part), "digest": hashlib.sha256(part).hexdigest()}
    done = complete(client, upload)
    assert done.status_code == 201
    assert done.json == client.post("/v1/models?name=net", data=model_bytes).json
    assert done.headers["Location"] == done.json["links"]["self"]


def test_a_dataset_goes_the_same_way(client: FlaskClient) -> None:
    data = dataset_bytes(200)
    upload = begin(client, data, kind="dataset")
    send_all(client, upload, data)
    assert complete(client, upload).json["samples"] == 200


def test_what_has_arrived_is_told_so_that_the_rest_can_be_sent(client: FlaskClient, model_bytes: bytes) -> None:
    upload = begin(client, model_bytes)
    put(client, upload, 2, cut(upload, model_bytes, 2))
    seen = client.get(upload["links"]["self"]).json
    assert [part["number"] for part in seen["parts"]] == [2]
    assert seen["resource"] is None


def test_a_part_sent_twice_is_there_once(place: Place, model_bytes: bytes) -> None:
    upload = begin(place.client, model_bytes)
    part = cut(upload, model_bytes, 1)
    assert put(place.client, upload, 1, part).json == put(place.client, upload, 1, part).json
    assert place.stored() == [hashlib.sha256(part).hexdigest()]


def test_a_part_with_another_digest_than_announced_is_refused_and_not_kept(place: Place, model_bytes: bytes) -> None:
    upload = begin(place.client, model_bytes)
    part = cut(upload, model_bytes, 1)
    refused = put(place.client, upload, 1, part, **digest_header(b"other"))
    assert (refused.status_code, "digest" in refused.json["detail"]) == (400, True)
    assert place.client.get(upload["links"]["self"]).json["parts"] == []
    assert place.stored() == []


@pytest.mark.parametrize(("change", "status"), [(-1, 400), (1, 413)])
def test_a_part_of_another_length_is_refused(place: Place, model_bytes: bytes, change: int, status: int) -> None:
    upload = begin(place.client, model_bytes)
    refused = put(place.client, upload, 1, bytes(upload["part_size"] + change))
    assert refused.status_code == status
    assert place.stored() == []


@pytest.mark.parametrize("number", [0, 1000])
def test_a_part_that_the_file_does_not_have_is_not_found(client: FlaskClient, model_bytes: bytes, number: int) -> None:
    assert put(client, begin(client, model_bytes), number, b"x").status_code == 404


def test_completing_with_parts_missing_names_them_and_loses_nothing(client: FlaskClient, model_bytes: bytes) -> None:
    upload = begin(client, model_bytes)
    put(client, upload, 1, cut(upload, model_bytes, 1))
    refused = complete(client, upload)
    assert refused.status_code == 409
    assert "missing: 2, 3" in refused.json["detail"]
    send_all(client, upload, model_bytes)
    assert complete(client, upload).status_code == 201


def test_a_whole_with_another_digest_than_announced_is_refused(client: FlaskClient, model_bytes: bytes) -> None:
    upload = begin(client, model_bytes, sha256="0" * 64)
    send_all(client, upload, model_bytes)
    assert complete(client, upload).status_code == 400
    assert client.get("/v1/models").json["items"] == []


def test_what_is_no_model_is_refused_and_leaves_nothing(place: Place) -> None:
    data = b"no archive at all" * 1000
    upload = begin(place.client, data)
    send_all(place.client, upload, data)
    refused = complete(place.client, upload)
    assert (refused.status_code, refused.json["code"]) == (422, "model.invalid")
    assert place.client.get(upload["links"]["self"]).status_code == 404


def test_completed_again_it_gives_the_same_answer_and_takes_no_more_parts(
    client: FlaskClient, model_bytes: bytes
) -> None:
    upload = begin(client, model_bytes)
    send_all(client, upload, model_bytes)
    assert complete(client, upload).json == complete(client, upload).json
    late = put(client, upload, 1, cut(upload, model_bytes, 1))
    assert late.status_code == 409
    assert client.get(upload["links"]["self"]).json["resource"].startswith("mdl_")


def test_a_file_over_the_limit_is_refused_before_a_byte_is_sent(client: FlaskClient) -> None:
    refused = client.post("/v1/uploads", json={"kind": "model", "name": "net", "size": 10**7})
    assert (refused.status_code, refused.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("change", "where"),
    [({"kind": "cat"}, "/kind"), ({"name": "a:b"}, "/name"), ({"size": -1}, "/size"), ({"sha256": "xy"}, "/sha256")],
)
def test_an_order_with_faults_is_refused_with_their_places(
    client: FlaskClient, change: dict[str, Any], where: str
) -> None:
    refused = client.post("/v1/uploads", json={"kind": "model", "name": "net", "size": 1, **change})
    assert refused.status_code == 422
    assert [fault["where"] for fault in refused.json["faults"]] == [where]


def test_begun_twice_with_one_key_it_is_one_upload(client: FlaskClient, model_bytes: bytes) -> None:
    order = {"kind": "model", "name": "net", "size": len(model_bytes)}
    first, second = (client.post("/v1/uploads", json=order, headers={"Idempotency-Key": "k"}).json for _ in range(2))
    assert first["id"] == second["id"]


def test_given_up_it_is_gone(client: FlaskClient, model_bytes: bytes) -> None:
    upload = begin(client, model_bytes)
    assert client.delete(upload["links"]["self"]).status_code == 204
    assert client.get(upload["links"]["self"]).status_code == 404
    assert client.delete(upload["links"]["self"]).status_code == 204


def test_expired_it_is_told_what_to_do(place: Place, model_bytes: bytes) -> None:
    upload = begin(place.client, model_bytes)
    with place.database.begin() as tx:
        tx.execute(update(tables.uploads).values(expires_at=tx.now))
    for refused in (
        place.client.get(upload["links"]["self"]),
        put(place.client, upload, 1, cut(upload, model_bytes, 1)),
        complete(place.client, upload),
    ):
        assert refused.status_code == 404
        assert "Start a new one" in refused.json["cure"]


def test_parts_are_kept_on_s3_too(place_on_s3: Place, model_bytes: bytes) -> None:
    upload = begin(place_on_s3.client, model_bytes)
    send_all(place_on_s3.client, upload, model_bytes)
    assert complete(place_on_s3.client, upload).status_code == 201
