"""Measures all contenders of one model in one run of the service's protocol."""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path

from benchmarks.matrix.records import Records
from benchmarks.peers.given import Given
from benchmarks.peers.making import ARTIFACT
from benchmarks.peers.routes import ROUTES, Route
from burnish.recipe import Target
from workers.datasets import read_samples
from workers.measure.contender import BASELINES, Contender, loader_of
from workers.measure.protocol import Plan, Rounds, measure
from workers.programs import input_names
from workers.steps.measure import SETTLE_SECONDS, LineUp, cores_for, environment

__all__ = ["race"]


def race(given: Given, records: Records, threads: int, seconds: float, rounds: int) -> None:
    """Writes the speed of every route whose artifact runs.

    `over` of a route holds the ratio of each other contender's time to its own: above 1, it is the faster one.
    """
    warnings.simplefilter("ignore")
    load, target = os.getloadavg()[0], Target(threads=threads, batch=1)
    settle = SETTLE_SECONDS if threads > 1 else 0.0
    plan = Plan(seconds=seconds, min_rounds=rounds, settle_seconds=settle)
    places = {route: records.place(given.model, route.name) / ARTIFACT for route in ROUTES}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        contenders = {
            each: stack.enter_context(_baseline(each, given, threads, Path(name) / each)) for each in BASELINES
        }
        for route, artifact in places.items():
            if (records.read(given.model, route.name) or {}).get("state") == "works":
                contenders[route.name] = stack.enter_context(_contender(route, artifact, threads, Path(name)))
        line_up = LineUp(contenders)
        samples = read_samples(given.folder / "heldout", input_names(given.program()))
        line_up.load([each[:1].numpy() for each in samples.inputs])
        line_up.pin(cores_for(target))
        found = measure(line_up.running, ("compiled",), plan)
    shared = {"environment": environment(target, load).model_dump(mode="json")}
    for name, reason in {**line_up.failed, **found.failed}.items():
        print(f"{name}: {reason}")
    for name in found.seconds:
        latency = found.latency(name).model_dump(mode="json")
        records.write_speed(given.model, name, {**shared, "latency": latency, "over": _over(found, name)})


def _over(found: Rounds, name: str) -> dict[str, dict[str, float]]:
    ratios = {other: found.speedup(name, other) for other in found.seconds if other != name}
    return {other: ratio.model_dump(mode="json") for other, ratio in ratios.items() if ratio is not None}


def _baseline(name: str, given: Given, threads: int, folder: Path) -> Contender:
    return Contender(
        loader=loader_of(name),
        artifact=given.folder / "program",
        filename="model.pt2",
        threads=threads,
        folder=folder,
        compiles=name == "compiled",
    )


def _contender(route: Route, artifact: Path, threads: int, folder: Path) -> Contender:
    return Contender(
        loader=route.loader,
        artifact=artifact,
        filename=route.filename,
        threads=threads,
        folder=folder / route.name,
        compiles=route.compiles,
    )
