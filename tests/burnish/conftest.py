"""A real service over HTTP, without workers, for the client and the command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from werkzeug.serving import make_server

from tests.api.conftest import empty_sqlite, guarded, model_bytes  # noqa: F401  # fixtures
from tests.api.place import Place

__all__ = ["Served"]


class Served:
    """A place whose API answers at `url`."""

    token = "secret"

    def __init__(self, place: Place, url: str) -> None:
        self.place, self.url = place, url


@pytest.fixture
def served(guarded: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:  # noqa: F811
    """The service that `BURNISH_URL` and `BURNISH_TOKEN` point to."""
    server = make_server("127.0.0.1", 0, guarded.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("BURNISH_URL", url)
    monkeypatch.setenv("BURNISH_TOKEN", Served.token)
    guarded.worker()
    yield Served(guarded, url)
    server.shutdown()
    thread.join()
    server.server_close()
