"""200 clients that follow a job each: what polling with ETags costs the API.

    python -m benchmarks.pollers [CLIENTS]

That is how the page and the command line follow jobs; `benchmarks.followers` measures event streams. Each client asks
once a second, as `Retry-After` says; half of the jobs change once in three seconds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.service import process_tree, resident_bytes
from storage import datasets, events, jobs, models
from tests.acceptance.torture.run import register
from tests.acceptance.torture.stack import Stack, stack

__all__ = ["main", "running_jobs", "touch"]

_SECONDS = 20.0
_TICK = os.sysconf("SC_CLK_TCK")


def main(clients: int = 200) -> None:
    """Prints memory, time and answers, with PostgreSQL."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        stack("postgresql", Path(name), workers=0) as made,
    ):
        made.start_all()
        ids = running_jobs(made, clients)
        pids = process_tree(made.pid("api"))
        asyncio.run(_poll(made, ids[:10], 3.0))  # so that everything the first requests load is loaded
        memory, busy = sum(map(resident_bytes, pids)), sum(map(_busy, pids))
        took, answers = asyncio.run(_poll(made, ids, _SECONDS))
        grown, used = sum(map(resident_bytes, pids)) - memory, sum(map(_busy, pids)) - busy
        later = _grown_after_another(made, ids, pids)
    unchanged = answers.count(304) / len(answers)
    odd = sum(answer not in (200, 304) for answer in answers)
    print(f"{clients} clients, load {os.getloadavg()[0]:.1f}: {len(answers) / _SECONDS:.0f} polls/s,",
          f"{100 * unchanged:.0f} % of them 304, neither 200 nor 304: {odd};",
          f"median {1e3 * statistics.median(took):.0f} ms, p95 {1e3 * sorted(took)[int(0.95 * len(took))]:.0f} ms;",
          f"{1e3 * used / len(answers):.2f} ms of the API's processor a poll;",
          f"memory +{grown / 1e6:.1f} MB with all clients, +{later / 1e6:.1f} MB more in another {_SECONDS:.0f} s",
          flush=True)  # fmt: skip


def _grown_after_another(made: Stack, ids: list[str], pids: list[int]) -> int:
    before = sum(map(resident_bytes, pids))
    asyncio.run(_poll(made, ids, _SECONDS))
    return sum(map(resident_bytes, pids)) - before


def running_jobs(made: Stack, count: int) -> list[str]:
    """Jobs that nobody works on, with eight steps each."""
    (model_id,) = register(made, [{}])
    found = []
    for _ in range(count):
        with made.database.begin() as tx:
            dataset = datasets.create(
                tx, name="d", digest="d" * 64, size=1, format="npz", schema={}, samples=40, labelled=True
            )
            spec = {"model": model_id, "dataset": dataset.id, "recipe": {}, "priority": 5}
            job = jobs.create(tx, spec=spec, model=models.get(tx, model_id), dataset=dataset, priority=5)
        found.append(job.id)
    return found


async def _poll(made: Stack, ids: list[str], seconds: float) -> tuple[list[float], list[int]]:
    took: list[float] = []
    answers: list[int] = []
    until = time.monotonic() + seconds

    async def follow(client: httpx.AsyncClient, job_id: str, start: float) -> None:
        etag = ""
        await asyncio.sleep(start)
        while time.monotonic() < until:
            began = time.perf_counter()
            answer = await client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag} if etag else {})
            took.append(time.perf_counter() - began)
            answers.append(answer.status_code)
            etag = answer.headers.get("ETag", etag)
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))

    async def change() -> None:
        while time.monotonic() < until:
            for job_id in ids[::2]:
                await asyncio.to_thread(touch, made, job_id)
                await asyncio.sleep(3.0 / len(ids[::2]))

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=made.url, timeout=30.0, limits=limits) as client:
        changing = asyncio.create_task(change())
        await asyncio.gather(*(follow(client, job_id, index / len(ids)) for index, job_id in enumerate(ids)))
        changing.cancel()
    return took, answers


def touch(made: Stack, job_id: str) -> None:
    """Adds an event to the job."""
    with made.database.begin() as tx:
        events.add(tx, "log", {"line": "still there"}, job_id=job_id)


def _busy(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
