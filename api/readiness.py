"""Whether the parts that the API stands on answer."""

from __future__ import annotations

from collections.abc import Callable

import redis
from sqlalchemy import text

from api.services import Services
from burnish.errors import BurnishError

__all__ = ["states"]

_SECONDS = 0.9
_NO_BLOB = "0" * 64


def states(services: Services) -> dict[str, str]:
    """Part → `ok`, or why it can't be used."""
    return {
        "database": _state(lambda: _database(services)),
        "blobs": _state(lambda: services.blobs.size(_NO_BLOB)),
        "broker": _state(lambda: _broker(services.settings.broker_url)),
    }


def _state(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (BurnishError, redis.RedisError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def _database(services: Services) -> None:
    with services.database.read() as tx:
        tx.execute(text("SELECT 1"))


def _broker(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS) as client:
        client.ping()
