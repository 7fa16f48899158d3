"""The API as a process: gunicorn with one process, a thread for each request and each event stream.

Sixteen requests are worked on at once, so that memory and connections to SQL have a bound; who comes when all are at
work waits. An event stream is none of them once it has begun: it waits in its own thread, of which there are as many as
streams may be open. So streams take nothing from requests.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from apiflask import APIFlask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger as GunicornLog
from gunicorn.workers.gthread import ThreadWorker

from api.app import create_app
from api.auth import is_loopback
from api.services import STREAMS
from burnish.errors import BadSetting
from burnish.local.child import die_with
from burnish.settings import Settings
from storage.blobs import open_store
from storage.database import Database
from storage.doorbell import Doorbell
from storage.places import warn_of_absent

__all__ = ["REQUESTS", "Server", "check_listen"]

REQUESTS = 16
"""That are worked on at once."""
LINGER_SECONDS = 2.0
PATIENCE_SECONDS = 60
"""A client that neither sends nor takes a byte for so long is let go: it holds one of the threads."""
_App = Callable[[Any, Any], Iterable[bytes]]


def check_listen(settings: Settings) -> None:
    """Refuses to be open to the network without tokens.

    Raises:
        BadSetting: the address is not loopback, and no token is configured.
    """
    host, port = settings.listen
    if not settings.tokens and not is_loopback(host):
        raise BadSetting(
            f"BURNISH_LISTEN is {host}:{port}, which others can reach, and there are no tokens.",
            cure="Set BURNISH_TOKENS to the SHA-256 of each accepted token, or listen on 127.0.0.1.",
            where="BURNISH_LISTEN",
        )


class _Worker(ThreadWorker):  # type: ignore[misc]
    """Lets go of clients that stand still, ends the open event streams when it is told to stop, and dies with the
    process that started it: an orphan would hold the port for seconds, and keep the next API from starting."""

    def init_process(self) -> None:
        die_with(self.ppid)
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        # Set in the kernel, since gunicorn sets the socket back to blocking without a timeout before each request.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", PATIENCE_SECONDS, 0))
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        kept = super().handle(conn)
        if kept is False:
            _linger(conn.sock)
        return kept

    def handle_exit(self, sig: int, frame: object) -> None:
        app = self.wsgi
        if isinstance(app, APIFlask):
            app.extensions["burnish"].feed.stop()
        super().handle_exit(sig, frame)


class _AtMost:
    """Works on so many requests at once. The body of an answer, streams and downloads included, is sent after that."""

    def __init__(self, app: _App, limit: int) -> None:
        self._app = app
        self._free = threading.BoundedSemaphore(limit)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._free:
            return self._app(environ, start_response)


class _Log(GunicornLog):  # type: ignore[misc]
    """Gunicorn's messages in the form of all others: it would give its loggers handlers of their own."""

    def setup(self, cfg: Any) -> None:
        self.error_log.setLevel(logging.WARNING)
        self.error_log.propagate = True


def _linger(connection: socket.socket) -> None:
    """Waits until the client has read the answer and closes (RFC 9112, 9.6), here in the request's own thread.

    Gunicorn does the same in the thread that accepts connections: one client that does not close would stop all the
    others for two seconds. What this leaves has been shut down, which makes that wait end at once.
    """
    with suppress(OSError):  # the client is gone already
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER_SECONDS)
        until = time.monotonic() + LINGER_SECONDS
        while connection.recv(65536) and time.monotonic() < until:
            pass
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Server(BaseApplication):  # type: ignore[misc]
    """Serves until it is stopped: SIGTERM lets running requests end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Everything that gunicorn would otherwise read from its own options."""
        host, port = self._settings.listen
        options: dict[str, Any] = {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "worker_class": _Worker,
            "workers": 1,
            "threads": REQUESTS + STREAMS,
            "accesslog": None,
            "logger_class": _Log,
            "loglevel": "warning",
            "graceful_timeout": 20,
            "timeout": 60,
            "keepalive": 15,
            "proc_name": "burnish-api",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> APIFlask:
        """Made in the serving process: connections don't survive a fork."""
        settings = self._settings
        warn_of_absent(settings)
        app = create_app(
            settings, Database(settings.database_url), open_store(settings.blobs_url), Doorbell(settings.broker_url)
        )
        app.wsgi_app = _AtMost(app.wsgi_app, REQUESTS)  # type: ignore[method-assign]  # as Flask's docs tell
        return app
