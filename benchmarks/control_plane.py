"""No-op steps per second through the whole path (REST → SQL → Celery → commit), against bare Celery tasks.

    python -m benchmarks.control_plane [ROUNDS]

Services: PostgreSQL, Valkey, a folder of blobs, one API, one tick, two workers with two slots each. Each round runs a
batch of jobs of no-op steps and a batch of bare Celery tasks (one worker process with four threads), in turn, on the
same broker. Once with a process for each step, as in earnest, and once with the steps inside the worker, which is the
control plane alone. Then on an idle fleet: from the POST of a job to the claim of its first step, against from the
publishing of a bare task to its start.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import redis
from celery import Celery
from sqlalchemy import func, select

from benchmarks.bare_celery import DONE, QUEUE, STARTED
from storage.doorbell import broker_options
from storage.tables import computations, jobs
from tests.acceptance.torture.load import samples
from tests.acceptance.torture.run import register
from tests.acceptance.torture.stack import ROOT, SCRIPTED, Stack, stack

__all__ = ["main"]

_JOBS = 16
_TASKS = 2000
_SUBMISSIONS = 40
_INLINE = "benchmarks.inline_worker"
_LIMIT = 120.0
_numbers = itertools.count()


def main(rounds: int = 5) -> None:
    """Prints every figure with its interval."""
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} cores, load before {load:.1f}, {rounds} rounds")
    for words, module in (("a process for each step", SCRIPTED), ("steps inside the worker", _INLINE)):
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
            stack("postgresql", Path(name), workers=2, worker_module=module) as made,
        ):
            made.start_all()
            with _bare_worker(made) as bare:
                _throughput(words, made, bare, rounds)
                if module == SCRIPTED:
                    _latency(made, bare)


class _Bare:
    """Celery with nothing of ours."""

    def __init__(self, url: str) -> None:
        self._app = Celery("bare", broker=url, set_as_current=False)
        self._app.conf.update(broker_options())
        self._broker = redis.Redis.from_url(url)

    def rate(self) -> float:
        """Tasks per second, from the first one published to the last one run."""
        self._broker.delete(DONE)
        began = time.perf_counter()
        for number in range(_TASKS):
            self._app.send_task("bare.noop", (number == _TASKS - 1,), queue=QUEUE)
        _until(lambda: bool(self._broker.exists(DONE)))
        return _TASKS / (time.perf_counter() - began)

    def wait(self) -> float:
        """Seconds from publishing to the start."""
        self._broker.delete(STARTED)
        began = time.time()
        self._app.send_task("bare.when", queue=QUEUE)
        _until(lambda: bool(self._broker.exists(STARTED)), every=0.005)
        return float(self._broker.lindex(STARTED, 0)) - began  # type: ignore[arg-type]


@contextmanager
def _bare_worker(made: Stack) -> Iterator[_Bare]:
    url = made.settings.broker_url
    command = ["-m", "celery", "-A", "benchmarks.bare_celery", "worker", "-Q", "bare", "-P", "threads", "-c", "4"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    environment = {**os.environ, "BARE_BROKER": url, "PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"}
    prctl = ctypes.CDLL(None).prctl
    with (made.folder / "bare.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=made.folder, env=environment, stdout=log, stderr=log,
            preexec_fn=lambda: prctl(1, signal.SIGKILL),
        )  # fmt: skip
    try:
        bare = _Bare(url)
        bare.wait()
        yield bare
    finally:
        process.terminate()
        process.wait()


class _Ours:
    """Jobs of no-op steps over REST. Each has a script that no other had, so nothing comes from the cache."""

    def __init__(self, made: Stack) -> None:
        self._made = made
        body = samples("benchmark")
        self._client = httpx.Client(base_url=made.url, timeout=30.0)
        self._dataset = self._client.post("/v1/datasets?name=d", content=body).json()["id"]

    def rate(self) -> float:
        """Steps per second, from the first POST to the last job's end."""
        ids = self._models(_JOBS)
        before = self._done()
        began = time.perf_counter()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._submit, ids))
        _until(lambda: self._live() == 0, every=0.05)
        return (self._done() - before) / (time.perf_counter() - began)

    def wait(self) -> tuple[float, float]:
        """Seconds from the POST to the claim of the first step, and to the start of the step itself; the fleet is
        idle before and after."""
        (model,) = self._models(1)
        began = time.time()
        job_id = self._submit(model)
        _until(lambda: self._live() == 0, every=0.02)
        steps = self._client.get(f"/v1/jobs/{job_id}").json()["steps"]
        key = next(step["key"] for step in steps if step["name"] == "capture")
        with self._made.database.read() as tx:
            row = tx.execute(select(computations).where(computations.c.key == key)).one()
        return row.started_at - began, row.report["began"] - began

    def _models(self, count: int) -> list[str]:
        return register(self._made, [{"benchmark": next(_numbers)} for _ in range(count)])

    def _submit(self, model: str) -> str:
        recipe = {"target": {"backend": "inductor"}, "passes": [{"quantize": {}}]}
        spec = {"model": model, "dataset": self._dataset, "recipe": recipe}
        answer = self._client.post("/v1/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def _live(self) -> int:
        with self._made.database.read() as tx:
            live = select(func.count()).where(jobs.c.state.in_(("queued", "running", "canceling")))
            return int(tx.execute(live).scalar_one())

    def _done(self) -> int:
        with self._made.database.read() as tx:
            return int(tx.execute(select(func.count()).where(computations.c.state == "done")).scalar_one())


def _throughput(words: str, made: Stack, bare: _Bare, rounds: int) -> None:
    ours = _Ours(made)
    ours.rate(), bare.rate()  # warm-up
    pairs = [(ours.rate(), bare.rate()) for _ in range(rounds)]
    ratio, low, high = _ratio(pairs)
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{words}: {mine:.1f} steps/s, bare Celery {theirs:.0f} tasks/s, ratio {ratio:.3f} [{low:.3f}, {high:.3f}]",
          f"= {1e3 / mine:.1f} ms a step (wanted: 0.5)", flush=True)  # fmt: skip


def _latency(made: Stack, bare: _Bare) -> None:
    ours = _Ours(made)
    claims, starts, theirs = [], [], []
    for _ in range(_SUBMISSIONS):
        claim, start = ours.wait()
        claims.append(claim)
        starts.append(start)
        theirs.append(bare.wait())
    base = _p95(theirs)
    print(f"submit to claim, idle, {_SUBMISSIONS} times: median {1e3 * statistics.median(claims):.0f} ms,",
          f"p95 {1e3 * _p95(claims):.0f} ms; to the start of the step's own code p95 {1e3 * _p95(starts):.0f} ms;",
          f"bare Celery median {1e3 * statistics.median(theirs):.1f} ms, p95 {1e3 * base:.1f} ms;",
          f"p95 above bare Celery's: {1e3 * (_p95(claims) - base):.0f} ms (limit 100 ms)", flush=True)  # fmt: skip


def _ratio(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Geometric mean of the rounds' ratios with its 95 % interval (normal, of the logarithms)."""
    logs = [math.log(mine / theirs) for mine, theirs in pairs]
    mean = statistics.fmean(logs)
    half = 1.96 * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else float("nan")
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _until(holds: object, every: float = 0.01) -> None:
    end = time.monotonic() + _LIMIT
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            raise AssertionError(f"not done within {_LIMIT:.0f} s")
        time.sleep(every)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
