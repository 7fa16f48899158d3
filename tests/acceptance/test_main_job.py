"""The main job as a new user meets it: `burnish demo` on an empty data folder, with the real passes and backends."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish import Client
from burnish.cli.demo import RECIPE
from burnish.local.running import find, stop
from burnish.recipe import AUTOMATIC_BACKENDS
from burnish.resources import JobResource

RUN_ALONE = """
import sys
import numpy as np
import onnxruntime
class Block:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("burnish", "workers", "torch"), name
sys.meta_path.insert(0, Block())
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for batch in (1, 3, 7):
    (scores,) = session.run(None, {session.get_inputs()[0].name: np.zeros((batch, 1, 16, 16), np.float32)})
    assert scores.shape == (batch, 10) and np.isfinite(scores).all()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the demo ran, with its service still running."""
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    stop(folder / "data")


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    """What `burnish demo` printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BURNISH_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from burnish.cli import main; main()", "demo", "-o", str(folder / "out")],
        env={**environment, "BURNISH_DATA": str(folder / "data"), "BURNISH_LISTEN": "127.0.0.1:0"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def client(folder: Path, told: str) -> Iterator[Client]:
    running = find(folder / "data")
    assert running is not None, "the page's address has to go on answering"
    with Client(running.url) as client:
        yield client


@pytest.fixture(scope="module")
def job(client: Client) -> JobResource:
    return client.job(client.jobs().items[0].id)


@pytest.mark.timeout(660)
def test_the_demo_ends_with_verdict_file_usage_and_page(told: str, folder: Path) -> None:
    assert "improved" in told
    assert "faster than eager" in told
    assert "Its page: http://127.0.0.1:" in told
    assert str(folder / "out") in told
    assert "import" in told


def test_what_comes_back_is_faster_and_as_good_by_its_own_proof(job: JobResource) -> None:
    assert job.verdict is not None
    chosen = next(item for item in job.verdict.candidates if item.name == job.verdict.chosen)
    assert chosen.speedup_over_eager is not None
    assert chosen.speedup_over_compiled is not None
    assert min(chosen.speedup_over_eager.low, chosen.speedup_over_compiled.low) > 1
    assert chosen.quality is not None
    assert chosen.quality.metric == "top1"
    assert chosen.quality.drop.value <= 0.005
    assert all(limit.met for limit in job.verdict.limits)


def test_every_backend_was_tried_verified_and_measured(job: JobResource) -> None:
    assert job.verdict is not None
    measured = {item.name for item in job.verdict.candidates if item.latency}
    variants = ("as-is", "prune+distill+quantize")
    assert {"eager", "compiled"} | {f"{v}@{b}" for v in variants for b in AUTOMATIC_BACKENDS} == measured


def test_every_pass_tells_what_it_did_to_each_layer_and_why(job: JobResource) -> None:
    for name in ("prune", "quantize"):
        step = next(step for step in job.steps if step.name == name)
        layers = step.report["layers"]
        assert layers
        assert all(layer["treatment"] and layer["reason"] for layer in layers)


def test_the_chosen_file_is_the_one_fetched(folder: Path, job: JobResource) -> None:
    chosen = job.artifacts[0]
    content = (folder / "out" / chosen.name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == chosen.digest


def test_a_file_runs_alone(folder: Path, client: Client, job: JobResource) -> None:
    """Which backend is the fastest depends on the machine; this file runs in few lines everywhere."""
    artifact = next(artifact for artifact in job.artifacts if artifact.backend == "onnxruntime")
    path = client.fetch(job, folder / "alone", artifact)
    subprocess.run([sys.executable, "-I", "-c", RUN_ALONE, str(path)], check=True, env={"PATH": ""})


def test_the_same_job_again_is_answered_from_the_cache(client: Client, job: JobResource) -> None:
    again = client.wait(client.submit(job.model_id, job.dataset_id, RECIPE).id)
    assert again.state == "succeeded"
    assert all(step.hit for step in again.steps)
    assert again.verdict == job.verdict


def test_a_job_that_differs_in_the_last_pass_recomputes_only_from_there(client: Client, job: JobResource) -> None:
    passes = (*RECIPE.passes[:2], RECIPE.passes[2].model_copy(update={"calibration": "minmax"}))
    target = RECIPE.target.model_copy(update={"backend": "onnxruntime"})
    changed = RECIPE.model_copy(update={"passes": passes, "target": target})
    again = client.wait(client.submit(job.model_id, job.dataset_id, changed).id)
    missed = {step.name for step in again.steps if not step.hit}
    # The pre-flight runs the whole chain on a handful of samples, so it is new with any of its settings.
    assert missed == {"preflight", "quantize", "lower@onnxruntime", "verify@onnxruntime", "measure"}
    why = next(step.why for step in again.steps if step.name == "quantize")
    assert why is not None
    assert "settings.calibration" in why
