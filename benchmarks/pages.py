"""The job list with 10,000 jobs: server time, bytes, time until a change is seen, memory with 200 open pages.

    python -m benchmarks.pages [JOBS] [PAGES]

A real server (one API process, PostgreSQL). Each open page asks as `api/static/live.js` does: every 0.8 s, with the
ETag that it has. One more page is open in a real Chromium; it is what sees the changes. Clients, database and browser
share the machine with the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import text

from benchmarks.service import process_tree, resident_bytes
from storage import jobs
from storage.ids import new_id
from storage.tables import jobs as job_table
from storage.tables import metadata
from tests.acceptance.torture.stack import Stack, stack
from tests.api.place import candidate, verdict
from tests.web.browsing import launched

__all__ = ["main"]

_EVERY = 0.8
_SECONDS = 30.0
_QUERIES = ("", "?state=running", "?outcome=improved", "?model=model7", "?search=model13", "?search=nothing-like-it")
_BATCH = 1000


def main(count: int = 10_000, pages: int = 200) -> None:
    """Prints the figures of the first paint, of a change, and of the memory."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        stack("postgresql", Path(name), workers=0) as made,
    ):
        queued = _fill(made, count)
        made.start("broker")
        made.start("api")
        _wait(made.url)
        _first_paint(made, count)
        pids = process_tree(made.pid("api"))
        alone = sum(map(resident_bytes, pids))
        seen, answers, polls, most = asyncio.run(_open_pages(made, queued, pages, pids))
    unchanged = 100 * answers.count(304) / len(answers)
    print(f"{pages} open pages, load {os.getloadavg()[0]:.1f}: {len(answers) / _SECONDS:.0f} polls/s,",
          f"{unchanged:.0f} % of them 304, failed {sum(answer not in (200, 304) for answer in answers)};",
          f"a poll takes {1e3 * statistics.median(polls):.0f} ms (p95 {1e3 * _quantile(polls, 0.95):.0f} ms);",
          f"a change is on the page in Chromium after {statistics.median(seen):.2f} s (longest {max(seen):.2f} s of",
          f"{len(seen)}); memory of the API {most / 1e6:.0f} MB, {(most - alone) / 1e6:+.0f} MB by the pages",
          flush=True)  # fmt: skip


def _fill(made: Stack, count: int) -> list[str]:
    """As many jobs, most of them ended with a verdict over twelve candidates; ids of some that wait."""
    result = verdict().model_dump(mode="json")
    more = [candidate(f"variant-{n}@onnxruntime", 1.0 + n / 10, 0.001 * n, secrets.token_hex(32)) for n in range(7)]
    result["candidates"] += [each.model_dump(mode="json") for each in more]
    spec = {"model": "m", "dataset": "d", "recipe": {"goal": {"max_drop": "0.5%"}}}
    states = ["succeeded"] * 17 + ["failed", "canceled", "queued"]
    rows, waiting = [], []
    now = time.time() - count
    for number in range(count):
        state = states[number % len(states)]
        ended = state in ("succeeded", "failed", "canceled")
        rows.append(
            {
                "id": new_id("job"), "state": state, "spec": spec, "model_id": f"mdl_{number % 50}",
                "model": f"model{number % 50}:1", "model_digest": "m", "dataset_id": "dst_0", "dataset": "samples",
                "dataset_digest": "d", "priority": 5, "revision": 1, "created_at": now + number,
                "verdict": result if state == "succeeded" else None,
                "outcome": "improved" if state == "succeeded" else None,
                "error": {"code": "internal"} if state == "failed" else None,
                "started_at": now + number if ended else None, "finished_at": now + number + 90 if ended else None,
            }
        )  # fmt: skip
        if state == "queued":
            waiting.append(rows[-1]["id"])
    with made.database.begin() as tx:
        model = {"version": 1, "digest": "m", "size": 1, "signature": {}, "created_at": now}
        tx.execute(
            metadata.tables["models"]
            .insert()
            .values([{**model, "id": f"mdl_{n}", "name": f"model{n}"} for n in range(50)])
        )
        data = {
            "id": "dst_0",
            "name": "samples",
            "digest": "d",
            "size": 1,
            "format": "npz",
            "schema": {},
            "samples": 40,
        }
        tx.execute(metadata.tables["datasets"].insert().values(**data, labelled=True, created_at=now))
        for start in range(0, count, _BATCH):
            tx.execute(job_table.insert().values(rows[start : start + _BATCH]))
    with made.database.begin() as tx:
        tx.execute(text("ANALYZE"))
    size = len(json.dumps(result))
    print(f"{count} jobs, {size / 1e3:.0f} kB of verdict each", flush=True)
    return waiting[::-1][:30]


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("The API did not come up.")


def _first_paint(made: Stack, count: int) -> None:
    """Time of the page's answer and bytes on the wire, with what the page loads before it is seen."""
    with httpx.Client(base_url=made.url, headers={"Accept-Encoding": "gzip"}, timeout=30) as client:
        for query in _QUERIES:
            took = []
            for _ in range(30):
                began = time.perf_counter()
                sent = _bytes(client, f"/{query}")
                took.append(time.perf_counter() - began)
            print(f"GET /{query}: median {1e3 * statistics.median(took):.0f} ms, longest {1e3 * max(took):.0f} ms,",
                  f"{sent / 1e3:.1f} kB", flush=True)  # fmt: skip
        page = client.get("/").text
        files = [part.split('"')[0] for part in page.split('"/static/')[1:]]
        total = _bytes(client, "/") + sum(_bytes(client, f"/static/{name}") for name in files)
        print(f"first paint with style, script and icon: {total / 1e3:.1f} kB ({len(files)} files)", flush=True)


def _bytes(client: httpx.Client, address: str) -> int:
    """Bytes of the body as sent."""
    with client.stream("GET", address) as answer:
        answer.raise_for_status()
        return sum(len(part) for part in answer.iter_raw())


async def _open_pages(
    made: Stack, queued: list[str], pages: int, pids: list[int]
) -> tuple[list[float], list[int], list[float], int]:
    until = time.monotonic() + _SECONDS
    answers: list[int] = []
    took: list[float] = []
    most = 0

    async def page(client: httpx.AsyncClient, start: float) -> None:
        etag = ""
        await asyncio.sleep(start)
        while time.monotonic() < until:
            began = time.perf_counter()
            answer = await client.get("/fragment", headers={"If-None-Match": etag, "Accept-Encoding": "gzip"})
            took.append(time.perf_counter() - began)
            answers.append(answer.status_code)
            etag = answer.headers.get("ETag", etag)
            await asyncio.sleep(_EVERY)

    async def watch() -> None:
        nonlocal most
        while time.monotonic() < until:
            most = max(most, sum(map(resident_bytes, pids)))
            await asyncio.sleep(0.5)

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=made.url, timeout=30.0, limits=limits) as client:
        browser = asyncio.create_task(asyncio.to_thread(_changes, made, queued, until))
        await asyncio.gather(watch(), *(page(client, _EVERY * index / pages) for index in range(pages)))
        seen = await browser
    return seen, answers, took, most


def _changes(made: Stack, queued: list[str], until: float) -> list[float]:
    """Starts one job after another, and notes how long it took until the open page said so."""
    seen = []
    with sync_playwright() as playwright, launched(playwright) as browser:
        page = browser.new_page()
        page.goto(made.url)
        shown = [id for id in queued if page.locator(f'tr[data-key="{id}"]').count()]
        for id in shown:
            if time.monotonic() > until - 2:
                break
            seen.append(_until_seen(made, page, id))
            time.sleep(0.7 + secrets.randbelow(600) / 1000)
    return seen


def _until_seen(made: Stack, page: Page, id: str) -> float:
    with made.database.begin() as tx:
        jobs.plan(tx, id, [])
    began = time.perf_counter()
    page.wait_for_selector(f'tr[data-key="{id}"] .state.running', timeout=20_000)
    return time.perf_counter() - began


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]))
