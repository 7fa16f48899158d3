"""Downloads: whole, in ranges, and only what may be handed out."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from tests.api.place import Place, dataset_bytes

DATA = dataset_bytes()
SIZE = len(DATA)
DIGEST = hashlib.sha256(DATA).hexdigest()
ADDRESS = f"/v1/artifacts/{DIGEST}"


@pytest.fixture
def stocked(place: Place) -> Place:
    place.client.post("/v1/datasets?name=samples", data=DATA)
    return place


def test_an_upload_can_be_downloaded_whole(stocked: Place) -> None:
    response = stocked.client.get(f"{ADDRESS}?name=samples.safetensors")
    assert response.status_code == 200
    assert response.data == DATA
    assert response.headers["ETag"] == f'"{DIGEST}"'
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Disposition"] == "attachment; filename=samples.safetensors"
    assert "immutable" in response.headers["Cache-Control"]


def test_an_output_of_a_step_can_be_downloaded(place: Place) -> None:
    blob = place.blobs.put([b"made by a step"])
    assert place.client.get(f"/v1/artifacts/{blob.digest}").status_code == 404
    job = place.job()
    place.plan(job)
    claim = place.start(job, "capture")
    assert claim is not None
    place.finish(claim, {"program": blob.digest})
    assert place.client.get(f"/v1/artifacts/{blob.digest}").data == b"made by a step"


def test_a_blob_that_is_neither_upload_nor_output_is_not_handed_out(place: Place) -> None:
    blob = place.blobs.put([b"half a step's scratch"])
    assert place.client.get(f"/v1/artifacts/{blob.digest}").status_code == 404


def test_digests_that_are_none_are_a_404(stocked: Place) -> None:
    for digest in ("0" * 64, "x", DIGEST.upper(), DIGEST[:-1], "%", "..%2f..%2fetc"):
        assert stocked.client.get(f"/v1/artifacts/{digest}").status_code == 404, digest


def test_a_name_cannot_break_the_header_nor_leave_the_folder(stocked: Place) -> None:
    response = stocked.client.get(ADDRESS, query_string={"name": '../a"b\r\nX: y\\é.pt2'})
    disposition = response.headers["Content-Disposition"]
    assert "/" not in disposition.replace("UTF-8''", "")
    assert "\n" not in disposition
    assert "X" not in response.headers


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, SIZE), ("bytes=-5", SIZE - 5, SIZE), ("bytes=5-999999", 5, SIZE),
     ("bytes=-999999", 0, SIZE)],
)  # fmt: skip
def test_a_range_is_sent_alone(stocked: Place, asked: str, start: int, end: int) -> None:
    response = stocked.client.get(ADDRESS, headers={"Range": asked})
    assert response.status_code == 206
    assert response.data == DATA[start:end]
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)


def test_ranges_that_are_not_one_range_get_the_whole(stocked: Place) -> None:
    for asked in ("bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=9-3", "x"):
        response = stocked.client.get(ADDRESS, headers={"Range": asked})
        assert (response.status_code, response.data) == (200, DATA), asked


def test_a_range_outside_is_a_416_that_says_the_size(stocked: Place) -> None:
    for asked in (f"bytes={SIZE}-", "bytes=-0"):
        response = stocked.client.get(ADDRESS, headers={"Range": asked})
        assert response.status_code == 416, asked
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"


def test_a_range_of_another_version_gets_the_whole(stocked: Place) -> None:
    fits = {"Range": "bytes=0-1", "If-Range": f'"{DIGEST}"'}
    other = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert stocked.client.get(ADDRESS, headers=fits).status_code == 206
    assert stocked.client.get(ADDRESS, headers=other).status_code == 200


def test_what_is_at_hand_is_not_sent_again(stocked: Place) -> None:
    response = stocked.client.get(ADDRESS, headers={"If-None-Match": f'"{DIGEST}"'})
    assert (response.status_code, response.data) == (304, b"")


def test_a_head_request_tells_the_size_without_the_bytes(stocked: Place) -> None:
    response = stocked.client.head(ADDRESS)
    assert (response.status_code, response.data, response.headers["Content-Length"]) == (200, b"", str(SIZE))


def test_each_download_gives_its_slot_back(stocked: Place) -> None:
    for _ in range(8):
        stocked.client.get(ADDRESS).close()
        stocked.client.get(ADDRESS, headers={"Range": "bytes=0-1"}).close()
    stocked.app.extensions["burnish"].transfers.take()


def test_when_all_transfers_are_taken_a_download_is_told_to_come_again(stocked: Place) -> None:
    for _ in range(6):
        stocked.app.extensions["burnish"].transfers.take()
    response = stocked.client.get(ADDRESS)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert stocked.client.head(ADDRESS).status_code == 200


def test_a_client_that_asks_is_sent_to_the_store_itself(place_on_s3: Place) -> None:
    place_on_s3.client.post("/v1/datasets?name=samples", data=DATA)
    response = place_on_s3.client.get(f"{ADDRESS}?redirect=1&name=a%20name.npz")
    assert response.status_code == 307
    assert response.headers["Cache-Control"] == "no-store"
    whole = httpx.get(response.headers["Location"])
    assert whole.content == DATA
    assert whole.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a%20name.npz"
    part = httpx.get(response.headers["Location"], headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, DATA[5:10])


def test_a_link_for_what_may_not_be_handed_out_is_not_given(place_on_s3: Place) -> None:
    blob = place_on_s3.blobs.put([b"half a step's scratch"])
    assert place_on_s3.client.get(f"/v1/artifacts/{blob.digest}?redirect=1").status_code == 404


def test_a_link_that_was_changed_gives_nothing(place_on_s3: Place) -> None:
    place_on_s3.client.post("/v1/datasets?name=samples", data=DATA)
    link = place_on_s3.client.get(f"{ADDRESS}?redirect=1").headers["Location"]
    other = place_on_s3.blobs.put([b"not for you"]).digest
    assert httpx.get(link.replace(DIGEST, other)).status_code == 403


def test_without_asking_the_bytes_come_from_the_api_on_every_store(place_on_s3: Place) -> None:
    place_on_s3.client.post("/v1/datasets?name=samples", data=DATA)
    assert place_on_s3.client.get(ADDRESS).data == DATA
    assert place_on_s3.client.get(ADDRESS, headers={"Range": "bytes=5-9"}).data == DATA[5:10]
    assert place_on_s3.client.head(f"{ADDRESS}?redirect=1").headers["Content-Length"] == str(SIZE)


def test_a_store_without_links_gives_the_bytes_also_to_a_client_that_asks_for_one(stocked: Place) -> None:
    response = stocked.client.get(f"{ADDRESS}?redirect=true")
    assert (response.status_code, response.data) == (200, DATA)


def test_what_was_evicted_is_a_404_that_says_how_to_have_it_again(place: Place) -> None:
    response = place.client.get(f"/v1/artifacts/{'0' * 64}")
    assert "submit the job again" in response.json["cure"]
