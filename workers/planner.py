"""From a recipe to the steps of its job.

    capture ─ split ─┬─ profile, preflight
                     ├─ (as-is) ──────────── lower@B ─ verify@B ─┐
                     └─ prune ─ distill ─ … ─ lower@B ─ verify@B ─┴─ measure      for every backend B

A recipe with passes has all its steps from the start. A goal without passes begins with capture, split and profile;
each round of its search (`workers/search.py`) adds variants and a measurement of its own, when all before has ended.

A step's `spec`, the data that SQL keeps and `advance` reads:

    settings   after defaults
    inputs     {role: "step.role" or "sha256:digest"}
    optional   roles that may stay empty: those contenders are then not measured
    unless     {role: step}: the input stays empty if that step refused
    target     as far as the step depends on it
    seed       for steps that draw random numbers, else 0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from burnish.passes import PassSettings
from burnish.recipe import Backend, Recipe
from storage.records import Job, Step
from storage.steps import PlannedStep
from workers.job_spec import spec_of
from workers.search import next_round
from workers.variants import Variant, of_recipe

__all__ = ["contender_name", "more_steps", "plan"]


def plan(job: Job, students: Mapping[str, str] | None = None) -> list[PlannedStep]:
    """The first steps of a job, in an order in which each comes after its inputs.

    Args:
        students: digests of the models that passes name as students.
    """
    recipe = spec_of(job).recipe
    writer = _Writer(recipe)
    writer.begin(job)
    for name, digest in (students or {}).items():
        writer.add(f"capture-{name}", "capture", inputs={"model": f"sha256:{digest}"})
    if recipe.passes:
        writer.preflight()
        for variant in of_recipe(recipe):
            writer.variant(variant, recipe.target.backends)
        writer.measure("measure")
    return writer.steps


def more_steps(job: Job, every: Mapping[str, Step], samples: int) -> list[PlannedStep]:
    """What a job whose steps have all ended has to do next; nothing, if it is complete.

    Args:
        samples: samples of the dataset.
    """
    recipe = spec_of(job).recipe
    if recipe.passes or (found := next_round(recipe, every, samples)) is None:
        return []
    writer = _Writer(recipe)
    for variant, backends in found.variants:
        writer.variant(variant, backends)
    for contender in found.again:
        writer.again(contender)
    measured = sum(step.op == "measure" for step in every.values())
    writer.measure(f"measure-{measured + 1}" if measured else "measure", may_fail=measured > 0)
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

    def begin(self, job: Job) -> None:
        """What every job begins with. The profile is for the report, and for the passes that decide by it."""
        self.add("capture", "capture", inputs={"model": f"sha256:{job.model_digest}"})
        self.add(
            "split",
            "split",
            inputs={"dataset": f"sha256:{job.dataset_digest}", "program": "capture.program"},
            seed=self._recipe.seed,
        )
        self.add(
            "profile",
            "profile",
            inputs={"program": "capture.program", "calibration": "split.calibration"},
            target=self._target,
            may_fail=not any(settings.wants_profile() for settings in self._recipe.passes),
        )

    def preflight(self) -> None:
        """The chain on a handful of samples: what can't work fails the job at once."""
        inputs = {"program": "capture.program", "calibration": "split.calibration"}
        for settings in self._recipe.passes:
            inputs.update(_asked_for(settings))
        recipe = self._recipe.model_dump(mode="json")
        self.add(
            "preflight",
            "preflight",
            inputs=inputs,
            settings={"passes": recipe["passes"], "backends": list(self._recipe.target.backends)},
            target=self._target,
            seed=self._recipe.seed,
        )

    def variant(self, variant: Variant, backends: Sequence[Backend]) -> None:
        """The passes of a variant, and what turns its program into a contender, for each backend."""
        prefix = variant.prefix
        program = "capture.program"
        for name, settings in zip(_step_names(variant), variant.passes, strict=True):
            inputs = {"program": program, "original": "capture.program", "calibration": "split.calibration"}
            self.add(
                prefix + name,
                f"pass:{settings.name}",
                inputs={**inputs, **_asked_for(settings)},
                settings=settings.model_dump(mode="json"),
                seed=self._recipe.seed,
                may_fail=not variant.asked,
            )
            program = f"{prefix}{name}.program"
        # With one backend asked for by name, its failure on the user's own passes is the answer, not a refusal.
        may_fail = not variant.asked or len(backends) > 1
        for backend in backends:
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

    def again(self, contender: str) -> None:
        """One of an earlier round of the search, to be measured beside the new ones."""
        variant, _, backend = contender.rpartition("@")
        self._contenders.append((contender, backend, f"{variant}/"))

    def measure(self, name: str, *, may_fail: bool = False) -> None:
        """One measurement of all that verified."""
        artifacts = {
            f"artifact.{name}": f"{prefix}lower@{backend}.artifact" for name, backend, prefix in self._contenders
        }
        self.add(
            name,
            "measure",
            inputs={"original": "capture.program", "heldout": "split.heldout", **artifacts},
            settings={"contenders": [{"name": name, "backend": backend} for name, backend, _ in self._contenders]},
            target=self._target,
            may_fail=may_fail,
            optional=list(artifacts),
            unless={f"artifact.{name}": f"{prefix}verify@{backend}" for name, backend, prefix in self._contenders},
        )


def _asked_for(settings: PassSettings) -> dict[str, str]:
    """Inputs of a pass that only some settings ask for."""
    inputs = {}
    if settings.wants_profile():
        inputs["profile"] = "profile.profile"
    if (student := settings.wants_student()) is not None:
        inputs["student"] = f"capture-{student}.program"
    return inputs


def _step_names(variant: Variant) -> Iterator[str]:
    """`prune`, `distill`, and `prune-2` where a pass comes a second time."""
    seen: dict[str, int] = {}
    for settings in variant.passes:
        seen[settings.name] = count = seen.get(settings.name, 0) + 1
        yield settings.name if count == 1 else f"{settings.name}-{count}"
