"""200 clients that follow jobs by event streams: what it costs the API, and how soon they know.

    python -m benchmarks.followers [CLIENTS]

A real server (one API process, PostgreSQL) and as many open streams of eight jobs, each of which has an event a second.
In turns with one stream and with all, another client asks for a job 20 times a second. Clients and database share the
machine with the server.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.pollers import running_jobs, touch
from benchmarks.service import process_tree, resident_bytes
from storage import jobs
from tests.acceptance.torture.stack import Stack, stack

__all__ = ["main"]

_JOBS = 8
_SECONDS = 20.0
_ROUNDS = 3
Arrivals = list[tuple[int, float]]
"""Ids of events as one client has them, and when."""


def main(clients: int = 200) -> None:
    """Prints memory, statements, deliveries, delays and the time of other requests."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        stack("postgresql", Path(name), workers=0) as made,
    ):
        made.start_all()
        asyncio.run(_compare(made, running_jobs(made, _JOBS), clients))


async def _compare(made: Stack, ids: list[str], clients: int) -> None:
    pids = process_tree(made.pid("api"))
    committed: dict[tuple[str, int], float] = {}
    followed = [ids[number % _JOBS] for number in range(clients)]
    alone: list[float] = []
    beside: list[float] = []
    with _events(made, ids, committed):
        streams = await _open(made, followed[:1])
        await _requests(made, ids[0])  # so that everything the first requests load is loaded
        memory = sum(map(resident_bytes, pids))
        one = await _statements(made)
        for _ in range(_ROUNDS):
            await _leave(streams[1:])
            alone += await _requests(made, ids[0])
            streams[1:] = await _open(made, followed[1:])
            beside += await _requests(made, ids[0])
        all_ = await _statements(made)
        grown = sum(map(resident_bytes, pids)) - memory
        await asyncio.sleep(_SECONDS)
        later = sum(map(resident_bytes, pids)) - memory - grown
    newest = await asyncio.to_thread(_end, made, ids)
    got = list(zip(followed, await asyncio.gather(*streams), strict=True))
    lost = sum(len({*range(1, newest[job_id] + 1)} - {id for id, _ in arrivals}) for job_id, arrivals in got)
    disorder = sum(a >= b for _, arrivals in got for (a, _), (b, _) in pairwise(arrivals))
    delays = [
        max(0.0, at - committed[job_id, id])
        for job_id, arrivals in got
        for id, at in arrivals
        if committed.get((job_id, id), 0.0) > arrivals[0][1]  # not from the history
    ]
    print(f"{clients} streams of {_JOBS} jobs, load {os.getloadavg()[0]:.1f}:",
          f"{sum(len(arrivals) for _, arrivals in got)} events delivered, {lost} lost,",
          f"{disorder} twice or out of order;",
          f"from commit to client median {statistics.median(delays):.2f} s, p95 {_p95(delays):.2f} s;",
          f"SQL statements/s {one:.1f} with one client, {all_:.1f} with {clients};",
          f"memory of the API +{grown / 1e6:.1f} MB with all, {later / 1e6:+.1f} MB in another {_SECONDS:.0f} s;",
          f"another request median {1e3 * statistics.median(alone):.1f} ms (p95 {1e3 * _p95(alone):.1f} ms) with one,",
          f"{1e3 * statistics.median(beside):.1f} ms (p95 {1e3 * _p95(beside):.1f} ms) with all",
          flush=True)  # fmt: skip


@contextmanager
def _events(made: Stack, ids: list[str], committed: dict[tuple[str, int], float]) -> Iterator[None]:
    """Each job gets an event a second. When each was committed is noted: a job's first event was its acceptance."""
    stop = threading.Event()

    def tell() -> None:
        number = 1
        while not stop.is_set():
            number += 1
            for job_id in ids:
                touch(made, job_id)
                committed[job_id, number] = time.monotonic()
                stop.wait(1.0 / len(ids))

    telling = threading.Thread(target=tell)
    telling.start()
    try:
        yield
    finally:
        stop.set()
        telling.join()


async def _follow(made: Stack, job_id: str, begun: asyncio.Queue[None]) -> Arrivals:
    """A stream from the first event to the last; says when it has begun."""
    host = urlsplit(made.url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    writer.write(f"GET /v1/jobs/{job_id}/events HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"A stream was refused: {status.decode()}")
    arrivals: Arrivals = []
    try:
        async for line in reader:
            if line.startswith(b"id: "):
                arrivals.append((int(line[4:]), time.monotonic()))
                if len(arrivals) == 1:
                    begun.put_nowait(None)
            if line == b"event: end\n":
                break
    finally:
        writer.close()
    return arrivals


async def _open(made: Stack, job_ids: list[str]) -> list[asyncio.Task[Arrivals]]:
    """A stream of each, when all have had the history."""
    begun: asyncio.Queue[None] = asyncio.Queue()
    streams = [asyncio.create_task(_follow(made, job_id, begun)) for job_id in job_ids]
    for _ in streams:
        await begun.get()
    return streams


async def _leave(streams: list[asyncio.Task[Arrivals]]) -> None:
    for each in streams:
        each.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


async def _statements(made: Stack) -> float:
    """SQL statements of the API a second, those of asking for the figure left out."""
    async with httpx.AsyncClient(base_url=made.url, timeout=30.0) as client:

        async def count() -> int:
            text = (await client.get("/metrics")).text
            return int(float(re.findall(r"^burnish_sql_seconds_count (\S+)$", text, re.MULTILINE)[0]))

        began, first = time.monotonic(), await count()
        own = await count() - first
        await asyncio.sleep(_SECONDS)
        return (await count() - first - 2 * own) / (time.monotonic() - began)


async def _requests(made: Stack, job_id: str) -> list[float]:
    """Seconds of requests, 20 a second, in a process that does nothing else meanwhile but take events."""
    took = []
    until = time.monotonic() + _SECONDS / 4
    async with httpx.AsyncClient(base_url=made.url, timeout=30.0) as client:
        while time.monotonic() < until:
            began = time.perf_counter()
            (await client.get(f"/v1/jobs/{job_id}")).raise_for_status()
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
    return took


def _end(made: Stack, ids: list[str]) -> dict[str, int]:
    """Cancels the jobs; the id of each one's last event."""
    with made.database.begin() as tx:
        return {job_id: jobs.request_cancel(tx, job_id).revision for job_id in ids}


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
