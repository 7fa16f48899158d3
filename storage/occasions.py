"""What schedules wait for that is no time: new versions, new data, new kinds of workers, changed libraries.

Each occasion has a look: plain data that is kept with the schedule. It fires when a fresh look shows something that the
kept one does not. Of workers it is remembered what was ever seen, so that one that comes and goes fires once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from burnish.recipe import ScheduleSpec
from storage import workers
from storage.database import Transaction
from storage.records import WorkerRow
from storage.tables import datasets, models

__all__ = ["LIBRARIES", "Look", "look", "news"]

LIBRARIES = ("torch", "torchao", "onnx", "onnxruntime", "onnxscript", "openvino", "nncf", "executorch")
"""Distributions that a result's speed or its bytes depend on, where a worker reports them."""
Look = dict[str, Any]
"""Plain data; two that are equal look the same."""


def look(tx: Transaction, spec: ScheduleSpec) -> Look | None:
    """What the schedule's occasion looks like now; `None` if its trigger is a time."""
    occasion = spec.trigger.on
    if occasion == "model":
        newest = select(models.c.version).where(models.c.name == spec.job.model).order_by(models.c.version.desc())
        return {"version": tx.execute(newest.limit(1)).scalar()}
    if occasion == "dataset":
        found = select(datasets.c.id).where(datasets.c.name == spec.job.dataset).order_by(datasets.c.id.desc())
        return {"dataset": tx.execute(found.limit(1)).scalar()}
    if occasion is None:
        return None
    device = spec.job.recipe.target.device
    live = [row for row in workers.live(tx) if device in row.queues]
    return {"seen": sorted({_class(row) if occasion == "worker_class" else _toolchain(row) for row in live})}


def news(before: Look | None, now: Look) -> tuple[str, Look] | None:
    """What is new since the look `before`, as a sentence, and the look to keep; `None` if nothing is."""
    before = before or {}
    if "seen" in now:
        known = set(before.get("seen", ()))
        fresh = [each for each in now["seen"] if each not in known]
        return (f"Workers are new: {'; '.join(fresh)}.", {"seen": sorted(known | set(fresh))}) if fresh else None
    if now == before or None in now.values():
        return None
    if "version" in now:
        if now["version"] <= (before.get("version") or 0):
            return None
        return f"Version {now['version']} of the model was uploaded.", now
    return f"New data was uploaded ({now['dataset']}).", now


def _class(worker: WorkerRow) -> str:
    return f"{worker.device} with {' '.join(worker.isa) or 'no extensions'}"


def _toolchain(worker: WorkerRow) -> str:
    return " ".join(f"{name} {worker.versions[name]}" for name in LIBRARIES if name in worker.versions)
