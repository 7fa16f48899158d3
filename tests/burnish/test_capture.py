"""`burnish.capture` exports what runs, says how dynamic it is, and refuses the rest with a cure."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import burnish
from burnish.errors import UnsupportedModel, UserError
from burnish.formats import inspect_model
from tests import keywords, models


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """torch logs the whole graph where it refuses one."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", models.NAMES)
def test_every_shared_model_is_captured_with_a_dynamic_batch_from_one_sample(name: str, tmp_path: Path) -> None:
    captured = burnish.capture(models.module(name), models.example(name, 1), tmp_path / "m.pt2")
    assert captured.batch == "dynamic"
    assert captured.notes == ()
    assert captured.path == tmp_path / "m.pt2"
    with (tmp_path / "m.pt2").open("rb") as file:
        assert inspect_model(file) == captured.signature
    inputs = models.example(name, 5)
    loaded = torch.export.load(tmp_path / "m.pt2").module()
    assert torch.equal(loaded(*inputs), models.module(name)(*inputs))


def test_a_single_tensor_may_be_given_as_it_is() -> None:
    captured = burnish.capture(nn.Linear(3, 2), torch.zeros(2, 3), max_batch=32)
    assert captured.path is None
    assert captured.signature.max_batch == 32
    assert captured.program.module()(torch.zeros(32, 3)).shape == (32, 2)


def test_a_module_in_training_is_captured_for_inference_and_left_in_training() -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.BatchNorm1d(8))
    module.train()
    module[1].eval()
    captured = burnish.capture(module, torch.zeros(4, 3))
    assert [part.training for part in module.modules()] == [True, True, False, True]
    x = torch.rand(6, 3)
    assert torch.equal(captured.program.module()(x), captured.program.module()(x))


def test_the_file_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    burnish.capture(models.module("mlp"), models.example("mlp"), tmp_path / "m.pt2")
    content = (tmp_path / "m.pt2").read_bytes()
    assert b"models.py" not in content
    assert b"site-packages" not in content


def test_the_same_module_makes_the_same_file_and_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "b.pt2").write_bytes(b"older")
    for name in ("a.pt2", "b.pt2"):
        burnish.capture(models.module("mlp"), models.example("mlp"), tmp_path / name)
    assert (tmp_path / "a.pt2").read_bytes() == (tmp_path / "b.pt2").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt2", "b.pt2"]


def test_a_fixed_batch_can_be_asked_for() -> None:
    captured = burnish.capture(nn.Linear(3, 2), torch.zeros(5, 3), dynamic_batch=False)
    assert captured.batch == "static"
    assert captured.signature.inputs[0].shape == (5, 3)


def test_a_model_that_needs_its_example_batch_falls_back_to_it_and_says_why() -> None:
    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(2, -1, 3).sum(0)

    captured = burnish.capture(Pairs(), torch.zeros(4, 3))
    assert captured.batch == "static"
    assert captured.signature.inputs[0].shape == (4, 3)
    assert len(captured.notes) == 2
    assert captured.notes[0].startswith("dynamic batch:")


def test_bounds_that_torch_finds_by_itself_are_used_where_the_asked_ones_do_not_hold() -> None:
    class UpToEight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.arange(24.0).reshape(8, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.place[: x.shape[0]]

    captured = burnish.capture(UpToEight(), torch.zeros(4, 3))
    assert captured.batch == "inferred"
    assert captured.signature.max_batch == 8


def test_inputs_without_the_batch_stay_fixed() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return x * mask

    captured = burnish.capture(Masked(), (torch.ones(4, 3), torch.ones(3)))
    assert [spec.shape for spec in captured.signature.inputs] == [(None, 3), (3,)]


def test_a_model_called_by_keyword_is_captured_as_one_called_by_position(tmp_path: Path) -> None:
    captured = burnish.capture(keywords.module(), keywords.example(1), tmp_path / "m.pt2")
    assert (captured.batch, captured.notes) == ("dynamic", ())
    assert tuple(spec.name for spec in captured.signature.inputs) == keywords.INPUTS
    assert tuple(spec.name for spec in captured.signature.outputs) == keywords.OUTPUTS
    given = keywords.example(7, seed=1)
    wanted = keywords.module()(**given)
    found = torch.export.load(tmp_path / "m.pt2").module()(
        given["input_ids"], given["attention_mask"], given["extra"]["scale"]
    )
    torch.testing.assert_close(found["logits"], wanted.logits)


def test_a_dataclass_that_torch_was_not_told_the_name_of_is_refused_with_the_cure() -> None:
    @dataclass
    class Nameless:
        logits: torch.Tensor

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> Nameless:
            return Nameless(x + 1)

    torch.export.register_dataclass(Nameless)
    with pytest.raises(UnsupportedModel, match="can't save it") as refused:
        burnish.capture(Model(), torch.zeros(4, 3))
    assert "serialized_type_name" in refused.value.cure


def test_a_random_model_is_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand(1)

    with pytest.raises(UnsupportedModel, match="other outputs") as refused:
        burnish.capture(Noisy(), torch.zeros(4, 3))
    assert "random" in refused.value.cure


def test_a_branch_on_values_is_refused_in_torchs_words() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x

    with pytest.raises(UnsupportedModel, match=r"torch\.export can't export it") as refused:
        burnish.capture(Branching(), torch.zeros(4, 3))
    assert refused.value.__cause__ is not None


def test_outputs_that_torch_cannot_save_are_refused_with_the_cure() -> None:
    class Pooling(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return torch.max(x, 1)

    with pytest.raises(UnsupportedModel, match="can't save it") as refused:
        burnish.capture(Pooling(), torch.zeros(4, 3))
    assert "tuples" in refused.value.cure


@pytest.mark.parametrize("inputs", [(), (3,), {}, (torch.tensor(1.0),), (torch.zeros(2, 3), object())])
def test_inputs_that_are_no_tensors_with_a_batch_are_refused(inputs: tuple[object, ...]) -> None:
    with pytest.raises(UserError, match="example inputs"):
        burnish.capture(nn.Linear(3, 2), inputs)  # type: ignore[arg-type]


def test_without_torch_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import burnish\n"
        "try: burnish.capture(None, ())\n"
        "except burnish.errors.UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert b"Install torch" in done.stdout
