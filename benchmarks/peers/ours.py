"""What a job of this service with the recipe `quantize` races, by its own steps: the pass, the backend, verification.

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


def made_for(backend: Backend, *, quantized: bool) -> Callable[[Given, Path], Path]:
    """The route for one backend, with the pass or as it is."""

    def make(given: Given, folder: Path) -> Path:
        original, calibration = given.folder / "program", given.folder / "calibration"
        program = _quantized(given, folder / "pass") if quantized else original
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


def _quantized(given: Given, folder: Path) -> Path:
    settings = Quantize(activations="dynamic") if given.kind == "recurrent" else Quantize()
    original = given.folder / "program"
    inputs = {"program": original, "original": original, "calibration": given.folder / "calibration"}
    made = step("pass:quantize", inputs, folder, **settings.model_dump(mode="json"))
    return made.outputs.get("program", original)
