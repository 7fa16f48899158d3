"""Large files in parts: what has arrived is not sent again, by whomever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from burnish import Client
from burnish.client import parts
from burnish.client.transport import Transport
from burnish.errors import InvalidModel, Unavailable
from storage import uploads
from tests.api.place import dataset_bytes
from tests.burnish.conftest import Served

PART = 4096


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file is a large one."""
    monkeypatch.setattr(uploads, "PART", PART)
    monkeypatch.setattr(parts, "IN_PARTS", PART)
    monkeypatch.setattr(parts, "_PAUSE", 0.0)


@pytest.fixture
def net(tmp_path: Path, model_bytes: bytes) -> Path:
    path = tmp_path / "net.pt2"
    path.write_bytes(model_bytes)
    return path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of the parts that went out."""
    found: list[str] = []
    around(monkeypatch, lambda path: found.append(path))
    return found


def around(monkeypatch: pytest.MonkeyPatch, told: Callable[[str], object]) -> None:
    """`told` hears of each part before it goes out, and may raise."""
    put = Transport.put_bytes

    def tell(self: Transport, path: str, data: bytes, *, headers: Mapping[str, str]) -> httpx.Response:
        told(path)
        return put(self, path, data, headers=headers)

    monkeypatch.setattr(Transport, "put_bytes", tell)


class Killed(BaseException):
    """What ends a process in the midst of it."""


def killed_after(count: int) -> Callable[[int, int], None]:
    def seen(moved: int, size: int) -> None:
        if moved >= count * PART:
            raise Killed

    return seen


def test_it_becomes_the_model_that_one_piece_would_be(served: Served, net: Path, sent: list[str]) -> None:
    seen: list[tuple[int, int]] = []
    with Client() as client:
        model = client.upload_model(net, seen=lambda moved, size: seen.append((moved, size)))
        assert client.model(model.id) == model
    size = net.stat().st_size
    assert model.digest == hashlib.sha256(net.read_bytes()).hexdigest()
    assert len(sent) == len(seen) == -(-size // PART)
    assert seen[-1] == (size, size)


def test_a_dataset_goes_in_parts_too(served: Served, tmp_path: Path, sent: list[str]) -> None:
    (tmp_path / "many.safetensors").write_bytes(dataset_bytes(300))
    with Client() as client:
        assert client.upload_dataset(tmp_path / "many.safetensors").samples == 300
    assert sent


def test_another_process_goes_on_where_one_was_killed(served: Served, net: Path, sent: list[str]) -> None:
    with Client() as client, pytest.raises(Killed):
        client.upload_model(net, seen=killed_after(3))
    assert len(sent) == 3
    with Client() as client:
        model = client.upload_model(net)
    assert model.size == net.stat().st_size
    assert len(sent) == len(set(sent)) == -(-net.stat().st_size // PART)


def test_a_file_that_was_changed_meanwhile_begins_anew(
    served: Served, net: Path, model_bytes: bytes, sent: list[str]
) -> None:
    net.write_bytes(bytes(len(model_bytes)))
    with Client() as client, pytest.raises(Killed):
        client.upload_model(net, seen=killed_after(2))
    net.write_bytes(model_bytes)
    with Client() as client:
        assert client.upload_model(net).digest == hashlib.sha256(model_bytes).hexdigest()


def test_uploaded_already_it_is_the_same_version_and_no_part_is_sent(
    served: Served, net: Path, sent: list[str]
) -> None:
    with Client() as client:
        first = client.upload_model(net)
        count = len(sent)
        assert client.upload_model(net) == first
    assert len(sent) == count


def test_what_is_refused_is_refused_each_time(served: Served, net: Path, sent: list[str]) -> None:
    net.write_bytes(b"no archive" * 1000)
    with Client() as client:
        for _ in range(2):
            with pytest.raises(InvalidModel):
                client.upload_model(net)


def test_a_service_that_is_away_is_waited_for(served: Served, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [Unavailable("Away.", cure="Wait.")] * 3

    def away(_: str) -> Any:
        if left:
            raise left.pop()

    around(monkeypatch, away)
    with Client() as client:
        assert client.upload_model(net).version == 1
    assert not left


def test_a_service_that_stays_away_is_told(served: Served, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PATIENCE", 0.0)

    def away(_: str) -> Any:
        raise Unavailable("Away.", cure="Wait.")

    around(monkeypatch, away)
    with Client() as client, pytest.raises(Unavailable, match="Away"):
        client.upload_model(net)
