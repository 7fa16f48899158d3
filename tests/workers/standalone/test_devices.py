"""Programs, artifacts and their inputs on another device than the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.passes import Prune
from burnish.recipe import Target
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, context, quantize, quantized, sqnr
from workers.backends import inductor as module_under_test
from workers.backends.base import Lowered
from workers.backends.inductor import Inductor
from workers.graphs.device import Card, moved_to
from workers.measure.contender import Contender, loader_of
from workers.passes.prune import PrunePass
from workers.programs import save_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

TOLD = """
def load(path, threads, **options):
    raise RuntimeError(f"was told {options}")
"""
"""A loader that tells what it was given."""


def devices(program: torch.export.ExportedProgram) -> set[str]:
    """Of weights, constants, and what each node gives."""
    tensors = [*program.state_dict.values(), *program.constants.values()]
    tensors += [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    return {str(tensor.device) for tensor in tensors if isinstance(tensor, torch.Tensor)}


@pytest.mark.parametrize("name", ["residual_cnn", "encoder", "lstm"])
def test_a_program_is_moved_whole_and_the_one_it_came_from_stays(name: str) -> None:
    moved = moved_to(models.program(name), "meta")
    assert devices(moved) == {"meta"}
    assert devices(models.program(name)) == {"cpu"}


def test_a_program_for_the_processor_is_left_as_it_is() -> None:
    assert moved_to(models.program("mlp"), "cpu") is models.program("mlp")


@pytest.mark.parametrize(("device", "told"), [("cpu", r"\{\}"), ("cuda", r"\{'device': 'cuda'\}")])
def test_the_loader_is_told_of_a_device_other_than_the_processor(device: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "load_told.py").write_text(TOLD)
    save_program(models.program("mlp"), tmp_path / "program")
    with (
        Contender(
            loader=tmp_path / "load_told.py",
            artifact=tmp_path / "program",
            filename="model.pt2",
            threads=1,
            folder=tmp_path / "contender",
            device=device,
        ) as contender,
        pytest.raises(Exception, match=f"was told {told}"),
    ):
        contender.load(60.0)


def test_quantized_programs_are_taken_for_cuda_but_for_int8_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Card, "here", lambda: Card((9, 0), True))
    monkeypatch.setattr(module_under_test.importlib.util, "find_spec", lambda name: object())
    (reason,) = Inductor().requires(quantized("residual_cnn").program, Target(device="cuda"))
    assert "bfloat16" in reason
    assert Inductor().requires(quantized("mlp").program, Target(device="cuda")) == []
    assert Inductor().requires(models.program("mlp"), Target(device="cuda")) == []


def test_cuda_without_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module_under_test.importlib.util, "find_spec", lambda name: None)
    (reason,) = Inductor().requires(models.program("mlp"), Target(device="cuda"))
    assert "Triton" in reason


@needs_cuda
@pytest.mark.parametrize("backend", ["eager", "compiled", "inductor"])
def test_outputs_on_cuda_are_those_of_the_processor(backend: str, tmp_path: Path) -> None:
    program, artifact = models.program("residual_cnn"), tmp_path / "model.pt2"
    if backend == "inductor":
        Inductor().lower(program, Target(device="cuda"), calibration(), tmp_path)
    else:
        save_program(program, artifact)
    with Contender(
        loader=loader_of(backend),
        artifact=artifact,
        filename="model.pt2",
        threads=1,
        folder=tmp_path / "contender",
        compiles=backend == "compiled",
        device="cuda",
    ) as contender:
        contender.load(300.0)
        for batch in (1, 5):
            inputs = models.example("residual_cnn", batch=batch, seed=2)
            (found,), calls = contender.check([tensor.numpy() for tensor in inputs], 3, 300.0)
            with torch.no_grad():
                np.testing.assert_allclose(found, program.module()(*inputs).numpy(), rtol=1e-3, atol=1e-4)
            assert all(call["inputs_unchanged"] for call in calls)


@needs_cuda
@pytest.mark.parametrize(
    ("name", "settings", "least"),
    [
        ("encoder", {"weights": "int8"}, 25.0),
        ("encoder", {"weights": "int8", "activations": "dynamic"}, 25.0),
        ("encoder", {"weights": "int4", "embeddings": True}, 25.0),
        ("encoder", {"weights": "int2", "embeddings": True}, 25.0),
        ("lstm", {"weights": "int4"}, 25.0),
        ("depthwise_cnn", {"weights": "nf4"}, 60.0),
        ("residual_cnn", {"weights": "int8", "activations": "float32"}, 60.0),
        ("residual_cnn", {"weights": "bfloat16"}, 25.0),
        ("encoder", {"weights": "float16"}, 40.0),
    ],
    ids=lambda value: "-".join(str(each) for each in value.values()) if isinstance(value, dict) else None,
)
def test_quantized_packages_on_cuda_agree_with_their_programs(
    name: str, settings: dict[str, Any], least: float, tmp_path: Path
) -> None:
    program = quantize(models.program(name), *models.example(name, batch=64, seed=1), **settings).program
    compare_on_cuda(program, name, least, tmp_path)


@needs_cuda
@pytest.mark.skipif(not torch.backends.cusparselt.is_available(), reason="this build of torch has no cuSPARSELt")
@pytest.mark.parametrize("weights", ["bfloat16", "float16"])
def test_packages_of_sparse_weights_on_cuda_agree_with_their_programs(weights: str, tmp_path: Path) -> None:
    settings = Prune(kind="2:4", method="magnitude")
    samples = calibration(*models.example("encoder", batch=64, seed=1))
    pruned = PrunePass().apply(models.program("encoder"), settings, context(models.program("encoder"), samples)).program
    program = quantize(pruned, *samples.inputs, weights=weights).program
    lowered = compare_on_cuda(program, "encoder", 25.0, tmp_path)
    assert any("2:4 sparse tensor cores" in note for note in lowered.notes)


def compare_on_cuda(program: torch.export.ExportedProgram, name: str, least: float, folder: Path) -> Lowered:
    """Lowers the program, and holds the package's outputs against its own on the processor, at three batches."""
    assert Inductor().requires(program, Target(device="cuda")) == []
    lowered = Inductor().lower(program, Target(device="cuda"), calibration(*models.example(name)), folder)
    with Contender(
        loader=loader_of("inductor"),
        artifact=lowered.path,
        filename="model.pt2",
        threads=1,
        folder=folder / "contender",
        blocked=("torchao",),
        device="cuda",
    ) as contender:
        contender.load(300.0)
        for batch in (1, 5, 32):
            inputs = models.example(name, batch=batch, seed=2)
            (found,), calls = contender.check([tensor.numpy() for tensor in inputs], 3, 300.0)
            with torch.no_grad():
                assert sqnr(program.module()(*inputs), torch.from_numpy(found)) > least
            assert all(call["inputs_unchanged"] for call in calls)
    return lowered


@needs_cuda
def test_a_timed_call_on_cuda_ends_with_its_work(tmp_path: Path) -> None:
    save_program(models.program("residual_cnn"), tmp_path / "model.pt2")
    with Contender(
        loader=loader_of("eager"),
        artifact=tmp_path / "model.pt2",
        filename="model.pt2",
        threads=1,
        folder=tmp_path / "contender",
        device="cuda",
    ) as contender:
        contender.load(300.0)
        seconds = []
        for batch in (1, 256):
            contender.prepare([t.numpy() for t in models.example("residual_cnn", batch=batch)], 60.0)
            seconds.append(min(contender.round(calls=10, untimed=3, limit=60.0)))
        assert seconds[1] > seconds[0]
