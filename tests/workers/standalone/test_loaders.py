"""The baselines run the original program as it is, in a process of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import models
from workers.measure.contender import Contender, ContenderFailed, loader_of
from workers.programs import save_program
from workers.standalone import load_inductor


def started(backend: str, artifact: Path, folder: Path) -> Contender:
    return Contender(
        loader=loader_of(backend),
        artifact=artifact,
        filename="model.pt2",
        threads=1,
        folder=folder / "contender",
        compiles=backend == "compiled",
    )


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "digest-without-ending"
    save_program(models.program("mlp"), path)
    return path


def expected(name: str, inputs: tuple[torch.Tensor, ...]) -> np.ndarray:
    with torch.inference_mode():
        outputs: np.ndarray = models.module(name)(*inputs).numpy()
    return outputs


def test_eager_gives_the_outputs_of_the_module(mlp: Path, tmp_path: Path) -> None:
    inputs = models.example("mlp", batch=5)
    with started("eager", mlp, tmp_path) as one:
        one.load(60)
        outputs, calls = one.check([each.numpy() for each in inputs], 3, 60)
    np.testing.assert_allclose(outputs[0], expected("mlp", inputs), atol=1e-5)
    assert all(call["identical"] and call["inputs_unchanged"] for call in calls)


def test_compiled_gives_the_outputs_of_the_module_at_the_batch_of_the_call(mlp: Path, tmp_path: Path) -> None:
    inputs = models.example("mlp", batch=2)
    with started("compiled", mlp, tmp_path) as one:
        one.load(60)
        outputs, _ = one.check([each.numpy() for each in inputs], 2, 280)
    np.testing.assert_allclose(outputs[0], expected("mlp", inputs), atol=1e-5)
    assert (tmp_path / "contender" / "inductor").is_dir(), "what it compiles stays in its scratch folder"


def test_a_package_that_gives_a_dict_gives_its_tensors_in_their_order() -> None:
    outputs = {"b": torch.zeros(1), "a": [torch.ones(1), torch.ones(2)]}
    arrays = load_inductor.Runner(torch, None).arrays(outputs)
    assert [each.tolist() for each in arrays] == [[0.0], [1.0], [1.0, 1.0]]


def test_a_file_that_is_no_program_fails_with_a_reason(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"no zip")
    with started("eager", artifact, tmp_path) as one, pytest.raises(ContenderFailed, match="BadZipFile"):
        one.load(60)
