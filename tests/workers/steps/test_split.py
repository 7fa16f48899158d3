"""The split is even, repeats with its seed, and keeps classes in proportion."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from burnish.errors import InvalidDataset
from burnish.recipe import Target
from tests import models
from workers.datasets import read_samples
from workers.programs import save_program
from workers.steps.base import Made, StepContext
from workers.steps.split import Split, halves

INPUTS = torch.arange(40 * 20, dtype=torch.float32).reshape(40, 20)
LABELS = torch.arange(40) % 4


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "mlp.pt2"
    save_program(models.program("mlp"), path)
    return path


def split(program: Path, folder: Path, tensors: dict[str, torch.Tensor], seed: int = 0, batch: int = 1) -> Made:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "dataset")
    return Split().run(
        StepContext(
            settings={},
            inputs={"dataset": folder / "dataset", "program": program},
            folder=folder,
            target=Target(batch=batch),
            seed=seed,
            progress=lambda share, doing: None,
        )
    )


def test_each_sample_is_in_exactly_one_half_with_its_label(program: Path, tmp_path: Path) -> None:
    made = split(program, tmp_path, {"inputs": INPUTS, "targets": LABELS})
    both = [read_samples(made.outputs[role]) for role in ("calibration", "heldout")]
    rows = torch.cat([part.inputs[0] for part in both])
    assert torch.equal(rows.sort(0).values, INPUTS)
    for part in both:
        assert part.targets is not None
        assert torch.equal(part.inputs[0][:, 0].long() // 20 % 4, part.targets)


def test_the_report_counts_both_halves(program: Path, tmp_path: Path) -> None:
    made = split(program, tmp_path, {"inputs": INPUTS[:39]})
    assert made.report == {"samples": 39, "calibration": 20, "heldout": 19, "labelled": False}


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(program: Path, tmp_path: Path) -> None:
    tensors = {"inputs": INPUTS, "targets": LABELS}
    a, b, c = (
        split(program, tmp_path / name, tensors, seed).outputs["heldout"].read_bytes()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert a == b
    assert a != c


def test_inputs_named_as_the_models_are_taken(program: Path, tmp_path: Path) -> None:
    assert split(program, tmp_path, {"features": INPUTS}).report["samples"] == 40


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_halved_even_rare_ones(seed: int) -> None:
    targets = torch.tensor([0] * 61 + [1] * 30 + [2] * 7 + [3] * 2)
    calibration, heldout = halves(targets, 100, seed)
    assert len(calibration) == len(heldout) == 50
    for label in range(4):
        here, there = int((targets[calibration] == label).sum()), int((targets[heldout] == label).sum())
        assert abs(here - there) <= 1


def test_halves_stand_in_random_order_not_by_class() -> None:
    targets = torch.arange(100) // 50
    calibration, heldout = halves(targets, 100, 0)
    for half in (calibration, heldout):
        assert 5 < int(targets[half][:25].sum()) < 20


def test_real_valued_targets_are_not_taken_for_classes() -> None:
    calibration, heldout = halves(torch.rand(10), 10, 0)
    assert sorted([*calibration.tolist(), *heldout.tolist()]) == list(range(10))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_refused_with_tensor_and_sample(
    bad: float, program: Path, tmp_path: Path
) -> None:
    inputs = INPUTS.clone()
    inputs[7, 3] = inputs[30, 0] = bad
    with pytest.raises(InvalidDataset, match="2 of 40 samples") as refused:
        split(program, tmp_path, {"inputs": inputs})
    assert refused.value.where == "features[7]"


def test_targets_that_are_no_numbers_are_refused(program: Path, tmp_path: Path) -> None:
    targets = torch.rand(40)
    targets[5] = float("nan")
    with pytest.raises(InvalidDataset) as refused:
        split(program, tmp_path, {"inputs": INPUTS, "targets": targets})
    assert refused.value.where == "targets[5]"


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_is_no_class_of_the_model_is_refused(label: int, program: Path, tmp_path: Path) -> None:
    targets = LABELS.clone()
    targets[9] = label
    with pytest.raises(InvalidDataset, match="4 classes") as refused:
        split(program, tmp_path, {"inputs": INPUTS, "targets": targets})
    assert refused.value.where == "targets[9]"


def test_too_few_samples_are_refused(program: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="19 samples are too few"):
        split(program, tmp_path, {"inputs": INPUTS[:19]})


def test_a_dataset_for_another_model_is_refused(program: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="takes float32"):
        split(program, tmp_path, {"inputs": INPUTS.double()})


def test_a_batch_that_no_half_can_fill_is_refused(program: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="no whole batch of 21"):
        split(program, tmp_path, {"inputs": INPUTS}, batch=21)
