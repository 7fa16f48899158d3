"""The users: they submit jobs over REST, ask again when an answer got lost, cancel, retry, and keep looking."""

from __future__ import annotations

import base64
import hashlib
import heapq
import itertools
import json
import random
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from burnish.recipe import JobSpec
from tests.acceptance.torture.plan import Order, Plan

__all__ = ["Ledger", "Users", "samples"]

_AGAIN = (429, 500, 502, 503, 504)
_PAUSE = (0.05, 0.4)
_GIVE_UP = 120.0
_JOBS_PER_DATASET = 10


class Ledger:
    """What the service said to its users: what is checked against SQL."""

    def __init__(self) -> None:
        self.accepted: dict[str, Order] = {}
        """By job id: each got a 202."""
        self.datasets: dict[int, str] = {}
        """Ids by number."""
        self.retried: set[str] = set()
        self.canceled: set[str] = set()
        self.broken: list[str] = []
        """Promises of the API that were not kept."""
        self.lost_answers = 0
        """Requests that had to be sent again."""


class Users:
    """`crowd` of them at once, in threads."""

    def __init__(self, url: str, plan: Plan, models: Sequence[str], *, crowd: int = 4) -> None:
        self.ledger = Ledger()
        self._url, self._plan, self._models = url, plan, models
        self._lock = threading.Lock()
        self._uploading = threading.Lock()
        self._order = itertools.count()
        self._at_work = crowd
        self._later: list[tuple[float, int, str, Order]] = []
        self._enough = threading.Event()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(crowd + 2, thread_name_prefix="user")
        self._start = time.monotonic()
        self._todo = list(reversed(plan.orders))
        self._threads = [self._pool.submit(self._user) for _ in range(crowd)]
        self._threads.append(self._pool.submit(self._caller))
        self._watcher = self._pool.submit(self._onlooker)

    def busy(self) -> bool:
        """Whether anything is still to be submitted or done."""
        return not all(thread.done() for thread in self._threads)

    def enough(self) -> None:
        """From now on no more is submitted than was planned for."""
        self._enough.set()

    def wait(self) -> Ledger:
        """Until all is submitted and done. Raises what a user met that it can't explain."""
        try:
            for thread in self._threads:
                thread.result()
        finally:
            self._over.set()
            self._pool.shutdown(cancel_futures=True)
        self._watcher.result()
        return self.ledger

    def _user(self) -> None:
        try:
            with httpx.Client(base_url=self._url, timeout=30.0) as client:
                while (order := self._next()) is not None and self._is_time(order):
                    self._submit(client, order)
        finally:
            with self._lock:
                self._at_work -= 1

    def _next(self) -> Order | None:
        with self._lock:
            return self._todo.pop() if self._todo else None

    def _is_time(self, order: Order) -> bool:
        """Waits until it is; false if there is enough by then."""
        wait = max(0.0, self._start + order.at - time.monotonic())
        if order.number < self._plan.jobs:
            time.sleep(wait)
            return True
        return not self._enough.wait(wait)

    def _submit(self, client: httpx.Client, order: Order) -> None:
        spec = {
            "model": self._models[order.family],
            "dataset": self._dataset(client, order.number // _JOBS_PER_DATASET),
            "recipe": {"target": {"backend": "inductor"}, "passes": [{"quantize": {}}], "seed": order.seed},
            "priority": order.priority,
        }
        JobSpec.model_validate(spec)  # a fault here is the torture's own
        key = {"Idempotency-Key": f"torture-{order.number}"}
        answer = self._send(client, "POST", "/v1/jobs", json=spec, headers=key)
        if answer.status_code != 202:
            return self._complain(f"job {order.number} was refused: {answer.status_code} {answer.text[:300]}")
        job_id = answer.json()["id"]
        with self._lock:
            self.ledger.accepted[job_id] = order
            if order.then != "wait":
                heapq.heappush(self._later, (time.monotonic() + order.after, next(self._order), job_id, order))
        if order.twice:
            self._ask_twice(client, spec, key, job_id)
        return None

    def _ask_twice(self, client: httpx.Client, spec: dict[str, Any], key: dict[str, str], job_id: str) -> None:
        again = self._send(client, "POST", "/v1/jobs", json=spec, headers=key)
        if again.status_code != 202 or again.json()["id"] != job_id:
            self._complain(
                f"{job_id}, asked for twice with one key, was answered {again.status_code} {again.text[:200]}"
            )
        other = self._send(client, "POST", "/v1/jobs", json={**spec, "priority": 9 - spec["priority"]}, headers=key)
        if other.status_code != 409:
            self._complain(f"the key of {job_id} with another body was answered {other.status_code}")

    def _dataset(self, client: httpx.Client, number: int) -> str:
        with self._uploading:
            if number not in self.ledger.datasets:
                self.ledger.datasets[number] = self._upload(client, number)
            return self.ledger.datasets[number]

    def _upload(self, client: httpx.Client, number: int) -> str:
        body = samples(f"{self._plan.seed} {number}")
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Digest": f"sha-256=:{digest}:",
            "Idempotency-Key": f"dataset-{number}",
        }
        answer = self._send(client, "POST", f"/v1/datasets?name=data-{number}", content=body, headers=headers)
        if answer.status_code != 201:
            raise AssertionError(f"dataset {number} was refused: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()["id"])

    def _caller(self) -> None:
        """Cancels, retries and hurries what its users want to, in time."""
        with httpx.Client(base_url=self._url, timeout=30.0) as client:
            while True:
                with self._lock:
                    everything = not self._at_work
                    due = heapq.heappop(self._later) if self._later else None
                if due is None:
                    if everything:
                        return
                    time.sleep(0.05)
                    continue
                time.sleep(max(0.0, due[0] - time.monotonic()))
                self._change(client, due[2], due[3])

    def _change(self, client: httpx.Client, job_id: str, order: Order) -> None:
        if order.then == "hurry":
            answer = self._send(client, "PATCH", f"/v1/jobs/{job_id}", json={"priority": 0})
            if answer.status_code not in (200, 409):
                self._complain(f"hurrying {job_id} was answered {answer.status_code} {answer.text[:200]}")
            return
        answer = self._act(client, job_id, "cancel")
        if answer.status_code == 202:
            self.ledger.canceled.add(job_id)
        if order.then == "cancel, retry" and self._ended(client, job_id):
            answer = self._act(client, job_id, "retry")
            if answer.status_code == 202:
                self.ledger.retried.add(job_id)

    def _act(self, client: httpx.Client, job_id: str, what: str) -> httpx.Response:
        key = {"Idempotency-Key": f"{what}-{job_id}"}
        answer = self._send(client, "POST", f"/v1/jobs/{job_id}/{what}", json={}, headers=key)
        if answer.status_code not in (202, 409):
            self._complain(f"{what} of {job_id} was answered {answer.status_code} {answer.text[:200]}")
        return answer

    def _ended(self, client: httpx.Client, job_id: str) -> bool:
        """Waits a while for a canceled job to be over."""
        until = time.monotonic() + 20.0
        while time.monotonic() < until:
            if self._send(client, "GET", f"/v1/jobs/{job_id}").json()["state"] in ("canceled", "failed"):
                return True
            time.sleep(0.1)
        return False

    def _onlooker(self) -> None:
        """Polls jobs with their ETags; what a user has seen of a job must never be taken back."""
        dice = random.Random(self._plan.seed)
        seen: dict[str, int] = {}
        with httpx.Client(base_url=self._url, timeout=30.0) as client:
            while not self._over.wait(0.05):
                with self._lock:
                    known = list(self.ledger.accepted)
                if not known:
                    continue
                job_id = dice.choice(known)
                headers = {"If-None-Match": f'W/"{job_id}.{seen.get(job_id, 0)}"'}
                answer = self._send(client, "GET", f"/v1/jobs/{job_id}", headers=headers)
                if answer.status_code == 304:
                    continue
                revision = int(answer.headers["ETag"].strip('W/"').partition(".")[2])
                if answer.status_code != 200 or revision < seen.get(job_id, 0):
                    self._complain(f"{job_id} went from revision {seen.get(job_id)} to {revision}")
                seen[job_id] = revision

    def _send(self, client: httpx.Client, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Sends it until it is answered, as a client that keeps its idempotency key does."""
        until = time.monotonic() + _GIVE_UP
        while True:
            try:
                answer = client.request(method, path, **arguments)
                if answer.status_code not in _AGAIN and not _no_worker(answer):
                    return answer
                said = f"{answer.status_code} {answer.text[:300]}"
            except httpx.TransportError as error:
                said = repr(error)
            with self._lock:
                self.ledger.lost_answers += 1
            if time.monotonic() > until:
                raise AssertionError(f"{method} {path} found no answer in {_GIVE_UP:.0f} s, the last was: {said}")
            time.sleep(random.uniform(*_PAUSE))

    def _complain(self, sentence: str) -> None:
        with self._lock:
            self.ledger.broken.append(sentence)


def _no_worker(answer: httpx.Response) -> bool:
    """All workers were dead for so long that the target is served by none: the user tries later."""
    return answer.status_code == 422 and "No live worker serves" in answer.text


def samples(text: str) -> bytes:
    """A sound safetensors file with 40 samples, which differ with `text`."""
    data = hashlib.sha256(text.encode()).digest()[:4] * 40
    header = json.dumps({"inputs": {"dtype": "F32", "shape": [40, 1], "data_offsets": [0, len(data)]}}).encode()
    padded = header + b" " * (-len(header) % 8)
    return struct.pack("<Q", len(padded)) + padded + data
