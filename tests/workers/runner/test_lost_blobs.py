"""Inputs and outputs that the store has lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.settings import Settings
from storage.blobs import BlobStore
from tests.storage.scene import Clock
from tests.workers.engine.scene import Scene
from tests.workers.runner.runs import finish, run_one, submit
from workers.runner import Runner


def test_an_input_that_is_gone_from_the_store_is_told_with_the_cure(
    runner: Runner, scene: Scene, blobs: BlobStore
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    step = scene.steps(job_id)["capture"]
    blobs.delete(step.spec["inputs"]["model"].removeprefix("sha256:"))
    runner.execute(str(step.key))
    (reason,) = scene.computation(step.key).reasons
    assert "gone from the store" in reason["error"]["message"]
    assert "Upload" in reason["error"]["cure"]


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_an_input_that_the_store_lost_is_computed_again_and_the_job_succeeds(
    runner: Runner, scene: Scene, blobs: BlobStore, settings: Settings, how: str
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    capture = scene.steps(job_id)["capture"]
    run_one(runner, str(capture.key))
    program = (scene.steps(job_id)["capture"].outputs or {})["program"]
    blobs.delete(program) if how == "gone" else _damage(settings, program)
    finish(runner, scene, job_id)
    assert scene.job(job_id).state == "succeeded"
    assert scene.computation(capture.key).attempt == 2
    assert b"".join(blobs.open(program))


def test_an_input_that_is_lost_whenever_it_is_made_fails_the_job_with_the_reason(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    fetch = blobs.fetch

    def losing(digest: str, folder: Path) -> Path:
        if blobs.size(digest) is not None and digest != model:
            blobs.delete(digest)
        return fetch(digest, folder)

    model = scene.steps(job_id)["capture"].spec["inputs"]["model"].removeprefix("sha256:")
    monkeypatch.setattr(blobs, "fetch", losing)
    for _ in range(60):
        if scene.job(job_id).state != "running":
            break
        finish(runner, scene, job_id)
        clock.pass_(61)
    assert scene.job(job_id).state == "failed"
    assert "gone from the store" in str(scene.job(job_id).error)


def test_an_output_that_was_removed_before_the_commit_is_made_again(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    with monkeypatch.context() as patched:
        patched.setattr("storage.blob_index.confirm", lambda tx, held: False)
        run_one(runner, key)
    found = scene.computation(key)
    assert (found.state, found.failures) == ("ready", 1)
    assert "removed from the store" in found.reasons[0]["error"]["message"]
    clock.pass_(2)
    finish(runner, scene, job_id)
    assert scene.job(job_id).state == "succeeded"


def _damage(settings: Settings, digest: str) -> None:
    path = Path(settings.blobs_url.removeprefix("file://")) / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(b"other bytes")
