"""Uploads of models: what is taken, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import io

from flask.testing import FlaskClient

from storage import blob_index, models
from tests import keywords
from tests.api.place import Place, dataset_bytes


def digest_header(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_an_upload_becomes_a_model_with_its_signature(client: FlaskClient, model_bytes: bytes) -> None:
    response = client.post("/v1/models?name=net", data=model_bytes, content_type="application/octet-stream")
    assert response.status_code == 201
    model = response.json
    assert (model["name"], model["version"], model["size"]) == ("net", 1, len(model_bytes))
    assert model["digest"] == hashlib.sha256(model_bytes).hexdigest()
    assert model["signature"]["inputs"][0]["shape"] == [None, 20]
    assert model["signature"]["max_batch"] == 256
    assert response.headers["Location"] == model["links"]["self"]
    assert client.get(model["links"]["self"]).json == model


def test_a_model_that_is_called_by_keyword_tells_the_names_and_the_order(client: FlaskClient) -> None:
    signature = client.post("/v1/models?name=reader", data=keywords.archive()).json["signature"]
    assert tuple(spec["name"] for spec in signature["inputs"]) == keywords.INPUTS
    assert tuple(spec["name"] for spec in signature["outputs"]) == keywords.OUTPUTS


def test_the_same_bytes_under_a_name_are_the_same_version(client: FlaskClient, model_bytes: bytes) -> None:
    first = client.post("/v1/models?name=net", data=model_bytes).json
    assert client.post("/v1/models?name=net", data=model_bytes).json == first
    other = client.post("/v1/models?name=other", data=model_bytes).json
    assert (other["name"], other["version"], other["digest"]) == ("other", 1, first["digest"])


def test_a_digest_that_was_announced_is_checked(place: Place, model_bytes: bytes) -> None:
    sound = {"Content-Digest": f"md5=:AAAA:, {digest_header(model_bytes)}"}
    assert place.client.post("/v1/models?name=net", data=model_bytes, headers=sound).status_code == 201
    wrong = place.client.post("/v1/models?name=x", data=model_bytes, headers={"Content-Digest": digest_header(b"")})
    assert wrong.status_code == 400
    assert "digest" in wrong.json["detail"]
    assert place.stored() == [hashlib.sha256(model_bytes).hexdigest()]


def test_a_digest_header_that_cannot_be_read_is_refused(client: FlaskClient) -> None:
    for value in ("sha-256=AAAA", "sha-256=:AAAA:", "sha-256=:***:"):
        response = client.post("/v1/models?name=net", data=b"x", headers={"Content-Digest": value})
        assert response.status_code == 400, value
        assert "Content-Digest" in response.json["detail"]


def test_what_is_no_model_is_refused_with_a_cure_and_leaves_no_row_and_no_blob(place: Place) -> None:
    response = place.client.post("/v1/models?name=net", data=b"no zip at all")
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert response.json["code"] == "model.invalid"
    assert response.json["cure"]
    assert place.stored() == []
    with place.database.read() as tx:
        assert models.list_(tx, after=None, limit=10) == []


def test_a_refused_upload_does_not_take_away_bytes_that_are_something_else(place: Place) -> None:
    data = dataset_bytes()
    assert place.client.post("/v1/datasets?name=samples", data=data).status_code == 201
    assert place.client.post("/v1/models?name=net", data=data).status_code == 422
    assert place.stored() == [hashlib.sha256(data).hexdigest()]


def test_an_upload_over_the_limit_is_refused_and_leaves_no_blob(place: Place) -> None:
    response = place.client.post("/v1/models?name=net", data=bytes(1_100_000))
    assert response.status_code == 413
    assert response.json["code"] == "too_large"
    assert place.stored() == []


def test_an_upload_that_is_not_announced_is_counted(place: Place) -> None:
    body = io.BytesIO(bytes(1_100_000))
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    response = place.client.post("/v1/models?name=net", input_stream=body, environ_overrides=chunked)
    assert (response.status_code, response.json["code"]) == (413, "too_large")
    assert place.stored() == []


def test_forms_are_not_taken_and_the_answer_says_what_to_send(client: FlaskClient) -> None:
    response = client.post("/v1/models?name=net", data={"file": "x"}, content_type="multipart/form-data")
    assert response.status_code == 415
    assert "--data-binary" in response.json["cure"]


def test_compressed_uploads_are_not_taken(client: FlaskClient) -> None:
    response = client.post("/v1/models?name=net", data=b"x", headers={"Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_an_upload_without_a_body_is_refused(client: FlaskClient) -> None:
    response = client.post("/v1/models?name=net")
    assert response.status_code in (400, 422)
    assert response.json["cure"]


def test_names_that_could_be_taken_for_something_else_are_refused(client: FlaskClient, model_bytes: bytes) -> None:
    for name in ("", "a:1", "a/b", "..\\x", " a", "a\n", "mdl_1", "x" * 101):
        response = client.post("/v1/models", query_string={"name": name}, data=model_bytes)
        assert response.status_code == 422, name
        assert response.json["faults"][0]["where"] == "?name"
    assert client.post("/v1/models", data=model_bytes).json["faults"][0]["where"] == "?name"


def test_any_other_printable_name_is_taken(client: FlaskClient, model_bytes: bytes) -> None:
    name = "Résnet (2), <b>'new'</b>".replace("/", "")
    response = client.post("/v1/models", query_string={"name": name}, data=model_bytes)
    assert response.json["name"] == name


def test_models_are_listed_newest_first_by_pages(client: FlaskClient, model_bytes: bytes) -> None:
    for name in ("a", "b", "c"):
        client.post(f"/v1/models?name={name}", data=model_bytes)
    first = client.get("/v1/models?limit=2").json
    assert [model["name"] for model in first["items"]] == ["c", "b"]
    second = client.get(f"/v1/models?limit=2&cursor={first['next']}").json
    assert [model["name"] for model in second["items"]] == ["a"]
    assert second["next"] is None


def test_a_page_of_exactly_the_rest_is_the_last(client: FlaskClient, model_bytes: bytes) -> None:
    client.post("/v1/models?name=a", data=model_bytes)
    assert client.get("/v1/models?limit=1").json["next"] is None


def test_limits_of_a_page_are_checked(client: FlaskClient) -> None:
    for query in ("limit=0", "limit=201", "limit=x", "cursor=", "page=2"):
        response = client.get(f"/v1/models?{query}")
        assert response.status_code == 422, query
        assert response.json["faults"][0]["where"] == f"?{query.partition('=')[0]}"


def test_a_model_that_is_not_there_is_a_404(client: FlaskClient) -> None:
    response = client.get("/v1/models/mdl_none")
    assert response.status_code == 404
    assert response.json["code"] == "not_found"


def test_a_document_has_an_etag_and_is_not_sent_twice(client: FlaskClient, model_bytes: bytes) -> None:
    link = client.post("/v1/models?name=net", data=model_bytes).json["links"]["self"]
    for address in (link, "/v1/models"):
        first = client.get(address)
        again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]


def test_when_all_transfers_are_taken_the_next_is_told_to_come_again(place: Place, model_bytes: bytes) -> None:
    transfers = place.app.extensions["burnish"].transfers
    for _ in range(6):
        transfers.take()
    response = place.client.post("/v1/models?name=net", data=model_bytes)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    transfers.give()
    assert place.client.post("/v1/models?name=net", data=model_bytes).status_code == 201
    assert place.client.post("/v1/models?name=net", data=b"refused, and the slot is free again").status_code == 422
    assert place.client.post("/v1/models?name=net", data=model_bytes).status_code == 201


def test_a_model_is_pinned_and_unpinned_by_id_or_name(client: FlaskClient, model_bytes: bytes) -> None:
    model = client.post("/v1/models?name=net", data=model_bytes).json
    assert model["pinned"] is False
    for ref in (model["id"], "net", "net:1"):
        for _ in range(2):  # asking again changes nothing
            assert client.put(f"/v1/models/{ref}/pin").json == {**model, "pinned": True}
        assert client.get(model["links"]["self"]).json["pinned"] is True
        for _ in range(2):
            assert client.delete(f"/v1/models/{ref}/pin").json == model
        assert client.get(model["links"]["self"]).json == model


def test_what_is_no_model_cannot_be_pinned(client: FlaskClient) -> None:
    assert client.put("/v1/models/mdl_none/pin").status_code == 404
    assert client.delete("/v1/models/mdl_none/pin").status_code == 404


def test_an_upload_whose_bytes_were_removed_meanwhile_is_told_to_come_again(place: Place, model_bytes: bytes) -> None:
    """A hold that lapsed: the collector may have taken the bytes before the model was registered."""
    confirm = blob_index.confirm
    try:
        blob_index.confirm = lambda tx, held: False
        response = place.client.post("/v1/models?name=net", data=model_bytes)
    finally:
        blob_index.confirm = confirm
    assert response.status_code == 503
    assert place.client.get("/v1/models").json["items"] == []
