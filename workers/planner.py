"""From a recipe to the steps of its job.

    capture ─ split ─┬─ profile
                     ├─ (as-is) ──────────── lower@B ─ verify@B ─┐
                     └─ prune ─ distill ─ … ─ lower@B ─ verify@B ─┴─ measure      for every backend B

A step's `spec`, the data that SQL keeps and `advance` reads:

    settings   after defaults
    inputs     {role: "step.role" or "sha256:digest"}
    optional   roles that may stay empty: those contenders are then not measured
    unless     {role: step}: the input stays empty if that step refused
    target     as far as the step depends on it
    seed       for steps that draw random numbers, else 0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from burnish.recipe import JobSpec, Recipe
from storage.records import Job
from storage.steps import PlannedStep
from workers.ladder import Variant, variants

__all__ = ["contender_name", "plan"]


def plan(job: Job, *, parameters: int, samples: int) -> list[PlannedStep]:
    """The steps of a job, in an order in which each comes after its inputs.

    Args:
        parameters: weights of the model, from its signature.
        samples: samples of the dataset.
    """
    recipe = JobSpec.model_validate(job.spec).recipe
    found = variants(recipe, parameters, samples)
    writer = _Writer(recipe)
    writer.add("capture", "capture", inputs={"model": f"sha256:{job.model_digest}"})
    writer.add(
        "split",
        "split",
        inputs={"dataset": f"sha256:{job.dataset_digest}", "program": "capture.program"},
        seed=recipe.seed,
    )
    writer.profile(wanted=any(settings.wants_profile() for each in found if each.asked for settings in each.passes))
    for variant in found:
        writer.variant(variant)
    writer.measure()
    return writer.steps


def contender_name(variant: str, backend: str) -> str:
    """`prune+quantize@onnxruntime`."""
    return f"{variant}@{backend}"


class _Writer:
    def __init__(self, recipe: Recipe) -> None:
        self.steps: list[PlannedStep] = []
        self._recipe = recipe
        target = recipe.target
        self._queue = target.device
        self._target = {"device": target.device, "threads": target.threads, "batch": target.batch}
        self._contenders: list[tuple[str, str, str]] = []
        """Name, backend, and the prefix of its steps."""

    def add(
        self,
        name: str,
        op: str,
        *,
        inputs: dict[str, str],
        settings: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        seed: int = 0,
        may_fail: bool = False,
        optional: list[str] | None = None,
        unless: dict[str, str] | None = None,
    ) -> None:
        spec: dict[str, Any] = {"settings": settings or {}, "inputs": inputs, "target": target or {}, "seed": seed}
        if optional:
            spec["optional"] = optional
        if unless:
            spec["unless"] = unless
        self.steps.append(PlannedStep(name=name, op=op, spec=spec, queue=self._queue, optional=may_fail))

    def profile(self, *, wanted: bool) -> None:
        """Time and sensitivity of each layer: for the report, and for the passes that decide by it."""
        self.add(
            "profile",
            "profile",
            inputs={"program": "capture.program", "calibration": "split.calibration"},
            target=self._target,
            may_fail=not wanted,
        )

    def variant(self, variant: Variant) -> None:
        """The passes of a variant, and what turns its program into a contender, for each backend."""
        prefix = "" if variant.asked else f"{variant.name}/"
        program = "capture.program"
        for name, settings in zip(_step_names(variant), variant.passes, strict=True):
            inputs = {"program": program, "original": "capture.program", "calibration": "split.calibration"}
            if settings.wants_profile():
                inputs["profile"] = "profile.profile"
            self.add(
                prefix + name,
                f"pass:{settings.name}",
                inputs=inputs,
                settings=settings.model_dump(mode="json"),
                seed=self._recipe.seed,
                may_fail=not variant.asked,
            )
            program = f"{prefix}{name}.program"
        # With one backend asked for by name, its failure on the user's own passes is the answer, not a refusal.
        may_fail = not variant.asked or len(self._recipe.target.backends) > 1
        for backend in self._recipe.target.backends:
            self._contender(variant, backend, prefix, program, may_fail)

    def _contender(self, variant: Variant, backend: str, prefix: str, program: str, may_fail: bool) -> None:
        lower, verify = f"{prefix}lower@{backend}", f"{prefix}verify@{backend}"
        self.add(
            lower,
            "lower",
            inputs={"program": program, "calibration": "split.calibration"},
            settings={"backend": backend},
            target=self._target,
            may_fail=may_fail,
        )
        self.add(
            verify,
            "verify",
            inputs={
                "program": program,
                "original": "capture.program",
                "artifact": f"{lower}.artifact",
                "heldout": "split.heldout",
            },
            settings={"backend": backend},
            target=self._target,
            may_fail=may_fail,
        )
        self._contenders.append((contender_name(variant.name, backend), backend, prefix))

    def measure(self) -> None:
        """One measurement of all that verified."""
        artifacts = {
            f"artifact.{name}": f"{prefix}lower@{backend}.artifact" for name, backend, prefix in self._contenders
        }
        self.add(
            "measure",
            "measure",
            inputs={"original": "capture.program", "heldout": "split.heldout", **artifacts},
            settings={"contenders": [{"name": name, "backend": backend} for name, backend, _ in self._contenders]},
            target=self._target,
            optional=list(artifacts),
            unless={f"artifact.{name}": f"{prefix}verify@{backend}" for name, backend, prefix in self._contenders},
        )


def _step_names(variant: Variant) -> Iterator[str]:
    """`prune`, `distill`, and `prune-2` where a pass comes a second time."""
    seen: dict[str, int] = {}
    for settings in variant.passes:
        seen[settings.name] = count = seen.get(settings.name, 0) + 1
        yield settings.name if count == 1 else f"{settings.name}-{count}"
