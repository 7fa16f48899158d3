"""The environment, read once at an entry point into one frozen object that is passed down."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from burnish.errors import BadSetting
from burnish.logs import FORMS
from burnish.recipe.quantities import parse_bytes, parse_seconds

__all__ = ["SETTINGS", "Setting", "Settings", "without_password"]

NumberT = TypeVar("NumberT", int, float)


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
    example: str = ""
    """A value that it may have, for messages; empty: the default."""
    secret: bool = False
    """Whether its value is not for a log."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("it is no whole number") from None
        if not low <= value <= high:
            raise ValueError(f"it must lie between {low} and {high}")
        return value

    return read


def _time(low: str, high: str) -> Callable[[str], float]:
    return _quantity(parse_seconds, low, high, none=False)


def _size(low: str, high: str = "1000TB", *, none: bool = True) -> Callable[[str], int]:
    """With `none`, 0 is allowed too."""
    return _quantity(parse_bytes, low, high, none=none)


def _quantity(parse: Callable[[str], NumberT], low: str, high: str, *, none: bool) -> Callable[[str], NumberT]:
    def read(text: str) -> NumberT:
        try:
            value = parse(text)
        except OverflowError:
            raise ValueError("it is too much") from None
        except ValueError as error:
            raise ValueError(str(error).partition(". ")[0]) from error  # what to write instead, the caller says
        if not (parse(low) <= value <= parse(high) or (none and value == 0)):
            raise ValueError(f"it must {'be 0, or ' if none else ''}lie between {low} and {high}")
        return value

    return read


def _url(*schemes: str, empty: bool = True) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text or not empty:
            parts = urlsplit(text)
            if parts.scheme.split("+")[0] not in schemes:
                raise ValueError(f"it must start with {' or '.join(f'{scheme}:' for scheme in schemes)}")
            if parts.scheme in ("http", "https", "redis", "rediss"):
                _ = parts.port  # raises, if it is none
                if not parts.hostname:
                    raise ValueError("it names no host")
        return text

    return read


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("it must be host:port")
    return host.strip("[]"), int(port)


def _digests(text: str) -> tuple[str, ...]:
    digests = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for digest in digests:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("it must be SHA-256 digests in hex, separated by commas (`printf %s TOKEN | sha256sum`)")
    return digests


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names or not all(re.fullmatch(r"[a-z][a-z0-9_-]*", name) for name in names):
        raise ValueError("it must be device names in lower case, separated by commas")
    return names


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"it must be {' or '.join(allowed)}")
        return text

    return read


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("it is empty")
    return Path(text).expanduser().absolute()


SETTINGS: dict[str, Setting] = {
    "url": Setting("BURNISH_URL", "", "URL", "Service that the CLI and the client talk to; empty: the embedded one.",
                   _url("http", "https"), "https://burnish.example"),
    "token": Setting("BURNISH_TOKEN", "", "text", "Bearer token that the CLI and the client send.", str, secret=True),
    "data": Setting("BURNISH_DATA", "~/.burnish", "folder", "State of the embedded service: database, blobs, logs.",
                    _folder),
    "database_url": Setting("BURNISH_DATABASE_URL", "", "URL",
                            "SQL database (postgresql+psycopg:// or sqlite:///); empty: SQLite in the data folder.",
                            _url("postgresql", "sqlite"), "postgresql+psycopg://user:password@host:5432/burnish"),
    "blobs_url": Setting("BURNISH_BLOBS_URL", "", "URL",
                         "Blob store (s3://bucket/prefix?endpoint=… or file:///folder); empty: inside the data folder.",
                         _url("s3", "file"), "s3://bucket/prefix?endpoint=https://host:port"),
    "broker_url": Setting("BURNISH_BROKER_URL", "redis://127.0.0.1:6379/0", "URL", "Valkey or Redis.",
                          _url("redis", "rediss", empty=False)),
    "listen": Setting("BURNISH_LISTEN", "127.0.0.1:8520", "host:port", "Where the API listens.", _listen),
    "tokens": Setting("BURNISH_TOKENS", "", "SHA-256, comma-separated",
                      "Digests of the bearer tokens the API accepts; empty: open, on loopback only.", _digests,
                      "0" * 64, secret=True),
    "slots": Setting("BURNISH_SLOTS", "0", "steps, to 1024", "Steps a worker runs at once; 0: one per core.",
                     _whole(0, 1024), "4"),
    "queues": Setting("BURNISH_QUEUES", "cpu", "names, comma-separated", "Device classes a worker serves.", _names,
                      "cpu,cuda"),
    "lease_seconds": Setting("BURNISH_LEASE", "30s", "time, 1s to 1h",
                             "A worker that gives no sign of life for this long loses its step.", _time("1s", "1h")),
    "step_seconds": Setting("BURNISH_STEP_TIME", "6h", "time, 1s to 1000h", "Longest a step may run.",
                            _time("1s", "1000h")),
    "step_memory": Setting("BURNISH_STEP_MEMORY", "0", "size, from 10MB",
                           "Most memory a step's processes may use; 0: no limit.", _size("10MB"), "16GB"),
    "max_upload": Setting("BURNISH_MAX_UPLOAD", "50GB", "size, from 1MB", "Largest model or dataset the API takes.",
                          _size("1MB", none=False)),
    "direct_uploads": Setting("BURNISH_DIRECT_UPLOADS", "off", "on or off",
                              "Whether clients are offered links to send large files straight to S3, at the `public` "
                              "address of BURNISH_BLOBS_URL.", _one_of("off", "on")),
    "cache_size": Setting("BURNISH_CACHE_SIZE", "0", "size, from 1MB",
                          "Most bytes of results in the blob store, uploads not counted; over it the cheapest to "
                          "compute again leave; 0: no limit.", _size("1MB"), "500GB"),
    "keep": Setting("BURNISH_KEEP", "24h", "time", "Age at which a blob that nothing refers to is removed.",
                    _time("0s", "100000h")),
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
        values["database_url"] = values["database_url"] or _database_in(data)
        values["blobs_url"] = values["blobs_url"] or _blobs_in(data)
        return cls(**values)

    def told(self, name: str) -> tuple[str, str]:
        """The variable that decides on a setting, and its value as a log may show it."""
        derived = {"database_url": _database_in(self.data), "blobs_url": _blobs_in(self.data)}
        if getattr(self, name) == derived.get(name):
            name = "data"
        return SETTINGS[name].variable, _shown(SETTINGS[name], _write(getattr(self, name)))

    def environment(self) -> dict[str, str]:
        """The same settings as variables, for a child process."""
        return {SETTINGS[field.name].variable: _write(getattr(self, field.name)) for field in fields(self)}


def without_password(url: str) -> str:
    """The address as it may be shown."""
    return re.sub(r"(://[^/@:]*):.*@", r"\1:…@", url)


def _database_in(data: Path) -> str:
    return f"sqlite:///{data / 'burnish.sqlite'}"


def _blobs_in(data: Path) -> str:
    return f"file://{quote(str(data / 'blobs'))}"


def _read(setting: Setting, environment: Mapping[str, str]) -> Any:
    text = environment.get(setting.variable, setting.default)
    try:
        return setting.read(text)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise BadSetting(
            f"{setting.variable} is {_shown(setting, text)}, and that can't be used: {reason}.",
            cure=f"Write it like {setting.variable}={setting.example or setting.default}. {setting.meaning}",
            where=setting.variable,
        ) from error


def _shown(setting: Setting, text: str) -> str:
    return "set" if setting.secret else repr(without_password(text))


def _write(value: Any) -> str:
    if isinstance(value, tuple):
        separator = ":" if value and isinstance(value[-1], int) else ","
        return separator.join(f"[{part}]" if ":" in str(part) else str(part) for part in value)
    return str(value)
