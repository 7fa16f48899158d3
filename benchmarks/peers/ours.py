"""What a job of this service races, by its own steps: the pass, the backend, verification.

Every job also lowers the model as it is, since that may be the fastest within the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.matrix.run import step
from benchmarks.peers.given import Given
from burnish.passes import Quantize
from burnish.recipe import Backend

__all__ = ["NotMade", "made_for"]


class NotMade(Exception):
    """A backend refused the program, or its artifact did not pass verification. The text says why."""


def made_for(backend: Backend, rounding: Quantize | None) -> Callable[[Given, Path], Path]:
    """The route for one backend, rounded so or as it is."""

    def make(given: Given, folder: Path) -> Path:
        original, calibration = given.folder / "program", given.folder / "calibration"
        program = original if rounding is None else _rounded(given, rounding, folder / "pass")
        lowered = step("lower", {"program": program, "calibration": calibration}, folder / "lower", backend=backend)
        if "refused" in lowered.report:
            raise NotMade(lowered.report["refused"])
        artifact = lowered.outputs["artifact"]
        inputs = {"program": program, "original": original, "artifact": artifact, "heldout": given.folder / "heldout"}
        verified = step("verify", inputs, folder / "verify", backend=backend)
        if "refused" in verified.report:
            raise NotMade(f"rejected by verification: {verified.report['refused']}")
        return artifact

    return make


def _rounded(given: Given, rounding: Quantize, folder: Path) -> Path:
    original = given.folder / "program"
    inputs = {"program": original, "original": original, "calibration": given.folder / "calibration"}
    made = step("pass:quantize", inputs, folder, **rounding.model_dump(mode="json"))
    if "program" not in made.outputs:
        raise NotMade(made.report["unchanged"])
    return made.outputs["program"]
