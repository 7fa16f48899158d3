"""A generator of text goes through the whole service with `cache: {kind: state}`, and comes back as one step of it."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from burnish import Client
from burnish.local.running import find, stop
from burnish.resources import JobResource
from tests.workers.sequences import export
from workers.programs import save_program

WINDOW = 24
"""Steps. `torch.compile`, the baseline, writes a recurrent layer out step by step, so a long one takes minutes."""
RECIPE = """
target: {device: cpu, threads: 1, batch: 1, backend: onnxruntime}
passes:
  - cache: {kind: state}
"""
GENERATE = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import bundle
model = bundle.load(sys.argv[1], threads=1)
tokens = np.load(sys.argv[2])
state = model.start(batch=len(tokens))
for number in range(tokens.shape[1]):
    (scores,), state = model.step([tokens[:, number : number + 1]], state)
assert not {"burnish", "workers", "torch"} & set(sys.modules)
np.save(sys.argv[3], scores)
"""


class Generator(nn.Module):
    """Tokens to the scores of the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(20, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(tokens))[0][:, -1])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator().eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: nn.Module) -> Iterator[Path]:
    """Where the job's files are, with the service that ran it still running."""
    folder = tmp_path_factory.mktemp("carried")
    tokens = torch.randint(0, 20, (40, WINDOW), generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's export warns of its own recurrent layers
        save_program(export(model, tokens[:4]), folder / "model.pt2")
    np.savez(folder / "data.npz", inputs=tokens.numpy())
    (folder / "recipe.yaml").write_text(RECIPE)
    yield folder
    stop(folder / "data")


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    """What `burnish optimize` printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BURNISH_")}
    environment["TMPDIR"] = str(folder)  # the host lock of this service, apart from other tests on this machine
    files = [str(folder / name) for name in ("model.pt2", "data.npz", "recipe.yaml", "out")]
    command = ["optimize", files[0], "--data", files[1], "--recipe", files[2], "-o", files[3]]
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from burnish.cli import main; main()", *command],
        env={**environment, "BURNISH_DATA": str(folder / "data"), "BURNISH_LISTEN": "127.0.0.1:0"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def job(folder: Path, told: str) -> Iterator[JobResource]:
    running = find(folder / "data")
    assert running is not None
    with Client(running.url) as client:
        yield client.job(client.jobs().items[0].id)


@pytest.mark.timeout(660)
def test_a_step_is_faster_than_the_window_and_as_good(job: JobResource) -> None:
    assert job.verdict is not None
    assert job.verdict.outcome == "improved"
    chosen = next(item for item in job.verdict.candidates if item.name == "cache@onnxruntime")
    assert job.verdict.chosen == chosen.name
    assert chosen.quality is not None
    assert chosen.quality.sqnr_db > 100
    assert "One call is one more step" in chosen.notes[0]


def test_the_pass_tells_what_is_carried(job: JobResource) -> None:
    step = next(step for step in job.steps if step.name == "cache")
    assert len(step.report["layers"]) == 1
    assert step.report["figures"]["agreement_db"] > 100


def test_the_download_generates_alone_what_the_model_gives(job: JobResource, folder: Path, model: nn.Module) -> None:
    artifact = job.artifacts[0]
    assert artifact.name == "model.zip"
    assert "state = model.start(batch=1)" in artifact.usage
    prefix = torch.randint(0, 20, (3, 17), generator=torch.Generator().manual_seed(2))
    np.save(folder / "prefix.npy", prefix.numpy())
    files = [str(folder / "out" / artifact.name), str(folder / "prefix.npy"), str(folder / "scores.npy")]
    subprocess.run([sys.executable, "-I", "-c", GENERATE, *files], check=True, env={"PATH": ""}, cwd=folder)
    with torch.no_grad():
        np.testing.assert_allclose(np.load(folder / "scores.npy"), model(prefix).numpy(), atol=1e-5)
