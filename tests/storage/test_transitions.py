"""Every transition from every state: what it changes, and that it changes nothing where it must not.

A computation stands for each state, all in one database; the transition is tried on each of them. What comes out is the
table below, which is also the one that the module's docstring tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from burnish.errors import Conflict, InternalError
from storage import computations, jobs, steps
from storage.computation_rows import locked
from storage.database import Transaction
from storage.records import Claim, Computation, Job
from tests.storage.scene import Scene, chain

OUTPUT = "c" * 64
WANTED_STILL = {
    "leased": "ready",
    "lapsed": "ready",
    "worn": "ready",
    "stopping": "canceled",
    "lapsed stopping": "canceled",
}
"""What becomes of a lease that is given up: ready for the job that waits, canceled if there is none."""


def _leased(scene: Scene, key: str) -> str:
    return scene.leased(key)[0]


def _worn(scene: Scene, key: str) -> str:
    """In its last attempt."""
    job_id, attempt = scene.leased(key)
    for _ in range(2):
        scene.fail(attempt, key, retry_in=0.0)
        attempt = scene.won(key).attempt
    return job_id


def _stopping(scene: Scene, key: str) -> str:
    job_id, _ = scene.leased(key)
    scene.cancel(job_id)
    return job_id


def _done(scene: Scene, key: str) -> str:
    job_id, attempt = scene.leased(key)
    scene.commit(attempt, key)
    return job_id


def _failed(scene: Scene, key: str) -> str:
    job_id, attempt = scene.leased(key)
    scene.fail(attempt, key)
    return job_id


def _canceled(scene: Scene, key: str) -> str:
    job_id = scene.ready(key)
    scene.cancel(job_id)
    return job_id


LAPSED: Mapping[str, Callable[[Scene, str], str]] = {
    "lapsed": _leased,
    "worn": _worn,
    "lapsed stopping": _stopping,
}
"""Made first, since time has to pass."""
OTHERS: Mapping[str, Callable[[Scene, str], str]] = {
    "ready": Scene.ready,
    "leased": _leased,
    "stopping": _stopping,
    "done": _done,
    "failed": _failed,
    "canceled": _canceled,
}
STATES = {
    **dict.fromkeys(LAPSED, "leased"),
    **{name: name for name in OTHERS},
    "stopping": "leased",
    "none": "(no row)",
}
"""What each stands for."""


class Shelf:
    """A computation in each state, its key the name of the state, and the job that it was made for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.jobs = {name: make(scene, name) for name, make in LAPSED.items()}
        scene.clock.pass_(scene.ttl + 1)
        self.jobs |= {name: make(scene, name) for name, make in OTHERS.items()}
        self.before = {name: self.row(name) for name in STATES}
        assert {name: row.state if row else "(no row)" for name, row in self.before.items()} == STATES

    def row(self, key: str) -> Computation | None:
        with self.scene.database.read() as tx:
            return computations.get(tx, key)

    def attempt(self, key: str) -> int:
        """The newest of that computation."""
        row = self.before[key]
        return row.attempt if row else 1

    def moved(self) -> dict[str, str]:
        """State now, of those whose rows are not what they were."""
        now = {name: self.row(name) for name in STATES}
        return {name: row.state for name, row in now.items() if row is not None and row != self.before[name]}


def _tried(shelf: Shelf, call: Callable[[Transaction, str], object]) -> dict[str, str]:
    """What that changes, on each in a transaction of its own."""
    for key in STATES:
        with suppress(InternalError, Conflict), shelf.scene.database.begin() as tx:
            call(tx, key)
    return shelf.moved()


def _fenced(shelf: Shelf, name: str, older: int = 0) -> Callable[[Transaction, str], object]:
    """The calls that name their attempt; with `older`, one that many before the newest."""
    error = InternalError("It broke.", cure="Mend it.").document()
    made: dict[str, Any] = {"outputs": {"out": OUTPUT}, "report": {}, "seconds": 1.0, "peak_memory": None}
    more: dict[str, Mapping[str, Any]] = {
        "heartbeat": {"ttl": 99.0, "progress": 0.5, "doing": "work"},
        "commit": made,
        "fail": {"error": error, "retry_in": None},
        "fail, to be tried again": {"error": error, "retry_in": 1.0},
        "release": {},
    }
    call = getattr(computations, name.partition(",")[0])
    return lambda tx, key: call(tx, key, shelf.attempt(key) - older, **more[name])


def _arm(shelf: Shelf) -> dict[str, str]:
    for key in STATES:
        shelf.scene.ready(key)
    return shelf.moved()


def _lease(tx: Transaction, key: str) -> None:
    if (found := computations.get(tx, key)) is not None:
        names = Claim.__dataclass_fields__
        seen = Claim(**{name: getattr(found, name) for name in names})
        computations.lease(tx, seen, worker="w9", ttl=99.0)


def _evict(tx: Transaction, key: str) -> None:
    if computations.get(tx, key) is not None:
        computations.evict(tx, locked(tx, key).key)


def _of_jobs(shelf: Shelf, call: Callable[[Transaction, str], object]) -> dict[str, str]:
    return _tried(shelf, lambda tx, key: call(tx, shelf.jobs[key]) if key in shelf.jobs else None)


def _reap(shelf: Shelf) -> dict[str, str]:
    shelf.scene.reap()
    return shelf.moved()


def _disown(shelf: Shelf) -> dict[str, str]:
    with shelf.scene.database.begin() as tx:
        computations.disown(tx, OUTPUT, InternalError("It is gone.", cure="").document())
    return shelf.moved()


TRANSITIONS: dict[str, tuple[Callable[[Shelf], dict[str, str]], dict[str, str]]] = {
    "arm": (_arm, {"none": "ready", "failed": "ready", "canceled": "ready"}),
    "claim": (
        lambda shelf: _tried(shelf, lambda tx, key: computations.claim(tx, key, worker="w9", ttl=99.0)),
        {"ready": "leased", "lapsed": "leased"},
    ),
    "lease": (lambda shelf: _tried(shelf, _lease), {"ready": "leased"}),
    "heartbeat": (
        lambda shelf: _tried(shelf, _fenced(shelf, "heartbeat")),
        dict.fromkeys(WANTED_STILL, "leased"),
    ),
    "commit": (lambda shelf: _tried(shelf, _fenced(shelf, "commit")), dict.fromkeys(WANTED_STILL, "done")),
    "fail": (
        lambda shelf: _tried(shelf, _fenced(shelf, "fail")),
        {**WANTED_STILL, **dict.fromkeys(("leased", "lapsed", "worn"), "failed")},
    ),
    "fail, to be tried again": (
        lambda shelf: _tried(shelf, _fenced(shelf, "fail, to be tried again")),
        {**WANTED_STILL, "worn": "failed"},
    ),
    "release": (lambda shelf: _tried(shelf, _fenced(shelf, "release")), WANTED_STILL),
    "reap": (_reap, {"lapsed": "ready", "worn": "failed", "lapsed stopping": "canceled"}),
    "abandon": (
        lambda shelf: _of_jobs(shelf, jobs.request_cancel),
        {"ready": "canceled", **dict.fromkeys(("leased", "lapsed", "worn"), "leased")},
    ),
    "prioritize": (
        lambda shelf: _of_jobs(shelf, lambda tx, job_id: jobs.set_priority(tx, job_id, 0)),
        {"ready": "ready", **dict.fromkeys(("leased", "lapsed", "worn"), "leased")},
    ),
    "disown": (_disown, {"done": "failed"}),
    "evict": (lambda shelf: _tried(shelf, _evict), {"done": "canceled"}),
}
"""How each is tried, and the states that it changes, with what they become; all others stay to the last column."""
READS = {"IS_READY", "IS_LEASED", "done", "get"}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_changes_what_it_may_and_nothing_else(scene: Scene, name: str) -> None:
    attempt, changed = TRANSITIONS[name]
    assert attempt(Shelf(scene)) == changed


@pytest.mark.parametrize("name", ["heartbeat", "commit", "fail", "fail, to be tried again", "release"])
def test_an_older_attempt_changes_nothing_in_any_state(scene: Scene, name: str) -> None:
    shelf = Shelf(scene)
    assert _tried(shelf, _fenced(shelf, name, older=1)) == {}


def test_without_the_fence_the_table_is_another(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control."""

    def unfenced(tx: Transaction, key: str, attempt: int) -> tuple[Computation | None, Mapping[str, str]]:
        return computations.get(tx, key), {}

    monkeypatch.setattr(computations, "held", unfenced)
    shelf = Shelf(scene)
    assert _tried(shelf, _fenced(shelf, "commit")).items() > TRANSITIONS["commit"][1].items()


def test_every_transition_of_a_computation_is_tried() -> None:
    assert {name.partition(",")[0] for name in TRANSITIONS} == set(computations.__all__) - READS


def _told(module: ModuleType) -> set[tuple[str, str, str]]:
    """From, to and by, of each row in the table of a module's docstring that changes the state."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|", module.__doc__ or "", re.MULTILINE)[2:]
    return {
        (before, after, by)
        for froms, after, names in rows
        for before in re.findall(r"`\w+`|\(.+?\)", froms)
        for by in re.findall(r"`([\w.]+)`", names)
        if before != after
    }


def test_the_docstring_of_computations_tells_the_same_table() -> None:
    tried = {
        (STATES[before] if before == "none" else f"`{STATES[before]}`", f"`{after}`", name.partition(",")[0])
        for name, (_, changed) in TRANSITIONS.items()
        for before, after in changed.items()
        if STATES[before] != after and name != "lease"  # the second half of `claim`, for whoever holds the row
    }
    assert tried == _told(computations)


def _running(scene: Scene) -> str:
    return scene.running()


def _ended(end: Callable[[Scene, str], object]) -> Callable[[Scene], str]:
    def make(scene: Scene) -> str:
        job_id = scene.running()
        end(scene, job_id)
        return job_id

    return make


JOBS: dict[str, Callable[[Scene], str]] = {
    "queued": Scene.queued,
    "running": _running,
    "running, leased": lambda scene: scene.leased("leased")[0],
    "canceling": lambda scene: _stopping(scene, "stopping"),
    "succeeded": _ended(Scene.succeed_job),
    "failed": _ended(Scene.fail_job),
    "canceled": _ended(Scene.cancel),
}
JOB_TRANSITIONS: dict[str, tuple[Callable[[Transaction, str], object], dict[str, str]]] = {
    "plan": (lambda tx, job_id: jobs.plan(tx, job_id, chain("capture")), {"queued": "running"}),
    "succeed": (
        lambda tx, job_id: jobs.succeed(tx, job_id, {"outcome": "improved"}),
        {"running": "succeeded", "running, leased": "succeeded"},
    ),
    "fail": (
        lambda tx, job_id: jobs.fail(tx, job_id, InternalError("It broke.", cure="").document()),
        {"queued": "failed", "running": "failed", "running, leased": "failed"},
    ),
    "request_cancel": (
        jobs.request_cancel,
        {"queued": "canceled", "running": "canceled", "running, leased": "canceling"},
    ),
    "retry": (jobs.retry, {"failed": "queued", "canceled": "queued"}),
}


@pytest.mark.parametrize("name", JOB_TRANSITIONS)
def test_a_transition_of_a_job_changes_what_it_may_and_nothing_else(scene: Scene, name: str) -> None:
    call, changed = JOB_TRANSITIONS[name]
    made = {state: make(scene) for state, make in JOBS.items()}
    before: dict[str, Job] = {state: scene.job(job_id) for state, job_id in made.items()}
    assert {state: job.state for state, job in before.items()} == {name: name.partition(",")[0] for name in JOBS}
    for job_id in made.values():
        with suppress(Conflict), scene.database.begin() as tx:
            call(tx, job_id)
    now = {state: scene.job(job_id) for state, job_id in made.items()}
    assert {state: job.state for state, job in now.items() if job != before[state]} == changed


def test_the_docstring_of_jobs_tells_the_same_table() -> None:
    tried = {
        (f"`{before.partition(',')[0]}`", f"`{after}`", name)
        for name, (_, changed) in JOB_TRANSITIONS.items()
        for before, after in changed.items()
    }
    beside = {("(none)", "`queued`", "create"), ("`canceling`", "`canceled`", "bindings.settle")}
    assert tried | beside == _told(jobs)


STEPS = ("waiting", "ready", "leased", "done", "failed", "canceled")


@pytest.mark.parametrize(
    ("name", "changed"),
    [("bind", {"waiting": "ready"}), ("skip", {"waiting": "canceled"}), ("unbind", {"ready": "waiting"})],
)
def test_a_transition_of_a_step_changes_what_it_may_and_nothing_else(
    scene: Scene, name: str, changed: dict[str, str]
) -> None:
    makers: dict[str, Callable[[Scene, str], str]] = {**OTHERS, "waiting": lambda scene, _: scene.running()}
    made = {state: makers[state](scene, state) for state in STEPS}
    before = {state: scene.steps(job_id)["capture"] for state, job_id in made.items()}
    assert {state: step.state for state, step in before.items()} == {state: state for state in STEPS}
    for state, job_id in made.items():
        with suppress(Conflict):
            if name == "bind":
                scene.bind(job_id, "capture", "another")
                continue
            with scene.database.begin() as tx:
                jobs.lock(tx, job_id)
                steps.skip(tx, before[state], "It has no input.") if name == "skip" else steps.unbind(tx, state)
    now = {state: scene.steps(job_id)["capture"] for state, job_id in made.items()}
    assert {state: step.state for state, step in now.items() if step != before[state]} == changed
