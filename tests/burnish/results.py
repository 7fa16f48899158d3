"""Jobs as the client hands them back, made without a service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from burnish.recipe import JobSpec
from burnish.resources import JobResource, StepResource
from burnish.results import Verdict
from tests.api.place import verdict

__all__ = ["BEGAN", "job", "judged", "step"]

BEGAN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
"""When every step and job here began."""


def step(name: str, op: str, state: str = "waiting", **members: Any) -> StepResource:
    """A step; one that is done took two seconds."""
    done = state == "done"
    given = {
        "key": None, "hit": False, "why": None, "attempt": 1, "progress": float(done), "doing": None, "worker": None,
        "started_at": None if state == "waiting" else BEGAN, "seconds": 2.0 if done else None, "peak_memory": None,
        "report": {}, "error": None, **members,
    }  # fmt: skip
    return StepResource.model_validate({"name": name, "op": op, "state": state, **given})


def job(*steps: StepResource, state: str = "running", result: Verdict | None = None, passes: Any = ()) -> JobResource:
    """A job with these steps; with a verdict it has succeeded, after a minute."""
    spec = JobSpec.model_validate({"model": "net", "dataset": "samples", "recipe": {"passes": list(passes)}})
    chosen = next((item for item in result.candidates if item.name == result.chosen), None) if result else None
    return JobResource.model_validate({
        "id": "job_1", "state": "succeeded" if result else state, "model": "net:1", "dataset": "samples", "priority": 5,
        "outcome": result.outcome if result else None, "speedup": 4.0 if result else None, "drop": None,
        "created_at": BEGAN, "started_at": None if state == "queued" else BEGAN,
        "finished_at": BEGAN + timedelta(minutes=1) if result else None,
        "links": {}, "spec": spec, "model_id": "mdl_1", "dataset_id": "data_1", "progress": 0.5, "steps": steps,
        "verdict": result, "artifacts": [chosen.artifact] if chosen and chosen.artifact else [], "error": None,
    })  # fmt: skip


def judged() -> JobResource:
    """One with a verdict: four candidates and one that was refused; `distill` told of its losses."""
    losses = {"loss_before": 0.5, "loss_after": 0.25, "best_epoch": 3.0, "broken": float("nan")}
    return job(
        step("capture", "capture", "done", hit=True, report={"parameters": 10, "flops": 20, "ops": {"aten.add": 1}}),
        step("prune", "pass:prune", "done", why="settings.ratio", report={"changed": True, "figures": {}}),
        step("distill", "pass:distill", "done", peak_memory=1000, report={"figures": losses}),
        step("measure", "measure", "done"),
        result=verdict(),
        passes=[{"prune": {"ratio": 0.5}}, {"distill": {}}],
    )
