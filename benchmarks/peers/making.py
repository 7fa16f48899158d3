"""Makes one route's artifact of one model, and judges it on held-out data, called as it will be timed."""

from __future__ import annotations

import shutil
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.matrix.records import Records
from benchmarks.peers.given import Given, digest
from benchmarks.peers.routes import Route
from workers.carried import reference
from workers.datasets import read_samples
from workers.measure.contender import Contender, ContenderFailed
from workers.measure.quality import assess
from workers.programs import input_names
from workers.steps.verify import in_batches

__all__ = ["ARTIFACT", "faults", "make_route"]

ARTIFACT = "artifact"
_SECONDS = 600.0
_CALLS = 3
_REPEAT_DB = 80.0
"""Engines may sum in another order from call to call, and no more."""


def make_route(route: Route, given: Given, records: Records) -> None:
    """Writes what it came to as the record of (model, route), and keeps the artifact if it runs."""
    warnings.simplefilter("ignore")  # compilers and quantizers warn of their own internals
    place = records.place(given.model, route.name)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    found: dict[str, Any]
    with tempfile.TemporaryDirectory() as name:
        try:
            artifact = route.make(given, Path(name))
            shutil.copyfile(artifact, place / ARTIFACT)
            found = {"state": "works", "size": artifact.stat().st_size, **_judged(route, given, place, Path(name))}
        # A boundary: what a peer runs into is a finding of this benchmark.
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            found = {"state": "fails", "reason": f"{type(error).__name__}: {_first_line(error)}"}
    records.write(given.model, route.name, {**found, "of": digest(given.folder)})


def _judged(route: Route, given: Given, place: Path, scratch: Path) -> dict[str, Any]:
    """Quality at batch 1, and what is wrong with the artifact besides."""
    original = given.program()
    samples = read_samples(given.folder / "heldout", input_names(original))
    inputs = [each.numpy() for each in samples.inputs]
    wanted = in_batches(reference(original), inputs, 1)
    with Contender(
        loader=route.loader,
        artifact=place / ARTIFACT,
        filename=route.filename,
        threads=torch.get_num_threads(),
        folder=scratch / "contender",
        compiles=route.compiles,
    ) as contender:
        contender.load(_SECONDS)
        _, calls = contender.check([each[:1] for each in inputs], _CALLS, _SECONDS)
        outputs = in_batches(lambda part: contender.check(part, 1, _SECONDS)[0], inputs, 1)
    if [each.shape for each in outputs] != [each.shape for each in wanted]:
        raise ContenderFailed(f"gives shapes {[each.shape for each in outputs]}")
    targets = None if samples.targets is None else samples.targets.numpy()
    quality = assess(wanted, outputs, targets, seed=0).quality
    return {"quality": quality.model_dump(mode="json"), "faults": faults(calls)}


def faults(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    """What repeated calls on one input show, as `workers/standalone/reproduce.py` tells them."""
    found = []
    if not all(call["inputs_unchanged"] for call in calls):
        found.append("overwrites its input")
    if any(not call["identical"] and (call["sqnr_db"] or 0.0) < _REPEAT_DB for call in calls):
        found.append("gives other outputs the second time")
    return found


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:300]
