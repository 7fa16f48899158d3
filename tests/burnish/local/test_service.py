"""The parts of the embedded service."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.errors import Unavailable
from burnish.local.part import Part
from burnish.local.ports import choose_listen
from burnish.local.service import embedded, python, python_environment
from burnish.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"BURNISH_DATA": str(tmp_path / "data"), "BURNISH_LISTEN": "127.0.0.1:0"})


def named(parts: tuple[Part, ...], name: str) -> Part:
    return next(part for part in parts if part.name == name)


def test_broker_and_tables_come_before_those_that_use_them(settings: Settings) -> None:
    service = embedded(settings)
    assert [part.name for part in service.parts] == ["valkey", "migrate", "worker", "tick", "api"]
    assert [part.name for part in service.parts if part.once] == ["migrate"]


def test_our_modules_are_started_so_that_no_folder_shadows_them(settings: Settings) -> None:
    for part in embedded(settings).parts[1:]:
        assert part.command[:3] == (sys.executable, "-P", "-m")


def test_the_children_read_the_same_settings_with_the_chosen_port_and_broker(settings: Settings) -> None:
    service = embedded(dataclasses.replace(settings, token="secret of the client", slots=3))
    read = Settings.from_environment(named(service.parts, "api").environment)
    assert read.data == settings.data
    assert read.slots == 3
    assert read.token == ""
    assert service.url == f"http://127.0.0.1:{read.listen[1]}"
    assert read.listen[1] != 0
    assert read.broker_url.startswith("redis://:")
    assert read.broker_url.endswith("/0")


def test_no_password_is_in_a_command(settings: Settings) -> None:
    parts = embedded(settings).parts
    password = named(parts, "api").environment["BURNISH_BROKER_URL"].partition("://:")[2].partition("@")[0]
    assert len(password) >= 32
    assert not any(password in word for part in parts for word in part.command)


def test_a_broker_that_was_named_is_used(settings: Settings) -> None:
    service = embedded(dataclasses.replace(settings, broker_url="redis://elsewhere:6379/1"))
    assert [part.name for part in service.parts] == ["migrate", "worker", "tick", "api"]
    assert named(service.parts, "worker").environment["BURNISH_BROKER_URL"] == "redis://elsewhere:6379/1"


def test_a_service_open_to_all_is_reached_by_loopback_from_here(settings: Settings) -> None:
    service = embedded(dataclasses.replace(settings, listen=("0.0.0.0", 0)))
    assert service.url.startswith("http://127.0.0.1:")


def test_a_folder_of_our_rooms_names_does_not_shadow_ours(tmp_path: Path) -> None:
    for room in ("storage", "api", "workers", "burnish"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    done = subprocess.run(
        python("storage.migrate"),
        cwd=tmp_path,
        env={**python_environment(), "BURNISH_DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "db.sqlite").exists()


def test_burnish_variables_of_the_caller_do_not_leak_past_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_TOKEN", "secret of the client")
    assert "BURNISH_TOKEN" not in python_environment()
    assert python_environment()["PATH"] == os.environ["PATH"]


def test_port_zero_becomes_a_free_port() -> None:
    host, port = choose_listen(("127.0.0.1", 0))
    assert host == "127.0.0.1"
    assert port > 0


def test_the_default_port_gives_way_to_the_next_free_one() -> None:
    with socket.socket() as busy:
        try:
            busy.bind(("127.0.0.1", 8520))
            busy.listen()
        except OSError:
            pass  # somebody else has it: as busy as we want it
        assert choose_listen(("127.0.0.1", 8520))[1] > 8520


def test_another_port_that_is_busy_is_refused_by_number() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {port} .* in use.*BURNISH_LISTEN"):
            choose_listen(("127.0.0.1", port))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Unavailable, match="an address of this machine"):
        choose_listen(("203.0.113.1", 8520))
