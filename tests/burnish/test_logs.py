"""The one form of all logs."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from burnish.logs import about, start_log

logger = logging.getLogger("workers.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The logging of the test run is put back."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    rooms = {name: logging.getLogger(name).level for name in ("api", "burnish", "storage", "workers")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in rooms.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    threading.excepthook = hook


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_says_what_it_is_about(stream: io.StringIO) -> None:
    start_log("worker", "json", stream)
    with about(job="job_1", trace="ab", step=None):
        with about(attempt=2):
            logger.info("%s begins", "It")
        logger.info("two\nlines")
    logger.info("nothing")
    first, second, third = lines(stream)
    assert {name: first[name] for name in ("part", "level", "logger", "message", "job", "trace", "attempt")} == {
        "part": "worker", "level": "INFO", "logger": "workers.test", "message": "It begins", "job": "job_1",
        "trace": "ab", "attempt": 2,
    }  # fmt: skip
    assert str(first["time"]).endswith("+00:00")
    assert "step" not in first
    assert (second["message"], "attempt" in second) == ("two\nlines", False)
    assert "job" not in third


def test_a_line_of_text_says_it_too(stream: io.StringIO) -> None:
    start_log("worker", "text", stream)
    with about(job="job_1", jobs=["job_1", "job_2"]):
        logger.warning("It begins")
    assert stream.getvalue().endswith("WARNING workers.test: It begins [job=job_1 jobs=job_1,job_2]\n")


def test_an_error_keeps_its_traceback_in_its_line(stream: io.StringIO) -> None:
    start_log("api", "json", stream)
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("It failed")
    (line,) = lines(stream)
    assert "ValueError: odd" in str(line["error"])


def test_a_thread_with_a_copy_of_the_context_is_about_the_same(stream: io.StringIO) -> None:
    start_log("worker", "json", stream)
    with about(job="job_1"):
        thread = threading.Thread(target=copy_context().run, args=(logger.info, "from the thread"))
    thread.start()
    thread.join()
    assert lines(stream)[0]["job"] == "job_1"


def test_warnings_and_threads_that_end_by_an_error_are_lines_as_well(stream: io.StringIO) -> None:
    start_log("worker", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("mind this", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="odd")
    thread.start()
    thread.join()
    warned, ended = lines(stream)
    assert "mind this" in str(warned["message"])
    assert ended["message"] == "Thread odd ended by an error"
    assert "ZeroDivisionError" in str(ended["error"])


def test_libraries_are_heard_when_they_warn(stream: io.StringIO) -> None:
    start_log("tick", "json", stream)
    logging.getLogger("celery").info("chatter")
    logging.getLogger("celery").warning("news")
    assert [line["message"] for line in lines(stream)] == ["news"]
