"""What this service hands back for the recipe `quantize`, by its own steps: the pass, the backend, verification."""

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


def made_for(backend: Backend) -> Callable[[Given, Path], Path]:
    """The route for one backend."""

    def make(given: Given, folder: Path) -> Path:
        settings = Quantize(activations="dynamic") if given.kind == "recurrent" else Quantize()
        original, calibration = given.folder / "program", given.folder / "calibration"
        inputs = {"program": original, "original": original, "calibration": calibration}
        made = step("pass:quantize", inputs, folder / "pass", **settings.model_dump(mode="json"))
        program = made.outputs.get("program", original)
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
