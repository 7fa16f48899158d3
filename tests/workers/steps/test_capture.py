"""The capture step makes a clean program of an upload, and proves that it runs as it says."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from burnish.errors import InvalidModel, UnsupportedModel
from burnish.formats import inspect_model
from burnish.recipe import Target
from tests import models
from tests.burnish.formats.archives import honest_bytes
from workers.graphs.stored_layers import with_stored_layers
from workers.programs import load_program, save_program
from workers.steps.base import Made, StepContext
from workers.steps.capture import Capture


def captured(model: Path, folder: Path) -> Made:
    (folder / "out").mkdir()
    seen: list[float] = []
    made = Capture().run(
        StepContext(
            settings={},
            inputs={"model": model},
            folder=folder / "out",
            target=Target(),
            seed=0,
            progress=lambda share, doing: seen.append(share),
        )
    )
    assert seen == sorted(seen)
    return made


def exported(module: nn.Module, path: Path, *inputs: torch.Tensor, shapes: object = None) -> Path:
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=shapes), path)
    return path


@pytest.mark.parametrize("name", ["residual_cnn", "encoder", "lstm"])
def test_an_upload_becomes_the_canonical_program(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(honest_bytes(name))
    made = captured(tmp_path / "m.pt2", tmp_path)
    save_program(with_stored_layers(models.program(name)), tmp_path / "direct.pt2")
    assert made.outputs["program"].read_bytes() == (tmp_path / "direct.pt2").read_bytes()
    inputs = models.example(name, 3)
    assert torch.equal(load_program(made.outputs["program"]).module()(*inputs), models.module(name)(*inputs))


def test_the_report_counts_weights_operations_and_calls_and_names_the_batch(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(honest_bytes("mlp"))
    assert captured(tmp_path / "m.pt2", tmp_path).report == {
        "parameters": 5764,
        "flops": 11264,
        "ops": {"aten.dropout.default": 1, "aten.linear.default": 3, "aten.relu.default": 2},
        "batch": {"dynamic": True, "least": 1, "most": 256, "note": None},
    }


def test_a_static_batch_is_kept_and_said(tmp_path: Path) -> None:
    path = exported(nn.Linear(3, 2), tmp_path / "m.pt2", torch.zeros(4, 3))
    made = captured(path, tmp_path)
    assert made.report["batch"]["dynamic"] is False
    assert "fixed batch of 4" in made.report["batch"]["note"]
    with made.outputs["program"].open("rb") as file:
        assert inspect_model(file).inputs[0].shape == (4, 3)


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(b"hello")
    with pytest.raises(InvalidModel):
        captured(tmp_path / "m.pt2", tmp_path)


def test_a_random_model_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = exported(nn.Dropout(0.5).train(), tmp_path / "m.pt2", torch.zeros(4, 3))
    with pytest.raises(UnsupportedModel, match="random or keeps state") as refused:
        captured(path, tmp_path)
    assert "eval()" in refused.value.cure


def test_a_model_that_changes_its_buffers_is_refused(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.add_(1)
            return x + self.seen

    with pytest.raises(UnsupportedModel, match="keeps state"):
        captured(exported(Counting(), tmp_path / "m.pt2", torch.zeros(4, 3)), tmp_path)


def test_a_model_whose_dynamic_batch_does_not_hold_is_refused(tmp_path: Path) -> None:
    """torch inferred that the batch is even; that guard is code, so the rewrite drops it, and running shows it."""

    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(2, -1, 3).sum(0)

    path = exported(Pairs(), tmp_path / "m.pt2", torch.zeros(4, 3), shapes=({0: Dim.AUTO},))
    with pytest.raises(UnsupportedModel, match="fails on random inputs at batch") as refused:
        captured(path, tmp_path)
    assert refused.value.cure


def test_a_model_that_fails_when_it_runs_is_refused_with_torchs_words(tmp_path: Path) -> None:
    class Strict(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._assert_async(x.sum() > 1e9, "the sum is too small")
            return x

    path = exported(Strict(), tmp_path / "m.pt2", torch.zeros(4, 3))
    with pytest.raises(UnsupportedModel, match="too small"):
        captured(path, tmp_path)


def test_what_is_written_in_place_is_so_no_more_and_inputs_stay_as_they_were(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x[:, 1:].mul_(2)
            mask = torch.zeros(3)
            mask[2:] = 5
            return torch.relu_(x + mask)

    path = exported(Masked(), tmp_path / "m.pt2", torch.zeros(4, 3), shapes=({0: Dim("batch", min=1, max=8)},))
    module = load_program(captured(path, tmp_path).outputs["program"]).module()
    assert not any(name.endswith("_") for name in captured_operators(module))
    x = torch.randn(5, 3)
    before = x.clone()
    given = module(x)
    assert torch.equal(x, before)
    assert torch.equal(given, Masked()(x.clone()))


def captured_operators(module: nn.Module) -> list[str]:
    assert isinstance(module, torch.fx.GraphModule)
    targets = [node.target for node in module.graph.nodes]
    return [target._schema.name for target in targets if isinstance(target, torch._ops.OpOverload)]


def test_writes_that_cant_be_taken_out_are_refused(tmp_path: Path) -> None:
    class Hidden(nn.Module):
        """`meshgrid` gives views, which its schema does not tell."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            (view,) = torch.meshgrid(y, indexing="ij")
            return view.add_(1) * y

    with pytest.raises(UnsupportedModel, match="writes in place") as refused:
        captured(exported(Hidden(), tmp_path / "m.pt2", torch.zeros(4)), tmp_path)
    assert "Export it again" in refused.value.cure


def test_products_with_a_stored_matrix_become_linear_layers(tmp_path: Path) -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.w

    made = captured(exported(Product(), tmp_path / "m.pt2", torch.zeros(3, 8)), tmp_path)
    assert made.report["ops"] == {"aten.linear.default": 1}


def test_bfloat16_at_the_ends_is_refused_with_the_cure_and_inside_it_is_not(tmp_path: Path) -> None:
    half = nn.Linear(3, 2).bfloat16()
    path = exported(half, tmp_path / "half.pt2", torch.zeros(4, 3, dtype=torch.bfloat16))
    with pytest.raises(UnsupportedModel, match="is bfloat16, which no NumPy array") as refused:
        captured(path, tmp_path)
    assert "model(x.to(torch.bfloat16)).float()" in refused.value.cure

    class Widened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = half

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.to(torch.bfloat16)).float()  # type: ignore[no-any-return]

    (tmp_path / "out").rmdir()
    assert captured(exported(Widened(), tmp_path / "m.pt2", torch.zeros(4, 3)), tmp_path).outputs
