"""The steps by which a champion takes part in a job.

    champion/verify ─┐
    (the result) ────┴─ champion/measure        when the job has come to a result that could replace it

    capture ─ split ─ champion/verify ─ measure  when it is only measured again

The champion was made by an earlier job, from a program that may be gone: it is held against the original on today's
held-out data, not against the program it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.results import Verdict
from storage.records import Job, Step
from storage.steps import PlannedStep
from workers.contest import CHAMPION, Champion, Contest
from workers.job_spec import spec_of

__all__ = ["face_off", "is_face_off", "remeasurement"]

_VERIFY, _MEASURE = f"{CHAMPION}/verify", f"{CHAMPION}/measure"


def remeasurement(job: Job, champion: Champion) -> list[PlannedStep]:
    """All steps of a job that only measures the champion again, against the original, on this dataset."""
    make = _Maker(job)
    return [
        make.step("capture", "capture", inputs={"model": f"sha256:{job.model_digest}"}),
        make.step(
            "split",
            "split",
            inputs={"dataset": f"sha256:{job.dataset_digest}", "program": "capture.program"},
            seed=make.seed,
        ),
        make.verify(champion, may_fail=False),
        make.measure("measure", {champion.contender: _source(champion)}, may_fail=False),
    ]


def face_off(job: Job, every: Mapping[str, Step], contest: Contest | None, verdict: Verdict) -> list[PlannedStep]:
    """The last steps of a job that has come to a result, if that could replace a champion: both measured in one run."""
    champion = contest.champion if contest and not contest.remeasures else None
    chosen = next((each for each in verdict.candidates if each.name == verdict.chosen), None)
    if champion is None or chosen is None or chosen.artifact is None or is_face_off(every):
        return []
    if chosen.artifact.digest == champion.artifact.digest:
        return []
    make, found = _Maker(job), _sources(every)[chosen.name]
    sources = {chosen.name: found, champion.contender: _source(champion)}
    return [make.verify(champion, may_fail=True), make.measure(_MEASURE, sources, may_fail=True)]


def is_face_off(every: Mapping[str, Step]) -> bool:
    """True if the job has these last steps."""
    return _MEASURE in every


def _source(champion: Champion) -> tuple[str, str]:
    return f"sha256:{champion.artifact.digest}", _VERIFY


def _sources(every: Mapping[str, Step]) -> dict[str, tuple[str, str]]:
    """Where each contender's artifact comes from, and the step that verified it."""
    return {
        role.removeprefix("artifact."): (step.spec["inputs"][role], judge)
        for step in every.values()
        if step.op == "measure"
        for role, judge in step.spec["unless"].items()
    }


class _Maker:
    def __init__(self, job: Job) -> None:
        recipe = spec_of(job).recipe
        self.seed = recipe.seed
        self._queue = recipe.target.device
        self._target = {"device": recipe.target.device, "threads": recipe.target.threads, "batch": recipe.target.batch}

    def step(
        self,
        name: str,
        op: str,
        *,
        inputs: dict[str, str],
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        target: dict[str, Any] | None = None,
        may_fail: bool = False,
        **more: Any,
    ) -> PlannedStep:
        spec = {"settings": settings or {}, "inputs": inputs, "target": target or {}, "seed": seed, **more}
        return PlannedStep(name=name, op=op, spec=spec, queue=self._queue, optional=may_fail)

    def verify(self, champion: Champion, *, may_fail: bool) -> PlannedStep:
        return self.step(
            _VERIFY,
            "verify",
            inputs={
                "original": "capture.program",
                "artifact": f"sha256:{champion.artifact.digest}",
                "heldout": "split.heldout",
            },
            settings={"backend": champion.artifact.backend},
            target=self._target,
            may_fail=may_fail,
            champion=champion.artifact.model_dump(mode="json"),  # for the verdict; no part of the cache key
        )

    def measure(self, name: str, sources: Mapping[str, tuple[str, str]], *, may_fail: bool) -> PlannedStep:
        artifacts = {f"artifact.{contender}": source for contender, (source, _) in sources.items()}
        contenders = [{"name": contender, "backend": contender.rpartition("@")[2]} for contender in sources]
        return self.step(
            name,
            "measure",
            inputs={"original": "capture.program", "heldout": "split.heldout", **artifacts},
            settings={"contenders": contenders, "champion": next(each for each in sources if _is_champion(each))},
            target=self._target,
            may_fail=may_fail,
            optional=list(artifacts),
            unless={f"artifact.{contender}": judge for contender, (_, judge) in sources.items()},
        )


def _is_champion(contender: str) -> bool:
    return contender.partition("@")[0] == CHAMPION
