"""The environment, read once at an entry point into one frozen object that is passed down."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from burnish.errors import BadSetting
from burnish.logs import FORMS
from burnish.recipe.quantities import parse_bytes, parse_seconds

__all__ = ["SETTINGS", "Setting", "Settings"]


@dataclass(frozen=True)
class Setting:
    """One environment variable."""

    variable: str
    default: str
    """As it would be written in the environment; empty is 'derived' or 'none', as `meaning` says."""
    unit: str
    meaning: str
    read: Callable[[str], Any]
    """Text to value; raises `ValueError` with what is wrong."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"must lie between {low} and {high}")
        return value

    return read


def _url(*schemes: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text and urlsplit(text).scheme.split("+")[0] not in schemes:
            raise ValueError(f"must start with one of {', '.join(f'{scheme}:' for scheme in schemes)}")
        return text

    return read


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port, like 127.0.0.1:8520")
    return host.strip("[]"), int(port)


def _digests(text: str) -> tuple[str, ...]:
    digests = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for digest in digests:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("must be SHA-256 digests in hex, separated by commas (`printf %s TOKEN | sha256sum`)")
    return digests


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names or not all(re.fullmatch(r"[a-z][a-z0-9_-]*", name) for name in names):
        raise ValueError("must be device names in lower case, separated by commas, like cpu or cpu,cuda")
    return names


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}")
        return text

    return read


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


SETTINGS: dict[str, Setting] = {
    "url": Setting("BURNISH_URL", "", "URL", "Service that the CLI and the client talk to; empty: the embedded one.",
                   _url("http", "https")),
    "token": Setting("BURNISH_TOKEN", "", "text", "Bearer token that the CLI and the client send.", str),
    "data": Setting("BURNISH_DATA", "~/.burnish", "folder", "State of the embedded service: database, blobs, logs.",
                    _folder),
    "database_url": Setting("BURNISH_DATABASE_URL", "", "URL",
                            "SQL database (postgresql+psycopg:// or sqlite:///); empty: SQLite in the data folder.",
                            _url("postgresql", "sqlite")),
    "blobs_url": Setting("BURNISH_BLOBS_URL", "", "URL",
                         "Blob store (s3://bucket/prefix?endpoint=… or file:///folder); empty: inside the data folder.",
                         _url("s3", "file")),
    "broker_url": Setting("BURNISH_BROKER_URL", "redis://127.0.0.1:6379/0", "URL", "Valkey or Redis.",
                          _url("redis", "rediss")),
    "listen": Setting("BURNISH_LISTEN", "127.0.0.1:8520", "host:port", "Where the API listens.", _listen),
    "tokens": Setting("BURNISH_TOKENS", "", "SHA-256, comma-separated",
                      "Digests of the bearer tokens the API accepts; empty: open, on loopback only.", _digests),
    "slots": Setting("BURNISH_SLOTS", "0", "steps", "Steps a worker runs at once; 0: one per core.", _whole(0, 1024)),
    "queues": Setting("BURNISH_QUEUES", "cpu", "names, comma-separated", "Device classes a worker serves.", _names),
    "lease_seconds": Setting("BURNISH_LEASE", "30s", "time",
                             "A worker that gives no sign of life for this long loses its step.", parse_seconds),
    "step_seconds": Setting("BURNISH_STEP_TIME", "6h", "time", "Longest a step may run.", parse_seconds),
    "step_memory": Setting("BURNISH_STEP_MEMORY", "0", "size", "Most memory a step's processes may use; 0: no limit.",
                           parse_bytes),
    "max_upload": Setting("BURNISH_MAX_UPLOAD", "50GB", "size", "Largest model or dataset the API takes.", parse_bytes),
    "direct_uploads": Setting("BURNISH_DIRECT_UPLOADS", "off", "on or off",
                              "Whether clients are offered links to send large files straight to S3, at the `public` "
                              "address of BURNISH_BLOBS_URL.", _one_of("off", "on")),
    "cache_size": Setting("BURNISH_CACHE_SIZE", "0", "size",
                          "Most bytes of results in the blob store, uploads not counted; over it the cheapest to "
                          "compute again leave; 0: no limit.", parse_bytes),
    "keep": Setting("BURNISH_KEEP", "24h", "time", "Age at which a blob that nothing refers to is removed.",
                    parse_seconds),
    "webhook_allow_private": Setting("BURNISH_WEBHOOK_ALLOW_PRIVATE", "off", "on or off",
                                     "Whether webhooks may use http and reach private, loopback, link-local and "
                                     "metadata addresses.", _one_of("off", "on")),
    "log": Setting("BURNISH_LOG", "text", "text or json",
                   "Form of the log on standard error: lines to read, or one JSON object a line.", _one_of(*FORMS)),
}  # fmt: skip
"""Every setting there is; `deploy/env.example` lists the same, and a test compares the two."""


@dataclass(frozen=True)
class Settings:
    """What the entry points pass down. Field names are the keys of `SETTINGS`."""

    url: str
    token: str
    data: Path
    database_url: str
    blobs_url: str
    broker_url: str
    listen: tuple[str, int]
    tokens: tuple[str, ...]
    slots: int
    queues: tuple[str, ...]
    lease_seconds: float
    step_seconds: float
    step_memory: int
    max_upload: int
    direct_uploads: str
    cache_size: int
    keep: float
    webhook_allow_private: str
    log: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Reads every `BURNISH_*` variable.

        Raises:
            BadSetting: a value can't be used, or a variable is unknown (a typo would otherwise be a silent default).
        """
        known = {setting.variable for setting in SETTINGS.values()}
        for variable in environment:
            if variable.startswith("BURNISH_") and variable not in known:
                raise BadSetting(
                    f"There is no setting {variable}.",
                    cure=f"Unset it, or use one of {', '.join(sorted(known))}.",
                    where=variable,
                )
        values = {name: _read(setting, environment) for name, setting in SETTINGS.items()}
        data: Path = values["data"]
        values["database_url"] = values["database_url"] or f"sqlite:///{data / 'burnish.sqlite'}"
        values["blobs_url"] = values["blobs_url"] or f"file://{quote(str(data / 'blobs'))}"
        return cls(**values)

    def environment(self) -> dict[str, str]:
        """The same settings as variables, for a child process."""
        return {SETTINGS[field.name].variable: _write(getattr(self, field.name)) for field in fields(self)}


def _read(setting: Setting, environment: Mapping[str, str]) -> Any:
    text = environment.get(setting.variable, setting.default)
    try:
        return setting.read(text)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise BadSetting(
            f"{setting.variable} is {text!r}, and that can't be used: {reason}.",
            cure=f"Set it to a {setting.unit}. {setting.meaning}",
            where=setting.variable,
        ) from error


def _write(value: Any) -> str:
    if isinstance(value, tuple):
        separator = ":" if value and isinstance(value[-1], int) else ","
        return separator.join(f"[{part}]" if ":" in str(part) else str(part) for part in value)
    return str(value)
