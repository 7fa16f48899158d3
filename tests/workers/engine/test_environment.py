"""What a worker announces of its machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.environment import Environment

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("limit", "memory"), [("max", MACHINE), ("1000000", 1_000_000), (str(4 * MACHINE), MACHINE), (None, MACHINE)]
)
def test_memory_is_what_the_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, memory: int
) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(f"{limit}\n")
    monkeypatch.setattr("workers.environment._MEMORY_LIMITS", (str(file),))
    assert Environment.of_this_machine("cpu").memory == memory


def test_the_device_is_the_first_queue_and_the_processors_those_it_may_use() -> None:
    here = Environment.of_this_machine("cuda")
    assert here.device == "cuda"
    assert here.threads == len(os.sched_getaffinity(0))
    assert here.versions["python"]
