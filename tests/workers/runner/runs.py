"""Short ways to run the steps of a job, wholly or one at a time, with what fails at first."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

from storage.blobs import BlobStore
from storage.succession import Found
from tests.storage.scene import Clock
from tests.workers.engine.scene import Scene
from workers.dispatch import Following
from workers.runner import Runner

__all__ = ["AwayAtFirst", "Running", "finish", "run_one", "submit"]


class Running(Clock):
    """One that goes on a little each time it is read, so that no two transactions share a moment."""

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def submit(scene: Scene, blobs: BlobStore, script: dict[str, Any] | None = None) -> str:
    """A job whose model and dataset are in the store."""
    blobs.put([b"{}"])
    data = blobs.put([json.dumps(script or {}).encode()])
    return scene.submit(model=data.digest, dataset=data.digest)


def run_one(runner: Runner, key: str) -> None:
    """Without going on with the next that is ready, so that a test can come in between."""
    found = runner._claim(key)
    assert found is not None
    with mock.patch.object(runner, "_follow", return_value=Following(Found(None, None), [])):
        runner._run_claimed(found.claim, None)


def finish(runner: Runner, scene: Scene, job_id: str) -> None:
    """All that is ready, as doorbells would have it."""
    ready = [str(step.key) for step in scene.steps(job_id).values() if step.state == "ready"]
    for key in ready:
        runner.execute(key)


class AwayAtFirst:
    """Lets a call fail so often before it does what it did."""

    def __init__(self, real: Callable[..., Any], error: BaseException, times: int) -> None:
        self.real, self.error, self.left = real, error, times

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return self.real(*arguments, **options)
