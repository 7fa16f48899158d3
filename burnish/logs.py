"""The log of a process: readable lines, or one JSON object a line (`BURNISH_LOG=json`), on standard error.

Every line says what it is about: `about(job=…, step=…)` adds to all lines that are logged inside the block, in this
thread and in those that are started with a copy of its context. Members of a JSON line: `time` (ISO 8601, UTC),
`level`, `part` (api, worker, tick), `logger`, `message`, `error` (a traceback), and those of `about`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["FORMS", "about", "start_log"]

FORMS = ("text", "json")
_about: ContextVar[dict[str, object]] = ContextVar("burnish_log_about")


@contextmanager
def about(**members: object) -> Iterator[None]:
    """What the lines logged in this block are about; members that are `None` are left out."""
    known = {name: value for name, value in members.items() if value is not None}
    token = _about.set({**_about.get({}), **known})
    try:
        yield
    finally:
        _about.reset(token)


def start_log(part: str, form: str = "text", stream: TextIO | None = None) -> None:
    """Sends all that is logged, warned of, or ends a thread, to standard error. Called again, it starts anew.

    Ours from INFO on, and from the libraries what they warn of.

    Args:
        part: the process: `api`, `worker`, `tick`.
        form: one of `FORMS`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json(part) if form == "json" else _Text())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for room in ("api", "burnish", "storage", "workers"):
        logging.getLogger(room).setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "?"
    error = arguments.exc_value
    if error is not None:
        told = (arguments.exc_type, error, arguments.exc_traceback)
        logging.getLogger("burnish").critical("Thread %s ended by an error", name, exc_info=told)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        known = " ".join(f"{name}={_plain(value)}" for name, value in _about.get({}).items())
        record.about = f" [{known}]" if known else ""
        return super().formatMessage(record)


class _Json(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage(),
            **_about.get({}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
