"""Whether the parts that the API stands on answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from urllib.parse import unquote, urlsplit

import redis
from sqlalchemy import text

from api.services import Services
from burnish.errors import BurnishError, Unavailable

__all__ = ["states"]

_SECONDS = 0.9
_NO_BLOB = "0" * 64


def states(services: Services) -> dict[str, str]:
    """Part → `ok`, or why it can't be used. Takes two seconds at most, whatever hangs."""
    return services.probes.ask(
        {
            "database": partial(_state, partial(_database, services)),
            "blobs": partial(_state, partial(_blobs, services)),
            "broker": partial(_state, partial(_broker, services.settings.broker_url)),
        }
    )


def _state(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (BurnishError, redis.RedisError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def _database(services: Services) -> None:
    with services.database.read() as tx:
        tx.execute(text("SELECT 1"))


def _blobs(services: Services) -> None:
    place = urlsplit(services.settings.blobs_url)
    folder = unquote(place.path)
    if place.scheme == "file" and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Unavailable(f"The folder {folder} is away, or can't be written to.", cure="Mount it, or mend its rights.")
    services.blobs.size(_NO_BLOB)


def _broker(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS) as client:
        client.ping()
