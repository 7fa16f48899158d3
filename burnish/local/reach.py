"""What the doctor tries to reach: database, broker, blob store, and a running service."""

from __future__ import annotations

import importlib.util
import sqlite3
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from burnish.errors import Unavailable
from burnish.local.check import Check
from burnish.local.running import find
from burnish.local.valkey import ping, server_path
from burnish.settings import SETTINGS, Settings, without_password

__all__ = ["blobs", "broker", "database", "service"]

_VERSION = "SELECT version_num FROM alembic_version"
_TIMEOUT = 5


def database(settings: Settings) -> Check:
    """Whether the database answers and has this version's tables."""
    url = settings.database_url
    try:
        found = _sqlite_revision(url) if url.startswith("sqlite") else _postgresql_revision(url)
    except (ConnectionError, sqlite3.Error) as error:
        return Check(
            "database", False, f"{without_password(url)}: {error}", "Start it, or correct BURNISH_DATABASE_URL."
        )
    newest = _newest_revision()
    if found is None:
        return Check(
            "database", True, f"{without_password(url)}: no tables yet; `burnish up` or `burnish api` makes them"
        )
    if newest is not None and found != newest:
        cure = "Restart the service, which brings the database up to date; don't go back to an older Burnish."
        return Check("database", False, f"{without_password(url)}: revision {found}, this Burnish has {newest}", cure)
    return Check("database", True, f"{without_password(url)}: revision {found}")


def broker(settings: Settings) -> Check:
    """Whether the broker answers; the embedded one only has to be installed."""
    if settings.broker_url == SETTINGS["broker_url"].default:
        try:
            return Check("broker", True, f"embedded: {server_path().name} is installed, `burnish up` starts it")
        except Unavailable as error:
            return Check("broker", False, error.message, error.cure)
    fault = ping(settings.broker_url)
    shown = without_password(settings.broker_url)
    if fault is not None:
        return Check("broker", False, f"{shown}: {fault}", "Start it, or correct BURNISH_BROKER_URL.")
    return Check("broker", True, f"{shown} answers")


def blobs(settings: Settings) -> Check:
    """Whether the bucket can be reached; a local folder is covered by the data folder's check."""
    parts = urlsplit(settings.blobs_url)
    if parts.scheme != "s3":
        return Check("blob store", True, f"local folder {unquote(parts.path)}")
    fault = _s3_fault(parts.netloc, {name: values[0] for name, values in parse_qs(parts.query).items()})
    if fault is not None:
        cure = "Correct BURNISH_BLOBS_URL and the AWS_ variables, and make the bucket."
        return Check("blob store", False, f"bucket {parts.netloc}: {fault}", cure)
    return Check("blob store", True, f"bucket {parts.netloc} answers")


def service(settings: Settings) -> Check:
    """The embedded service on the data folder; that none runs is no fault."""
    running = find(settings.data)
    detail = "none runs" if running is None else f"{running.url} (process {running.pid})"
    return Check("service", True, f"{detail}, data in {settings.data}")


def _sqlite_revision(url: str) -> str | None:
    path = Path(url.partition(":///")[2].partition("?")[0])
    if not path.exists():
        return None
    # Plain `mode=ro` can't open a database in WAL mode whose -shm is gone and whose folder is read-only; that is told.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT)
    try:
        row = connection.execute(_VERSION).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    finally:
        connection.close()
    return None if row is None else str(row[0])


def _postgresql_revision(url: str) -> str | None:
    """Raises `ConnectionError` with the driver's reason."""
    if importlib.util.find_spec("psycopg") is None:
        raise ConnectionError("psycopg is not installed")
    import psycopg

    scheme, _, rest = url.partition("://")
    address = f"{scheme.partition('+')[0]}://{rest}"
    try:
        with psycopg.connect(address, connect_timeout=_TIMEOUT) as connection:
            row = connection.execute(_VERSION).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    except psycopg.Error as error:
        raise ConnectionError(str(error).strip()) from error
    return None if row is None else str(row[0])


def _newest_revision() -> str | None:
    """By the names of the migrations' files, `0001_what.py`: this room imports no other."""
    spec = importlib.util.find_spec("storage")
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [path.stem for folder in folders for path in (Path(folder) / "migrations" / "versions").glob("[0-9]*_*.py")]
    return max(files).partition("_")[0] if files else None


def _s3_fault(bucket: str, options: dict[str, str]) -> str | None:
    if importlib.util.find_spec("boto3") is None:
        return "boto3 is not installed"
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        s3={"addressing_style": "path"}, connect_timeout=3, read_timeout=_TIMEOUT, retries={"total_max_attempts": 1}
    )
    try:
        client = boto3.session.Session().client(
            "s3", endpoint_url=options.get("endpoint"), region_name=options.get("region"), config=config
        )
        client.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError, ValueError) as error:
        return str(error)
    return None
