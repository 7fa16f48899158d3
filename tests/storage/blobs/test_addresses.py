"""Addresses of stores."""

from __future__ import annotations

import pytest

from burnish.errors import BadSetting
from storage.blobs import open_store


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/just/a/path",
        "http://bucket",
        "file://host/path",
        "file:relative",
        "s3:///prefix",
        "s3://bucket?color=red",
        "s3://bucket?endpoint=not-a-url",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_by_name(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        open_store(url)
    assert caught.value.where == "BURNISH_BLOBS_URL"
