"""The embedded broker: a real valkey-server."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from burnish.errors import Unavailable
from burnish.local.child import Child
from burnish.local.ports import free_port
from burnish.local.signals import Signals
from burnish.local.valkey import broker_url, ping, server_path, valkey_part
from tests.burnish.local.scenes import until

PASSWORD = 'p@ss/word" \\%'


@contextmanager
def running(folder: Path, port: int, password: str) -> Iterator[str]:
    part = valkey_part(folder, port, password, dict(os.environ))
    assert part.ready is not None
    with Signals() as signals:
        child = Child(part, folder, folder / "log")
        try:
            until(part.ready, "an answer of valkey")
            yield broker_url(port, password)
        finally:
            child.stop(signals)


def test_it_answers_on_loopback_and_only_with_the_password(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "my data", port, PASSWORD) as url:
        assert ping(url) is None
        assert "NOAUTH" in (ping(f"redis://127.0.0.1:{port}/0") or "")
        assert "WRONGPASS" in (ping(broker_url(port, "guess")) or "")
        assert "WRONGPASS" in (ping(f"redis://someone:guess@127.0.0.1:{port}/0") or "")
        with redis.Redis.from_url(url) as client:
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert "refused" in (ping(url) or "").lower()


def test_messages_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, free_port(), "one") as url, redis.Redis.from_url(url) as client:
        client.lpush("cpu", "ring")
    with running(tmp_path, free_port(), "two") as url, redis.Redis.from_url(url) as client:
        assert client.lrange("cpu", 0, -1) == [b"ring"]


def test_a_damaged_file_of_messages_is_set_aside(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port, "one") as url, redis.Redis.from_url(url) as client:
        client.lpush("cpu", "ring")
    (log,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(bytes(64) + log.read_bytes())
    part = valkey_part(tmp_path, port, "two", dict(os.environ))
    child = Child(part, tmp_path, tmp_path / "log")
    until(lambda: child.ended() is not None, "the refusal of a damaged file")
    assert part.mend is not None
    part.mend()
    part.mend()
    with running(tmp_path, port, "three") as url, redis.Redis.from_url(url) as client:
        assert client.lrange("cpu", 0, -1) == []


def test_the_password_is_in_no_argument_and_in_a_private_file(tmp_path: Path) -> None:
    password = secrets.token_urlsafe()
    part = valkey_part(tmp_path, 1, password, {})
    assert not any(password in word for word in part.command)
    assert stat.S_IMODE((tmp_path / "valkey.conf").stat().st_mode) == 0o600
    assert password in (tmp_path / "valkey.conf").read_text()


def test_the_server_comes_from_the_wheel() -> None:
    assert os.access(server_path(), os.X_OK)


def test_without_the_wheel_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install"):
        server_path()
