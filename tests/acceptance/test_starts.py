"""What a process says and how it ends when it can't start: one line that names the setting, its value and the cure."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import ROOT, until

PARTS = {"api": "api", "worker": "workers", "tick": "workers.tick", "migrate": "storage.migrate"}
NOBODY = "127.0.0.1:1"
"""Where nobody listens."""


def start(part: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Exit status, and what it said."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("BURNISH_")}
    settings = {"BURNISH_DATA": str(folder / "data"), "BURNISH_LISTEN": "127.0.0.1:0", **variables}
    command = [sys.executable, "-P", "-m", PARTS[part]]
    environment = {**others, **settings, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def line(said: str) -> str:
    """The only line."""
    (found,) = said.splitlines()
    return found


@pytest.mark.parametrize("part", PARTS)
def test_a_bad_value_is_told_in_one_line(part: str, tmp_path: Path) -> None:
    status, said = start(part, tmp_path, BURNISH_LEASE="0")
    assert status == 2
    assert line(said).startswith(f"burnish {part}: BURNISH_LEASE is '0', and that can't be used: it must lie between")
    assert "Write it like BURNISH_LEASE=30s." in said


@pytest.mark.parametrize("part", PARTS)
def test_a_database_that_does_not_answer_is_told_in_one_line(part: str, tmp_path: Path) -> None:
    status, said = start(part, tmp_path, BURNISH_DATABASE_URL=f"postgresql://burnish:hunter2@{NOBODY}/burnish")
    assert status == 1
    assert line(said).startswith(
        f"burnish {part}: BURNISH_DATABASE_URL is 'postgresql://burnish:…@{NOBODY}/burnish'. "
        "The database did not answer: "
    )
    assert "Check that BURNISH_DATABASE_URL is right and the database is running" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("part", PARTS)
def test_a_database_of_a_newer_version_is_told_in_one_line(part: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data/burnish.sqlite") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('later')")
    connection.close()
    status, said = start(part, tmp_path)
    assert status == 2
    assert f"burnish {part}: BURNISH_DATA is '{tmp_path}/data'. The database is of a newer version" in line(said)
    assert "Run the version that made it, or a later one" in said


@pytest.mark.parametrize("part", [part for part in PARTS if part != "migrate"])
@pytest.mark.parametrize(
    ("address", "reason"),
    [("s3://", "is not an S3 address"), ("s3://bucket?endpoint=host", "Invalid endpoint"), ("file:x", "is not the")],
)
def test_an_address_of_no_store_is_told_in_one_line(part: str, address: str, reason: str, tmp_path: Path) -> None:
    status, said = start(part, tmp_path, BURNISH_BLOBS_URL=address)
    assert status == 2
    assert line(said).startswith(f"burnish {part}: BURNISH_BLOBS_URL is '{address}'. ")
    assert reason in said
    assert "s3://bucket/prefix?endpoint=" in said or "Correct its endpoint" in said


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_that_can_not_be_is_told_in_one_line(part: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    status, said = start(part, tmp_path)
    assert status in (1, 2)
    assert line(said).startswith(f"burnish {part}: BURNISH_DATA is '{tmp_path}/data'")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_is_in_use_is_told_in_one_line(taken: int, tmp_path: Path) -> None:
    status, said = start("api", tmp_path, BURNISH_LISTEN=f"127.0.0.1:{taken}")
    assert status == 2
    assert line(said).startswith(f"burnish api: BURNISH_LISTEN is '127.0.0.1:{taken}', and the port is in use")
    assert "choose another port" in said


def test_a_host_of_another_machine_is_told_in_one_line(tmp_path: Path) -> None:
    status, said = start("api", tmp_path, BURNISH_LISTEN="192.0.2.1:8520", BURNISH_TOKENS="0" * 64)
    assert status == 2
    assert line(said).startswith("burnish api: BURNISH_LISTEN is '192.0.2.1:8520', and one can't listen there: ")
    assert "Set it to an address of this machine" in said


def test_a_worker_without_a_broker_waits_for_it_and_says_so_without_a_traceback(tmp_path: Path) -> None:
    settings = {"BURNISH_DATA": str(tmp_path / "data"), "BURNISH_BROKER_URL": f"redis://:hunter2@{NOBODY}/0"}
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        command = [sys.executable, "-P", "-m", "tests.acceptance.worker"]
        environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=file, stderr=file)
    try:
        until(lambda: "Next try in" in log.read_text() or worker.poll() is not None, 120.0, log.read_text)
    finally:
        worker.terminate()
        worker.wait(60)
    assert "the broker does not answer (BURNISH_BROKER_URL)" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert "hunter2" not in log.read_text()
