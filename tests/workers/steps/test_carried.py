"""A program that carries state, or a memo, through all steps: what is lowered, verified and measured, and run alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.passes import Cache
from tests.workers.sequences import THIRD_PARTY, WINDOW, example, export, module
from tests.workers.steps.contexts import context
from workers.bundles import BUNDLE, contract_of
from workers.calling import MemoContract, StateContract, read_calling
from workers.datasets import write_samples
from workers.measure.protocol import Plan, measure
from workers.passes.base import Samples
from workers.passes.cache import CachePass
from workers.programs import load_program, save_program
from workers.steps.apply_pass import ApplyPass
from workers.steps.base import Made
from workers.steps.capture import Capture
from workers.steps.lower import Lower
from workers.steps.measure import Entry, LineUp, started
from workers.steps.verify import Verify

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

QUICK = Plan(seconds=0.2, min_rounds=5, warm_up_seconds=0.2)
ALONE = """
import json, sys
import numpy as np

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv[1])
import bundle

model = bundle.load(sys.argv[1], threads=1)
tokens = np.load(sys.argv[2])
state = model.start(batch=len(tokens))
found = []
for number in range(tokens.shape[1]):
    outputs, state = model.step([tokens[:, number : number + 1]], state)
    found.append(outputs[0])
np.save(sys.argv[3], np.stack(found))
"""
"""The lines of the usage text, in a process that can import neither Burnish nor (for ONNX Runtime) torch."""


class Line:
    """The steps of a job for one model, each in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self._count = folder, 0
        save_program(export(module(name), example(name)), folder / "original")
        write_samples(Samples((example(name, 24, seed=1),), None), folder / "samples")

    def cached(self, **settings: Any) -> Made:
        roles = {"program": "original", "original": "original", "calibration": "samples"}
        return ApplyPass(CachePass()).run(
            self._context(
                "cache", {role: self.folder / file for role, file in roles.items()}, Cache(**settings).model_dump()
            )
        )

    def lowered(self, program: Path, backend: str) -> Made:
        inputs = {"program": program, "calibration": self.folder / "samples"}
        return Lower().run(self._context(f"lower-{backend}", inputs, {"backend": backend}))

    def verified(self, program: Path, artifact: Path, backend: str) -> Made:
        inputs = {"program": program, "original": self.folder / "original", "artifact": artifact}
        inputs["heldout"] = self.folder / "samples"
        return Verify().run(self._context(f"verify-{backend}", inputs, {"backend": backend}))

    def measured(self, **artifacts: Path) -> dict[str, Any]:
        """What measure reports of artifacts for ONNX Runtime; without the original, whose compilation takes longest."""
        entries = [Entry(name, "onnxruntime", artifact, "model.onnx") for name, artifact in artifacts.items()]
        with started(entries, self._context("measure", {}, {})) as contenders:
            line_up = LineUp(contenders)
            line_up.load([example("hybrid", 1).numpy()])
            rounds = measure(line_up.running, (), QUICK)
            return {entry.name: line_up.report(entry, rounds) for entry in entries}

    def _context(self, name: str, inputs: dict[str, Path], settings: dict[str, Any]) -> Any:
        self._count += 1
        return context(self.folder / f"{name}-{self._count}", inputs, settings, batch=1)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Line]:
    return cache(lambda name: Line(tmp_path_factory.mktemp(name), name))


@pytest.fixture(scope="module")
def step(line: Callable[[str], Line]) -> Callable[[str], Path]:
    return cache(lambda name: line(name).cached(kind="state").outputs["program"])


@pytest.fixture(scope="module")
def lowered(line: Callable[[str], Line], step: Callable[[str], Path]) -> Callable[[str, str], Made]:
    return cache(lambda name, backend: line(name).lowered(step(name), backend))


ARTIFACTS = [("char_lm", "onnxruntime"), ("hybrid", "onnxruntime"), ("hybrid", "inductor")]


def test_the_contract_lies_in_the_programs_archive_and_the_archive_loads(step: Callable[[str], Path]) -> None:
    assert isinstance(read_calling(step("char_lm")), StateContract)
    load_program(step("char_lm"))


def test_a_contract_in_an_upload_is_dropped(step: Callable[[str], Path], tmp_path: Path) -> None:
    captured = Capture().run(context(tmp_path / "capture", {"model": step("char_lm")}, {}))
    assert read_calling(captured.outputs["program"]) is None


@pytest.mark.parametrize(("name", "backend"), ARTIFACTS)
def test_the_artifact_runs_alone_as_its_usage_says_and_gives_every_prefix(
    name: str, backend: str, lowered: Callable[[str, str], Made], tmp_path: Path
) -> None:
    artifact = tmp_path / BUNDLE
    artifact.write_bytes(lowered(name, backend).outputs["artifact"].read_bytes())
    window = example(name, 3, seed=5)
    np.save(tmp_path / "tokens.npy", window.numpy())
    blocked = {"burnish", "workers", "storage", "torchao"} | ({"torch"} if backend == "onnxruntime" else set())
    files = [str(artifact), str(tmp_path / "tokens.npy"), str(tmp_path / "found.npy")]
    script = ALONE.replace("{blocked}", repr(blocked))
    command = [sys.executable, "-I", "-c", script, *files]
    ran = subprocess.run(command, env={"PATH": ""}, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = np.load(tmp_path / "found.npy")
    made = module(name)
    with torch.no_grad():
        for steps in (1, 2, 7, WINDOW):
            expected = made(window[:, :steps]).numpy()
            last = expected[:, -1:] if expected.ndim == 3 else expected
            np.testing.assert_allclose(found[steps - 1], last, atol=1e-5)


@pytest.mark.parametrize(("name", "backend"), ARTIFACTS)
def test_verify_drives_it_over_windows_and_their_beginnings(
    name: str,
    backend: str,
    line: Callable[[str], Line],
    step: Callable[[str], Path],
    lowered: Callable[[str, str], Made],
) -> None:
    report = line(name).verified(step(name), lowered(name, backend).outputs["artifact"], backend).report
    assert report.get("refused") is None
    assert report["quality"]["sqnr_db"] > 100
    checks = {entry["check"] for entry in report["checks"]}
    assert {"batch 1", "batch 3", "1 steps at batch 7", "2 steps at batch 7", "7 steps at batch 7"} <= checks


def test_an_artifact_of_another_model_is_refused(
    line: Callable[[str], Line], step: Callable[[str], Path], lowered: Callable[[str, str], Made]
) -> None:
    wrong = line("char_lm_each").lowered(step("char_lm_each"), "onnxruntime").outputs["artifact"]
    report = line("char_lm").verified(step("char_lm"), wrong, "onnxruntime").report
    assert "shape: at batch 7" in report["refused"]


def test_the_bundle_is_the_same_each_time_and_holds_what_it_needs(
    line: Callable[[str], Line], step: Callable[[str], Path], lowered: Callable[[str, str], Made], tmp_path: Path
) -> None:
    made = lowered("char_lm", "onnxruntime")
    assert made.report["filename"] == BUNDLE
    assert made.report["size"] == made.outputs["artifact"].stat().st_size
    again = Lower().run(
        context(
            tmp_path / "again",
            {"program": step("char_lm"), "calibration": line("char_lm").folder / "samples"},
            {"backend": "onnxruntime"},
        )
    )
    assert again.outputs["artifact"].read_bytes() == made.outputs["artifact"].read_bytes()
    with zipfile.ZipFile(made.outputs["artifact"]) as archive:
        assert set(archive.namelist()) == {
            "contract.json", "usage.txt", "model.onnx", "bundle.py", "stateful.py", "load_onnxruntime.py",
        }  # fmt: skip
        assert archive.read("usage.txt").decode() == made.report["usage"]


def test_the_usage_states_the_whole_contract(lowered: Callable[[str, str], Made]) -> None:
    usage = lowered("hybrid", "onnxruntime").report["usage"]
    assert "state = model.start(batch=1)  # zeros" in usage
    assert "state_0_h: float32 (batch, 16)" in usage
    assert f"_key: float32 (batch, 2, {WINDOW}, 8)" in usage
    assert "each goes to the input of its name" in usage
    assert f"at most {WINDOW} steps" in usage
    assert "session.run" in usage
    compile(usage, "usage", "exec")


@pytest.fixture(scope="module")
def memo(line: Callable[[str], Line]) -> tuple[Path, Made]:
    """The program and what was lowered from it."""
    program = line("hybrid").cached(kind="memo", max_bytes=10_000).outputs["program"]
    return program, line("hybrid").lowered(program, "onnxruntime")


def test_a_memo_is_shipped_with_its_contract_and_verifies(line: Callable[[str], Line], memo: tuple[Path, Made]) -> None:
    program, lowered = memo
    artifact = lowered.outputs["artifact"]
    assert read_calling(program) == contract_of(artifact) == MemoContract(max_bytes=10_000)
    assert "outputs = model(inputs)" in lowered.report["usage"]
    assert line("hybrid").verified(program, artifact, "onnxruntime").report.get("refused") is None


def test_measure_takes_one_step_of_a_state_and_calls_that_a_memo_does_not_know_and_says_so(
    line: Callable[[str], Line], lowered: Callable[[str, str], Made], memo: tuple[Path, Made]
) -> None:
    artifact = lowered("hybrid", "onnxruntime").outputs["artifact"]
    found = line("hybrid").measured(state=artifact, memo=memo[1].outputs["artifact"])
    assert "One call is one more step" in found["state"]["notes"][0]
    assert found["state"]["figures"] == {}
    figures = found["memo"]["figures"]
    assert figures["hit_seconds"] < figures["call_seconds"]
    assert found["memo"]["latency"]["median"]["value"] > figures["hit_seconds"], "a timed call is not in memory"
    assert "It pays from a hit rate of" in found["memo"]["notes"][0]


def test_another_artifact_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    assert contract_of(tmp_path / "model.onnx") is None
    save_program(export(module("char_lm"), example("char_lm")), tmp_path / "model.pt2")
    assert contract_of(tmp_path / "model.pt2") is None
