"""Uploads of datasets."""

from __future__ import annotations

import pickle

from flask.testing import FlaskClient

from tests.api.place import Place, dataset_bytes


def test_an_upload_becomes_a_dataset_with_its_arrays(client: FlaskClient) -> None:
    response = client.post("/v1/datasets?name=samples", data=dataset_bytes(12, 7))
    assert response.status_code == 201
    dataset = response.json
    assert (dataset["name"], dataset["format"], dataset["samples"]) == ("samples", "safetensors", 12)
    assert dataset["inputs"][0]["shape"] == [12, 7]
    assert dataset["targets"]["dtype"] == "int64"
    assert client.get(dataset["links"]["self"]).json == dataset


def test_a_dataset_without_labels_has_no_targets(client: FlaskClient) -> None:
    response = client.post("/v1/datasets?name=samples", data=dataset_bytes(labelled=False))
    assert response.json["targets"] is None


def test_a_pickle_is_refused_and_nothing_is_kept(place: Place) -> None:
    response = place.client.post("/v1/datasets?name=samples", data=pickle.dumps([1, 2, 3]))
    assert response.status_code == 422
    assert response.json["code"] == "dataset.invalid"
    assert "pickle" in response.json["detail"]
    assert place.stored() == []


def test_datasets_are_listed_newest_first_by_pages(client: FlaskClient) -> None:
    for name in ("a", "b", "c"):
        client.post(f"/v1/datasets?name={name}", data=dataset_bytes())
    first = client.get("/v1/datasets?limit=2").json
    second = client.get(f"/v1/datasets?limit=2&cursor={first['next']}").json
    assert [item["name"] for item in first["items"] + second["items"]] == ["c", "b", "a"]


def test_a_dataset_that_is_not_there_is_a_404(client: FlaskClient) -> None:
    assert client.get("/v1/datasets/dst_none").status_code == 404
