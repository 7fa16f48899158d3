"""The step around a pass: what it hands in, checks, and reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from burnish.errors import InternalError, UnsupportedModel
from burnish.passes import Prune
from burnish.results import LayerTreatment
from tests import models
from tests.workers.steps.contexts import context, heldout
from workers.passes.base import Applied, Pass, PassContext
from workers.programs import load_program, save_program
from workers.steps.apply_pass import ApplyPass


class Doing(Pass[Prune]):
    """A pass that gives what the test says."""

    settings = Prune

    def __init__(self, program: ExportedProgram | None = None, reasons: Sequence[str] = ()) -> None:
        self.program, self.reasons = program, reasons
        self.seen: tuple[Prune, PassContext] | None = None

    def requires(self, program: ExportedProgram, settings: Prune) -> Sequence[str]:
        return self.reasons

    def apply(self, program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
        self.seen = settings, context
        layers = (LayerTreatment(layer="fc1", treatment="left alone", reason="the test says so"),)
        return Applied(self.program or program, self.program is not None, layers, {"loss": 0.5})


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """An MLP before and after an earlier pass (the same), and its calibration samples."""
    path = tmp_path / "program.pt2"
    save_program(models.program("mlp"), path)
    return {"program": path, "original": path, "calibration": heldout(tmp_path / "calibration.safetensors")}


SETTINGS: dict[str, Any] = Prune(ratio=0.25).model_dump(mode="json")


def test_a_pass_gets_typed_settings_and_all_it_may_use(inputs: dict[str, Path], tmp_path: Path) -> None:
    runner = Doing()
    ApplyPass(runner).run(context(tmp_path / "work", inputs, SETTINGS))
    assert runner.seen is not None
    settings, given = runner.seen
    assert settings == Prune(ratio=0.25)
    assert len(given.calibration) == 40
    assert given.max_batch == models.MAX_BATCH
    assert isinstance(given.original, ExportedProgram)


def test_the_account_is_reported_with_the_size_of_the_result(inputs: dict[str, Path], tmp_path: Path) -> None:
    made = ApplyPass(Doing()).run(context(tmp_path / "work", inputs, SETTINGS))
    report = made.report
    assert report["changed"] is False
    assert report["unchanged"] == "Every layer was left alone: the test says so."
    assert report["layers"] == [{"layer": "fc1", "treatment": "left alone", "reason": "the test says so"}]
    assert report["figures"] == {"loss": 0.5}
    assert report["parameters"] > 0
    assert report["flops"] > 0
    x = models.example("mlp")
    again = load_program(made.outputs["program"]).module()(*x)
    torch.testing.assert_close(again, models.module("mlp")(*x))


def test_a_refusal_of_the_pass_itself_names_the_pass(inputs: dict[str, Path], tmp_path: Path) -> None:
    class Refusing(Doing):
        def apply(self, program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
            raise UnsupportedModel("torch can't trace the rewritten program.", cure="Leave this pass out.")

    with pytest.raises(UnsupportedModel) as refused:
        ApplyPass(Refusing()).run(context(tmp_path / "work", inputs, SETTINGS))
    assert refused.value.where == "prune"


def test_what_changes_nothing_says_why_whatever_it_tells_of_layers() -> None:
    program = models.program("mlp")

    def why(*layers: tuple[str, str], changed: bool = False, reason: str = "") -> str | None:
        told = tuple(LayerTreatment(layer="fc1", treatment=done, reason=why) for done, why in layers)
        return Applied(program, changed, told, reason=reason).why_unchanged

    assert why(changed=True) is None
    assert why() == why(("trained", "in 4 bits")) == "It found nothing better than the program that came in."
    assert why(("left alone", "too small"), reason="The graph is tidy.") == "The graph is tidy."
    reasons = [("left alone", f"reason {number}") for number in (1, 2, 2, 3, 4, 5)]
    assert why(*reasons) == "Every layer was left alone: reason 1; reason 2; reason 3; and 2 more reasons."


def test_an_unchanged_program_has_the_same_bytes_again(inputs: dict[str, Path], tmp_path: Path) -> None:
    made = ApplyPass(Doing()).run(context(tmp_path / "work", inputs, SETTINGS))
    assert made.outputs["program"].read_bytes() == inputs["program"].read_bytes()


def test_a_program_that_can_not_be_treated_is_refused_with_every_reason(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    step = ApplyPass(Doing(reasons=("It has no layer.", "It has no weights.")))
    with pytest.raises(UnsupportedModel, match=r"no layer\. It has no weights\.") as caught:
        step.run(context(tmp_path / "work", inputs, SETTINGS))
    assert caught.value.cure == "Leave `prune` out."


def test_a_pass_that_changes_the_range_of_the_batch_is_a_bug(inputs: dict[str, Path], tmp_path: Path) -> None:
    x = models.example("mlp")
    static = torch.export.export(models.module("mlp"), x)
    with pytest.raises(InternalError, match="batch range"):
        ApplyPass(Doing(static)).run(context(tmp_path / "work", inputs, SETTINGS))


def test_a_pass_that_changes_the_outputs_is_a_bug(inputs: dict[str, Path], tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = models.module("mlp")

        def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.inner(features)
            return y, y + 1

    x = models.example("mlp")
    two = torch.export.export(Two(), x, dynamic_shapes=({0: Dim("batch", min=1, max=models.MAX_BATCH)},))
    with pytest.raises(InternalError, match="outputs from 1 to 2"):
        ApplyPass(Doing(two)).run(context(tmp_path / "work", inputs, SETTINGS))


def test_the_code_and_libraries_of_the_pass_count_as_the_steps_own() -> None:
    runner = Doing()
    assert ApplyPass(runner).parts() == (runner,)
