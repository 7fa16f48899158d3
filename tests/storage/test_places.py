"""What is told at start of a store or a broker that does not answer, and that nothing is where both do."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from burnish.settings import Settings
from storage import places
from storage.places import warn_of_absent

NOBODY = "127.0.0.1:1"


def told(caplog: pytest.LogCaptureFixture, **variables: str) -> list[str]:
    before = set(threading.enumerate())
    with caplog.at_level(logging.WARNING, "storage.places"):
        warn_of_absent(Settings.from_environment(variables))
        for thread in set(threading.enumerate()) - before:
            thread.join(60)
    return sorted(caplog.messages)


def test_what_is_absent_is_told_with_its_setting_and_the_cure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    blobs = f"s3://bucket/prefix?endpoint=http://{NOBODY}&region=here"
    broker = f"redis://:hunter2@{NOBODY}/0"
    store, valkey = told(caplog, BURNISH_DATA=str(tmp_path), BURNISH_BLOBS_URL=blobs, BURNISH_BROKER_URL=broker)
    assert store.startswith(f"BURNISH_BLOBS_URL is '{blobs}', which does not answer: bucket bucket: ")
    assert "Correct BURNISH_BLOBS_URL and the AWS_ variables, and make the bucket." in store
    assert valkey.startswith(f"BURNISH_BROKER_URL is 'redis://:…@{NOBODY}/0', which does not answer: ")
    assert "Start Valkey or Redis there" in valkey


def test_of_what_is_there_nothing_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(places, "ping", lambda url: None)  # that it finds a broker, its own tests show
    assert told(caplog, BURNISH_DATA=str(tmp_path)) == []
