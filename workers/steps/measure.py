"""The step that measures: the original, eager and compiled, and every artifact, in turn, alone on the host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from burnish.errors import ResourceError, StepCrashed
from burnish.recipe import Target
from burnish.results import Environment
from workers.backends import BACKENDS_BY_NAME
from workers.bundles import contract_of, notes
from workers.datasets import read_samples
from workers.environment import Environment as Machine
from workers.measure.contender import BASELINES, Contender, ContenderFailed, loader_of
from workers.measure.protocol import Plan, Rounds, measure
from workers.measure.quality import Array
from workers.measure.reproduction import rows
from workers.programs import batch_range, input_names, load_program
from workers.steps.base import Made, Step, StepContext

__all__ = ["Measure"]

LOAD_SECONDS = 600.0
"""Limit for loading and the first call, which compiles for `compiled`."""
AT_ONCE = 2
"""Contenders that load at the same time."""
SETTLE_SECONDS = 0.01
"""OpenMP's threads spin for about 5 ms after their last work; with one thread there are none."""


class Measure(Step):
    """Measures all contenders of a job in one run.

    Settings: `contenders`, a list of `{name, backend}`; optional: the fields of `protocol.Plan`, and `champion`, the
    name of the contender that the others are compared with besides the original.
    Inputs: `original`, `heldout`, and `artifact.<name>` for each contender that has one.
    Report: `environment`, and `contenders` by name with latency, speed-ups, memory and load time, or `refused`.
    """

    name: ClassVar[str] = "measure"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy", "onnxruntime")
    depends_on_isa: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def run(self, context: StepContext) -> Made:
        """Raises:
        ResourceError: this machine has fewer cores than the target has threads.
        StepCrashed: the original itself does not run.
        """
        cores = cores_for(context.target)
        load = os.getloadavg()[0]
        entries = list(_entries(context))
        with started(entries, context) as contenders:
            line_up = LineUp(contenders)
            context.progress(0.0, "loading the contenders")
            line_up.load(_inputs(context))
            line_up.pin(cores)
            rounds = measure(
                line_up.running,
                (*BASELINES, *_champion(context)),
                _plan(context),
                lambda share, doing: context.progress(0.3 + 0.7 * share, doing),
            )
            line_up.failed.update(rounds.failed)
            if "eager" in line_up.failed:
                raise StepCrashed(
                    f"The original can't be measured: {line_up.failed['eager']}.",
                    cure="Check that the uploaded program runs on its held-out samples at the target's batch.",
                )
            report = {entry.name: line_up.report(entry, rounds) for entry in entries}
        return Made(
            report={"environment": environment(context.target, load).model_dump(mode="json"), "contenders": report}
        )


@dataclass(frozen=True)
class Entry:
    """One contender to start."""

    name: str
    backend: str
    artifact: Path
    filename: str


class LineUp:
    """The contenders of one measurement: those still running, and those that failed with their reasons."""

    def __init__(self, contenders: Mapping[str, Contender]) -> None:
        self.running = dict(contenders)
        self.failed: dict[str, str] = {}
        self._load_seconds: dict[str, float] = {}

    def load(self, inputs: Sequence[Array]) -> None:
        """Loads all, `AT_ONCE` at a time and the compiled original first, which takes longest; each makes one call."""
        order = sorted(self.running, key=lambda name: name != "compiled")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for name, outcome in zip(order, pool.map(lambda name: self._load(name, inputs), order), strict=True):
                if isinstance(outcome, str):
                    self._fail(name, outcome)
                else:
                    self._load_seconds[name] = outcome

    def pin(self, cores: Sequence[int]) -> None:
        """Binds all to the same cores: only one of them runs at a time."""
        for name, contender in list(self.running.items()):
            try:
                contender.pin(cores)
            except ContenderFailed as failure:
                self._fail(name, str(failure))

    def report(self, entry: Entry, rounds: Rounds) -> dict[str, Any]:
        """What is known of one contender, as plain data."""
        name, calling = entry.name, contract_of(entry.artifact)
        if name in self.failed:
            return {"refused": f"measuring: {self.failed[name]}."}
        try:
            memory = self.running[name].peak_memory()
            figures = {} if calling is None else self.running[name].figures(LOAD_SECONDS)
        except ContenderFailed as failure:
            return {"refused": f"measuring: {failure}."}
        over = {baseline: rounds.speedup(name, baseline) for baseline in rounds.baselines}
        return {
            "latency": rounds.latency(name).model_dump(mode="json"),
            **{
                f"speedup_over_{baseline.partition('@')[0]}": None
                if ratio is None or name == baseline
                else ratio.model_dump(mode="json")
                for baseline, ratio in over.items()
            },
            "peak_memory": memory,
            "load_seconds": self._load_seconds[name],
            **({} if calling is None else {"figures": figures, "notes": notes(calling, figures)}),
        }

    def _load(self, name: str, inputs: Sequence[Array]) -> float | str:
        """Seconds until the first result is there, or why there is none."""
        contender = self.running[name]
        try:
            seconds = contender.load(LOAD_SECONDS)
            contender.prepare(inputs, LOAD_SECONDS)
            return seconds + contender.round(calls=1, untimed=0, limit=LOAD_SECONDS)[0]
        except ContenderFailed as failure:
            return str(failure)

    def _fail(self, name: str, reason: str) -> None:
        del self.running[name]
        self.failed[name] = reason


@contextmanager
def started(entries: Sequence[Entry], context: StepContext) -> Iterator[dict[str, Contender]]:
    """A process for every entry, all started by this thread, whose end would end them."""
    with ExitStack() as stack:
        yield {
            entry.name: stack.enter_context(
                Contender(
                    loader=loader_of(entry.backend),
                    artifact=entry.artifact,
                    filename=entry.filename,
                    threads=context.target.threads,
                    folder=context.folder / f"contender-{index}",
                    compiles=entry.backend == "compiled",
                    device=context.target.device,
                )
            )
            for index, entry in enumerate(entries)
        }


def cores_for(target: Target) -> list[int]:
    """As many of the cores this process may use as the target has threads: the last, since the first serve interrupts.

    Raises:
        ResourceError: there are fewer.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < target.threads:
        raise ResourceError(
            f"The target has {target.threads} threads, and this worker may use {len(cores)} cores.",
            cure="Add a worker with more cores, or lower `target.threads`.",
        )
    return cores[-target.threads :]


def environment(target: Target, load: float) -> Environment:
    """Where it is measured."""
    machine = Machine.of_this_machine(target.device)
    return Environment(
        cpu=machine.cpu,
        isa=machine.isa,
        threads=target.threads,
        batch=target.batch,
        load=load,
        versions=dict(machine.versions),
    )


def _champion(context: StepContext) -> tuple[str, ...]:
    champion = context.settings.get("champion")
    return () if champion is None else (champion,)


def _entries(context: StepContext) -> Iterator[Entry]:
    for baseline in BASELINES:
        yield Entry(baseline, baseline, context.inputs["original"], "model.pt2")
    for contender in context.settings["contenders"]:
        name, backend = contender["name"], contender["backend"]
        # One that was refused before has no artifact here, and its reason stands in the report of that step.
        if f"artifact.{name}" in context.inputs:
            yield Entry(name, backend, context.inputs[f"artifact.{name}"], BACKENDS_BY_NAME[backend].filename)


def _inputs(context: StepContext) -> list[Array]:
    """The first held-out samples, as many as the target's batch; or as many as a program for one batch size takes."""
    original = load_program(context.inputs["original"])
    low, high = batch_range(original)
    size = max(low, context.target.batch if high is None else min(context.target.batch, high))
    samples = read_samples(context.inputs["heldout"], input_names(original))
    return [rows(each.numpy(), size) for each in samples.inputs]


def _plan(context: StepContext) -> Plan:
    given = {field.name: context.settings[field.name] for field in fields(Plan) if field.name in context.settings}
    settle = SETTLE_SECONDS if context.target.threads > 1 else 0.0
    return Plan(**{"settle_seconds": settle, "seed": context.seed, **given})
