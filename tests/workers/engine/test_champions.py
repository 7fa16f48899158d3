"""How a champion takes part in a job: its steps, and what becomes of it at the end."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.recipe import ScheduleSpec
from burnish.results import Artifact
from storage import aliases, datasets, firings, jobs, models, schedules
from storage.blob_digest import Blob
from storage.blob_index import confirm, hold
from storage.database import Database
from storage.firing import Cause, fire
from storage.firings import Firing
from tests.workers.engine.scene import Scene
from workers.keys import KeyMaker

RECIPE = {"target": {"backend": "onnxruntime"}, "passes": ["quantize"]}
ROW = {"inputs": [{"name": "x", "dtype": "float32", "shape": [None, 4]}], "outputs": [], "parameters": 10}
DATA = {
    "format": "npz",
    "inputs": [{"name": "inputs", "dtype": "float32", "shape": [40, 4]}],
    "targets": None,
    "samples": 40,
}


def figures(milliseconds: float, over_champion: float | None = None) -> dict[str, Any]:
    def near(value: float) -> dict[str, float]:
        return {"value": value, "low": 0.99 * value, "high": 1.01 * value}

    return {
        "latency": {"median": near(milliseconds / 1e3), "p95": 1.0, "rounds": 20, "calls": 20},
        "speedup_over_eager": near(10 / milliseconds),
        "speedup_over_compiled": near(8 / milliseconds),
        "speedup_over_champion": None if over_champion is None else near(over_champion),
        "load_seconds": 0.1,
    }


BASE = {"eager": figures(10), "compiled": figures(8)}


class Ring(Scene):
    """A schedule `nightly` of the model `net`, whose result may become `production`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        super().__init__(database, keys)
        with database.begin() as tx:
            models.create(tx, name="net", digest="a" * 64, size=1000, signature=ROW)
            datasets.create(
                tx, name="samples", digest="b" * 64, size=1, format="npz", schema=DATA, samples=40, labelled=False
            )

    def fire(self, **changes: Any) -> str:
        """A job of the schedule, taken up."""
        job = {"model": "net", "dataset": "samples", "recipe": RECIPE}
        document = {"name": f"nightly {changes}", "trigger": {"every": 3600}, "promote": "production", "job": job}
        with self.database.begin() as tx:
            spec = ScheduleSpec.model_validate({**document, **changes})
            schedule = schedules.named(tx, spec.name) or schedules.create(tx, spec)
            assert schedules.take(tx, schedule)
            firing = fire(tx, schedule, Cause("manual", "By test."))
        assert firing.job_id is not None, firing.reason
        self.take_up(firing.job_id)
        return firing.job_id

    def champion(self, digest: str = "c" * 64) -> aliases.Entry:
        """Lets `production` stand for an artifact of an earlier job."""
        artifact = Artifact(name="old.onnx", digest=digest, size=500, backend="onnxruntime", usage="")
        with self.database.begin() as tx:
            confirm(tx, hold(tx, Blob(digest=digest, size=500)))
            model, data = models.resolve(tx, "net"), datasets.resolve(tx, "samples")
            job = jobs.create(tx, spec={}, model=model, dataset=data, priority=5)
            return aliases.set_(
                tx, model="net", alias="production", artifact=artifact, candidate="old@onnxruntime", job=job,
                action="set", reason="By test.",
            )  # fmt: skip

    def until_measured(self, job_id: str) -> None:
        """Finishes everything up to the measurement, which finds the result twice as fast as eager."""
        while True:
            ready = [name for name, step in self.steps(job_id).items() if step.state == "ready"]
            if "measure" in ready:
                break
            self.finish(job_id, ready[0])
        contenders = self.steps(job_id)["measure"].spec["settings"]["contenders"]
        found = {each["name"]: figures(3 if "quantize" in each["name"] else 9) for each in contenders}
        made = self.steps(job_id).get("lower@onnxruntime")
        if made is not None and made.outputs:
            with self.database.begin() as tx:
                confirm(tx, hold(tx, Blob(digest=made.outputs["artifact"], size=100)))
        self.finish(job_id, "measure", contenders={**BASE, **found})

    def decision(self, job_id: str) -> dict[str, Any]:
        """What became of the champion."""
        with self.database.read() as tx:
            firing = firings.of_job(tx, job_id)
        assert isinstance(firing, Firing)
        assert firing.decision is not None
        return firing.decision

    def production(self) -> aliases.Entry | None:
        """What the alias stands for."""
        with self.database.read() as tx:
            return aliases.find(tx, "net", "production")


@pytest.fixture
def ring(database: Database, keys: KeyMaker) -> Ring:
    return Ring(database, keys)


def test_without_a_champion_the_result_is_promoted_and_nothing_is_measured_twice(ring: Ring) -> None:
    job_id = ring.fire()
    ring.until_measured(job_id)
    assert ring.job(job_id).state == "succeeded"
    assert not any(name.startswith("champion") for name in ring.steps(job_id))
    entry = ring.production()
    assert entry is not None
    assert (entry.action, entry.job_id, entry.candidate) == ("promoted", job_id, "quantize@onnxruntime")
    assert ring.decision(job_id)["outcome"] == "promoted"


def test_a_result_is_measured_beside_the_champion_in_one_step(ring: Ring) -> None:
    champion = ring.champion()
    job_id = ring.fire()
    ring.until_measured(job_id)
    assert ring.job(job_id).state == "running"
    verify, measure = (ring.steps(job_id)[name] for name in ("champion/verify", "champion/measure"))
    assert verify.spec["inputs"] == {
        "original": "capture.program",
        "artifact": f"sha256:{champion.digest}",
        "heldout": "split.heldout",
    }
    assert verify.state == "ready"
    assert [each["name"] for each in measure.spec["settings"]["contenders"]] == [
        "quantize@onnxruntime",
        "champion@onnxruntime",
    ]
    assert measure.spec["settings"]["champion"] == "champion@onnxruntime"
    ring.finish(job_id, "champion/verify")
    bound = ring.computation(ring.steps(job_id)["champion/measure"].key)
    assert bound.inputs["artifact.champion@onnxruntime"] == champion.digest


def face_off(ring: Ring, job_id: str, over_champion: float, **verify: Any) -> None:
    ring.until_measured(job_id)
    ring.finish(job_id, "champion/verify", **verify)
    found = {"quantize@onnxruntime": figures(3, over_champion)}
    if not verify:
        found["champion@onnxruntime"] = figures(3 * over_champion)
    ring.finish(job_id, "champion/measure", contenders={**BASE, **found})


def test_a_proven_challenger_becomes_the_champion(ring: Ring) -> None:
    old = ring.champion()
    job_id = ring.fire()
    face_off(ring, job_id, 1.2)
    entry = ring.production()
    assert entry is not None
    assert (entry.previous_id, entry.job_id, entry.action) == (old.id, job_id, "promoted")
    decision = ring.decision(job_id)
    assert (decision["outcome"], decision["champion"], decision["challenger"]) == ("promoted", old.digest, entry.digest)
    assert decision["speedup"]["value"] == 1.2
    verdict = ring.job(job_id).verdict
    assert verdict is not None
    assert verdict["chosen"] == "quantize@onnxruntime"
    names = [each["name"] for each in verdict["candidates"]]
    assert names == ["eager", "compiled", "quantize@onnxruntime", "as-is@onnxruntime", "champion@onnxruntime"]


def test_one_that_is_not_proven_faster_leaves_the_champion_and_the_reason(ring: Ring) -> None:
    old = ring.champion()
    job_id = ring.fire()
    face_off(ring, job_id, 1.01)
    assert ring.production() == old
    assert ring.job(job_id).state == "succeeded"
    assert "has to lie above 1.02" in ring.decision(job_id)["reason"]


def test_the_champion_is_never_what_the_verdict_chooses(ring: Ring) -> None:
    ring.champion()
    job_id = ring.fire()
    face_off(ring, job_id, 0.5)
    verdict = ring.job(job_id).verdict
    assert verdict is not None
    assert verdict["chosen"] == "quantize@onnxruntime"


def test_a_champion_that_is_refused_is_replaced(ring: Ring) -> None:
    ring.champion()
    job_id = ring.fire()
    face_off(ring, job_id, 0.5, refused="It does not take the inputs.", quality=None)
    assert ring.decision(job_id)["outcome"] == "promoted"
    assert "It does not take the inputs" in ring.decision(job_id)["reason"]


def test_a_champion_that_could_not_be_looked_at_stays(ring: Ring) -> None:
    old = ring.champion()
    job_id = ring.fire()
    ring.until_measured(job_id)
    ring.fail(job_id, "champion/verify")
    ring.finish(job_id, "champion/measure", contenders={**BASE, "quantize@onnxruntime": figures(3)})
    assert ring.job(job_id).state == "succeeded"
    assert ring.production() == old
    assert "could not be looked at" in ring.decision(job_id)["reason"]


def test_an_alias_that_was_changed_meanwhile_is_left_as_it_is(ring: Ring) -> None:
    ring.champion()
    job_id = ring.fire()
    changed = ring.champion("d" * 64)
    face_off(ring, job_id, 2.0)
    assert ring.production() == changed
    decision = ring.decision(job_id)
    assert (decision["outcome"], "another artifact by now" in decision["reason"]) == ("kept", True)
    assert ring.job(job_id).state == "succeeded"


def test_a_result_without_gain_is_not_measured_again(ring: Ring) -> None:
    old = ring.champion()
    job_id = ring.fire()
    while ready := [name for name, step in ring.steps(job_id).items() if step.state == "ready" and name != "measure"]:
        ring.finish(job_id, ready[0])
    slow = {each["name"]: figures(9) for each in ring.steps(job_id)["measure"].spec["settings"]["contenders"]}
    ring.finish(job_id, "measure", contenders={**BASE, **slow})
    assert ring.job(job_id).state == "succeeded"
    assert "champion/measure" not in ring.steps(job_id)
    assert (ring.decision(job_id)["outcome"], ring.production()) == ("kept", old)


def test_a_remeasurement_measures_the_champion_alone(ring: Ring) -> None:
    champion = ring.champion()
    job_id = ring.fire(kind="remeasure", promote=None)
    assert list(ring.steps(job_id)) == ["capture", "split", "champion/verify", "measure"]
    ring.finish(job_id, "capture", "split", "champion/verify")
    ring.finish(job_id, "measure", contenders={**BASE, "champion@onnxruntime": figures(4)})
    verdict = ring.job(job_id).verdict
    assert verdict is not None
    assert (verdict["outcome"], verdict["chosen"]) == ("improved", "champion@onnxruntime")
    assert verdict["candidates"][-1]["artifact"]["digest"] == champion.digest
    assert ring.decision(job_id)["outcome"] == "holds"


def test_a_remeasurement_that_finds_a_limit_broken_says_drifted(ring: Ring) -> None:
    old = ring.champion()
    job_id = ring.fire(kind="remeasure", promote=None)
    ring.finish(job_id, "capture", "split", "champion/verify")
    ring.finish(job_id, "measure", contenders={**BASE, "champion@onnxruntime": figures(9)})
    assert ring.decision(job_id)["outcome"] == "drifted"
    assert ring.production() == old


def test_of_a_deleted_schedule_nothing_is_promoted(ring: Ring) -> None:
    job_id = ring.fire()
    with ring.database.begin() as tx:
        (schedule,) = schedules.list_(tx, after=None, limit=10)
        schedules.remove(tx, schedule.id)
    ring.until_measured(job_id)
    assert ring.job(job_id).state == "succeeded"
    assert ring.production() is None
