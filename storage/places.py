"""What a process looks at before it serves: whether what its settings name is there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from burnish.errors import BadSetting, BurnishError
from burnish.local import reach
from burnish.local.valkey import ping
from burnish.settings import Settings
from storage.blobs import open_store
from storage.database import Database

__all__ = ["migrate", "prepare", "warn_of_absent"]

logger = logging.getLogger(__name__)


def prepare(settings: Settings) -> None:
    """Sees that the blob store has an address that can be used, and brings the database up to date.

    Raises as `migrate`.
    """
    with _told(settings, "blobs_url"):
        open_store(settings.blobs_url)
    migrate(settings)


def migrate(settings: Settings) -> None:
    """Brings the database up to date.

    Raises:
        BadSetting, Unavailable: with the setting and its value.
        InternalError: the database is there, and refuses.
    """
    with _told(settings, "database_url"):
        database = Database(settings.database_url)
        try:
            database.migrate()
        finally:
            database.close()


def warn_of_absent(settings: Settings) -> None:
    """Logs one warning for each, if the blob store or the broker does not answer: a process starts all the same, since
    what needs them waits until they are there. Returns at once."""
    threading.Thread(target=_warn, args=(settings,), name="places", daemon=True).start()


def _warn(settings: Settings) -> None:
    store = reach.blobs(settings)
    if not store.ok:
        _say(settings, "blobs_url", store.detail, store.cure)
    if (fault := ping(settings.broker_url)) is not None:
        _say(settings, "broker_url", fault, "Start Valkey or Redis there, or correct BURNISH_BROKER_URL.")


def _say(settings: Settings, name: str, fault: str, cure: str) -> None:
    variable, value = settings.told(name)
    logger.warning("%s is %s, which does not answer: %s. %s What needs it waits", variable, value, fault, cure)


@contextmanager
def _told(settings: Settings, name: str) -> Iterator[None]:
    """An error in here is told with that setting and its value."""
    variable, value = settings.told(name)
    try:
        yield
    except BurnishError as error:
        raise type(error)(f"{variable} is {value}. {error.message}", cure=error.cure, where=error.where) from error
    except OSError as error:
        raise BadSetting(
            f"{variable} is {value}, and that can't be used: {error.strerror or error}.",
            cure="Name a folder that there is, or that can be made, and that this user may write to.",
            where=variable,
        ) from error
