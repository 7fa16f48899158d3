"""Each test of this folder runs on the local folder and on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.blobs import BlobStore, open_store
from tests.seaweed import Seaweed
from tests.storage.blobs.blob_places import Place


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "local":
        url = f"file://{tmp_path / 'blobs'}"
        return Place(url, open_store(url), "local")
    server: Seaweed = request.getfixturevalue("seaweed")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    url = server.url(prefix=tmp_path.name)
    return Place(url, open_store(url), "s3", server.environment)


@pytest.fixture
def store(place: Place) -> BlobStore:
    return place.store
