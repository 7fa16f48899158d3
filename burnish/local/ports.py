"""Free ports."""

from __future__ import annotations

import errno
import socket

from burnish.errors import Unavailable
from burnish.settings import SETTINGS

__all__ = ["choose_listen", "free_port", "is_free"]

_TRIES = 100


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on now, chosen by the system."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def choose_listen(listen: tuple[str, int]) -> tuple[str, int]:
    """Where the API shall listen: port 0 becomes a free one, and the default port, if busy, the next free one.

    Raises:
        Unavailable: a port that was asked for is busy, or the host is not this machine's.
    """
    host, port = listen
    try:
        if port == 0:
            return host, free_port(host)
        is_default = f"{host}:{port}" == SETTINGS["listen"].default
        for candidate in range(port, min(port + (_TRIES if is_default else 1), 65536)):
            if is_free(host, candidate):
                return host, candidate
    except OSError as error:
        raise Unavailable(
            f"Can't listen on {host}: {error.strerror}.", cure="Set BURNISH_LISTEN to an address of this machine."
        ) from error
    raise Unavailable(f"Port {port} of {host} is in use.", cure="Set BURNISH_LISTEN to a free port, or to port 0.")


def is_free(host: str, port: int) -> bool:
    """Whether this user may listen there now. Raises `OSError` for a host that is not this machine's."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections don't count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
