"""A real HTTP server on this machine that keeps what it is sent, and answers as a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Answering", "Receiver", "Taken", "receiving"]


@dataclass(frozen=True)
class Taken:
    """One request that came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answering:
    """One answer; `drip` sends its header so slowly that it never ends."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    drip: bool = False


class Receiver:
    """What came in, and what is answered: the answers in turn, the last of them from then on."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.taken: list[Taken] = []
        self.answers: list[Answering] = [Answering()]
        self.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        self.ended = threading.Event()

    def next_answer(self) -> Answering:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Starts one, and ends it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            receiver.taken.append(Taken(self.path, dict(self.headers.items()), body))
            answer = receiver.next_answer()
            if answer.drip:
                self._drip()
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            try:
                self.wfile.write(answer.body)
            except OSError:  # the sender has read enough
                return

        def _drip(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not receiver.ended.is_set():
                try:
                    self.wfile.write(b"a")
                    self.wfile.flush()
                except OSError:  # cut off, as it has to be
                    return
                time.sleep(0.05)

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
