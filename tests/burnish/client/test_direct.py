"""Files sent straight to a real S3 server by the client, and what it does when that server is out of reach."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from burnish import Client
from burnish.client import direct, parts
from burnish.errors import InvalidDataset, Unavailable
from storage import uploads
from tests.api.conftest import direct_place, empty_sqlite  # noqa: F401  # fixtures
from tests.api.place import Place, dataset_bytes

DATA = dataset_bytes(130_000)
"""Two parts and a bit."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 takes them, and no waiting."""
    monkeypatch.setattr(uploads, "PART", 5 << 20)
    monkeypatch.setattr(parts, "IN_PARTS", 1)
    for module in (parts, direct):
        monkeypatch.setattr(module, "_PAUSE", 0.0)
        monkeypatch.setattr(module, "PATIENCE", 0.0)


@pytest.fixture
def client(direct_place: Place) -> Iterator[Client]:  # noqa: F811
    server = make_server("127.0.0.1", 0, direct_place.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Client(f"http://127.0.0.1:{server.server_port}", "") as made:
        yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "samples.safetensors"
    path.write_bytes(DATA)
    return path


Put = Callable[..., httpx.Response]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Numbers of the parts that the store took."""
    taken: list[str] = []
    put = httpx.Client.put

    def noted(self: httpx.Client, url: str, **more: Any) -> httpx.Response:
        answer = put(self, url, **more)
        if answer.is_success:
            taken.append(httpx.URL(url).params["partNumber"])
        return answer

    monkeypatch.setattr(httpx.Client, "put", noted)
    return taken


def instead(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """`act` gets the number of each PUT to the store, from 1, before it is sent, and may raise."""
    put, count = httpx.Client.put, iter(range(1, 1000))

    def acted(self: httpx.Client, url: str, **more: Any) -> httpx.Response:
        act(next(count))
        return put(self, url, **more)

    monkeypatch.setattr(httpx.Client, "put", acted)


def away(_: int) -> None:
    raise httpx.ConnectError("out of reach")


def test_a_file_goes_straight_to_the_store(client: Client, file: Path, store: list[str]) -> None:
    seen: list[tuple[int, int]] = []
    dataset = client.upload_dataset(file, seen=lambda moved, size: seen.append((moved, size)))
    assert dataset.digest == hashlib.sha256(DATA).hexdigest()
    assert store == ["1", "2", "3"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert client.upload_dataset(file) == dataset
    assert store == ["1", "2", "3"]


def test_another_process_goes_on_where_one_was_killed(client: Client, file: Path, store: list[str]) -> None:
    class Killed(BaseException):
        pass

    def seen(moved: int, size: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        client.upload_dataset(file, seen=seen)
    client.upload_dataset(file)
    assert store == ["1", "2", "3"]


def test_a_store_out_of_reach_costs_only_the_way_through_the_service(
    client: Client, file: Path, store: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, away)
    assert client.upload_dataset(file).size == len(DATA)
    assert store == []


def test_a_store_that_takes_some_parts_and_then_no_more_is_told_and_gone_on_with(
    client: Client, file: Path, store: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        instead(broken, lambda count: away(count) if count > 1 else None)
        with pytest.raises(Unavailable, match="takes no more") as told:
            client.upload_dataset(file)
    assert "not sent twice" in told.value.cure
    client.upload_dataset(file)
    assert store == ["1", "2", "3"]


def test_a_blip_of_the_store_is_tried_again(
    client: Client, file: Path, store: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, lambda count: away(count) if count in (1, 3) else None)
    client.upload_dataset(file)
    assert store == ["1", "2", "3"]


def test_links_that_the_store_refuses_are_asked_for_again(
    client: Client, file: Path, store: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = httpx.Client.put
    answers: list[httpx.Response] = []

    def stale(self: httpx.Client, url: str, **more: Any) -> httpx.Response:
        answers.append(put(self, url + "0" if len(answers) == 1 else url, **more))
        return answers[-1]

    monkeypatch.setattr(httpx.Client, "put", stale)
    client.upload_dataset(file)
    assert [answer.status_code for answer in answers] == [200, 403, 200, 200]
    assert store == ["1", "2", "3"]


def test_what_is_no_dataset_is_refused_as_any_upload(client: Client, file: Path, store: list[str]) -> None:
    file.write_bytes(b"no dataset at all")
    for _ in range(2):
        with pytest.raises(InvalidDataset):
            client.upload_dataset(file)


def test_a_file_that_changes_while_it_is_sent_is_refused_and_can_be_sent_again(
    client: Client, file: Path, store: list[str]
) -> None:
    def seen(moved: int, size: int) -> None:
        file.write_bytes(b"x" * len(DATA))

    with pytest.raises(Exception, match="not those announced"):
        client.upload_dataset(file, seen=seen)
    file.write_bytes(DATA)
    assert client.upload_dataset(file).digest == hashlib.sha256(DATA).hexdigest()
