"""An upload outlives the API that takes it: killed in the midst, it is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.client import parts
from tests.api.place import dataset_bytes
from tests.web.site import Site, site_in


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Site]:
    """A service whose API may be killed."""
    with site_in(tmp_path) as made:
        yield made


def test_an_api_that_is_killed_costs_no_part_that_has_arrived(
    alone: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "IN_PARTS", 1)
    path = tmp_path / "large.safetensors"
    path.write_bytes(dataset_bytes(200_000))
    killed = []

    def seen(moved: int, size: int) -> None:
        if moved < size and not killed:
            killed.append(moved)
            alone.api.kill()
            alone.api.wait()
            alone.start_api()

    dataset = alone.client.upload_dataset(path, seen=seen)
    assert killed == [16 << 20]
    assert dataset.samples == 200_000
    assert dataset.size == path.stat().st_size
