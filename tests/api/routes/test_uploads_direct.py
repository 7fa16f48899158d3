"""Uploads by links to a real S3 server: the service signs, checks all that was sent, and takes nothing on trust."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from api import direct
from storage import uploads
from tests.api.place import Place, dataset_bytes
from tests.api.routes.test_uploads import begin, complete, cut, send_all

DATA = dataset_bytes(130_000)
"""Two parts and a bit: S3 wants 5 MiB of every part but the last."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART", 5 << 20)


def put_all(upload: dict[str, Any], data: bytes, only: tuple[int, ...] = ()) -> None:
    for part in upload["direct"]["parts"]:
        if not only or part["number"] in only:
            body = cut(upload, data, part["number"])
            assert len(body) == part["size"]
            httpx.put(part["url"], content=body).raise_for_status()


def again(client: FlaskClient, upload: dict[str, Any]) -> dict[str, Any]:
    shown = client.get(upload["links"]["self"]).json
    assert isinstance(shown, dict)
    return shown


def test_parts_sent_by_links_become_the_dataset_that_one_piece_would_be(direct_place: Place) -> None:
    client = direct_place.client
    upload = begin(client, DATA, kind="dataset", sha256=hashlib.sha256(DATA).hexdigest())
    assert [part["number"] for part in upload["direct"]["parts"]] == [1, 2, 3]
    put_all(upload, DATA, only=(2,))
    left = again(client, upload)
    assert (left["direct"]["missing"], [part["number"] for part in left["direct"]["parts"]]) == (2, [1, 3])
    put_all(left, DATA)
    done = complete(client, upload)
    assert done.status_code == 201, done.text
    assert (done.json["digest"], done.json["size"]) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert complete(client, upload).json == done.json == client.post("/v1/datasets?name=net", data=DATA).json
    assert again(client, upload)["direct"] is None
    assert direct_place.blobs.sweep(-60) == 0


def test_bytes_with_another_digest_than_announced_are_refused_and_can_be_sent_again(direct_place: Place) -> None:
    client = direct_place.client
    digest = hashlib.sha256(DATA).hexdigest()
    upload = begin(client, DATA, kind="dataset", sha256=digest)
    put_all(upload, bytes(len(DATA)))
    refused = complete(client, upload)
    assert (refused.status_code, "announced" in refused.json["detail"], refused.json["cure"][:19]) == (
        400,
        True,
        "Send all parts again"[:19],
    )
    assert direct_place.blobs.size(digest) is None
    assert direct_place.blobs.size(hashlib.sha256(bytes(len(DATA))).hexdigest()) is None
    put_all(again(client, upload), DATA)
    assert complete(client, upload).status_code == 201


def test_completing_with_parts_missing_names_them_and_loses_nothing(direct_place: Place) -> None:
    upload = begin(direct_place.client, DATA, kind="dataset")
    put_all(upload, DATA, only=(2,))
    refused = complete(direct_place.client, upload)
    assert (refused.status_code, "missing: 1, 3" in refused.json["detail"]) == (409, True)
    assert again(direct_place.client, upload)["direct"]["missing"] == 2


def test_what_is_no_dataset_is_refused_and_leaves_nothing(direct_place: Place) -> None:
    data = b"no dataset at all"
    upload = begin(direct_place.client, data, kind="dataset")
    put_all(upload, data)
    refused = complete(direct_place.client, upload)
    assert (refused.status_code, refused.json["code"]) == (422, "dataset.invalid")
    assert direct_place.client.get(upload["links"]["self"]).status_code == 404
    assert direct_place.blobs.size(hashlib.sha256(data).hexdigest()) is None


def test_a_file_over_the_limit_gets_no_links(direct_place: Place) -> None:
    refused = direct_place.client.post("/v1/uploads", json={"kind": "model", "name": "net", "size": 10**9})
    assert refused.status_code == 413


def test_parts_may_go_through_the_service_all_the_same(direct_place: Place) -> None:
    upload = begin(direct_place.client, DATA, kind="dataset")
    put_all(upload, DATA, only=(1,))
    send_all(direct_place.client, upload, DATA)
    assert complete(direct_place.client, upload).status_code == 201


def test_given_up_nothing_is_left_in_the_store(direct_place: Place) -> None:
    upload = begin(direct_place.client, DATA, kind="dataset")
    put_all(upload, DATA, only=(3,))
    assert direct_place.client.delete(upload["links"]["self"]).status_code == 204
    assert direct_place.blobs.sweep(-60) == 0


def test_an_address_that_was_made_up_removes_nothing(direct_place: Place) -> None:
    assert direct_place.client.delete("/v1/uploads/anything").status_code == 204


def test_begun_twice_with_one_key_the_links_are_not_remembered(direct_place: Place) -> None:
    order = {"kind": "dataset", "name": "net", "size": len(DATA)}
    headers = {"Idempotency-Key": "k"}
    first, second = (
        json.loads(direct_place.client.post("/v1/uploads", json=order, headers=headers).data) for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert (len(first["direct"]["parts"]), second["direct"]) == (3, None)


def test_links_come_a_few_at_a_time(direct_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "AT_ONCE", 2)
    upload = begin(direct_place.client, DATA, kind="dataset")
    assert (upload["direct"]["missing"], len(upload["direct"]["parts"])) == (3, 2)
    put_all(upload, DATA)
    assert [part["number"] for part in again(direct_place.client, upload)["direct"]["parts"]] == [3]


def test_an_empty_file_has_no_part_that_could_go_elsewhere(direct_place: Place) -> None:
    assert begin(direct_place.client, b"")["direct"] is None


def test_pages_may_reach_the_store_and_nothing_else(direct_place: Place, place_on_s3: Place) -> None:
    def connect(place: Place) -> str:
        policy = place.client.get("/healthz").headers["Content-Security-Policy"]
        return next(part for part in policy.split("; ") if part.startswith("connect-src"))

    assert connect(direct_place) == f"connect-src 'self' {direct.origin(direct_place.settings, direct_place.blobs)}"
    assert connect(place_on_s3) == "connect-src 'self'"


def test_without_the_setting_no_links_are_made(place_on_s3: Place) -> None:
    upload = begin(place_on_s3.client, b"some bytes")
    assert upload["direct"] is None
    assert again(place_on_s3.client, upload)["direct"] is None


def test_a_folder_makes_no_links(direct_folder: Place) -> None:
    assert begin(direct_folder.client, b"some bytes")["direct"] is None
