"""The API behind a real gunicorn: large uploads, broken ones, streams, and how it starts and stops."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

from api.server import REQUESTS
from api.services import STREAMS
from burnish.recipe import JobSpec
from storage import datasets, events, jobs, models
from storage.database import Database
from storage.records import Job
from storage.steps import PlannedStep
from tests.api.serving import ROOT, Serving, environment, serving

MIB = 1 << 20
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serving")) as running:
        yield running


@pytest.fixture
def database(server: Serving) -> Iterator[Database]:
    with opened(server) as found:
        yield found


@contextmanager
def opened(server: Serving) -> Iterator[Database]:
    """A second way into a server's database."""
    with closing(Database(f"sqlite:///{server.folder / 'burnish.sqlite'}")) as database:
        yield database


def zeros(mebibytes: int) -> Iterator[bytes]:
    """A `.safetensors` of one array of zeros, piece by piece."""
    samples = mebibytes * MIB // 4096
    header = {"inputs": {"dtype": "F32", "shape": [samples, 1024], "data_offsets": [0, samples * 4096]}}
    text = json.dumps(header).encode()
    yield struct.pack("<Q", len(text)) + text
    piece = bytes(MIB)
    for _ in range(mebibytes):
        yield piece


def accepted(database: Database) -> Job:
    with database.begin() as tx:
        model = models.create(tx, name="net", digest="a" * 64, size=1, signature={})
        dataset = datasets.create(
            tx, name="samples", digest="b" * 64, size=1, format="npz", schema={}, samples=1, labelled=True
        )
        spec = JobSpec(model=model.id, dataset=dataset.id).model_dump(mode="json")
        return jobs.create(tx, spec=spec, model=model, dataset=dataset, priority=5)


def finish(database: Database, job: Job) -> None:
    with database.begin() as tx:
        jobs.request_cancel(tx, job.id)


def test_a_large_upload_is_streamed_with_little_memory_chunked_and_by_length(server: Serving) -> None:
    digest, size = hashlib.sha256(), 0
    for piece in zeros(200):
        digest.update(piece)
        size += len(piece)
    before = server.memory()
    chunked = httpx.post(f"{server.url}/v1/datasets?name=zeros", content=zeros(200), timeout=120)
    counted = httpx.post(
        f"{server.url}/v1/datasets?name=again", content=zeros(200), headers={"Content-Length": str(size)}, timeout=120
    )
    for response in (chunked, counted):
        assert response.status_code == 201, response.text
        assert (response.json()["digest"], response.json()["size"]) == (digest.hexdigest(), size)
    with httpx.stream("GET", f"{server.url}/v1/artifacts/{digest.hexdigest()}") as download:
        assert sum(len(chunk) for chunk in download.iter_raw()) == size
    assert server.memory() - before < 100 * 10**6


def test_an_upload_in_parts_takes_little_memory_too(server: Serving) -> None:
    data = b"".join(zeros(100))
    before = server.memory()
    order = {"kind": "dataset", "name": "parts", "size": len(data)}
    upload = httpx.post(f"{server.url}/v1/uploads", json=order).json()
    size = upload["part_size"]
    for number in range(1, upload["part_count"] + 1):
        part = data[(number - 1) * size : number * size]
        sent = httpx.put(f"{server.url}/v1/uploads/{upload['id']}/parts/{number}", content=part, timeout=120)
        assert sent.status_code == 200, sent.text
    made = httpx.post(f"{server.url}/v1/uploads/{upload['id']}/complete", timeout=120)
    assert (made.status_code, made.json()["size"]) == (201, len(data))
    assert made.json()["digest"] == hashlib.sha256(data).hexdigest()
    assert server.memory() - before < 60 * 10**6


def test_an_upload_that_breaks_off_leaves_no_row_and_no_blob(server: Serving) -> None:
    blobs_before = sorted(server.stored())
    rows_before = httpx.get(f"{server.url}/v1/datasets").json()
    head = "POST /v1/datasets?name=cut HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    counted = f"{head}Content-Length: 1000000\r\n\r\n".encode() + bytes(500_000)
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\nffff\r\n".encode() + bytes(1000)
    for sent in (counted, chunked):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        assert b" 400 " in answer.split(b"\r\n")[0]
        assert b"application/problem+json" in answer
    assert httpx.get(f"{server.url}/v1/datasets").json() == rows_before
    assert sorted(server.stored()) == blobs_before


def test_an_upload_over_the_limit_is_refused_before_it_is_all_read(tmp_path: Path) -> None:
    with serving(tmp_path, BURNISH_MAX_UPLOAD="1MB") as small:
        response = httpx.post(f"{small.url}/v1/datasets?name=x", content=bytes(1_100_000))
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
        assert small.stored() == []


def test_clients_that_stand_still_are_let_go_and_starve_nothing(tmp_path: Path) -> None:
    impatient = "import sys, api.server, api.__main__ as main; api.server.PATIENCE_SECONDS = 1; sys.exit(main.main())"
    half_head, half_body = b"GET /healthz HTT", b"POST /v1/models?name=x HTTP/1.1\r\nContent-Length: 99\r\n\r\nx"
    with serving(tmp_path, command=("-c", impatient)) as running, ExitStack() as stack:
        silent = []
        for sent in [half_head] * 10 + [half_body] * 8:
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", running.port))))
            silent[-1].sendall(sent)
        assert httpx.get(f"{running.url}/healthz", timeout=20).status_code == 200
        for connection in silent:
            connection.makefile("rb").read()  # until the server closes it
        assert running.stored() == []


def read_stream(url: str, headers: dict[str, str]) -> list[dict[str, str]]:
    """Every event of a stream until it ends."""
    with httpx.stream("GET", url, headers=headers, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream"), response.read()
        blocks = "".join(response.iter_text()).split("\n\n")
    events = [dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":") for block in blocks if block]
    return [event for event in events if "event" in event]


def test_a_stream_gives_events_as_they_come_and_ends_with_the_job(server: Serving, database: Database) -> None:
    job = accepted(database)
    with ThreadPoolExecutor() as pool:
        following = pool.submit(read_stream, f"{server.url}/v1/jobs/{job.id}/events", STREAM)
        with database.begin() as tx:
            jobs.plan(tx, job.id, [PlannedStep(name="capture", op="capture", spec={}, queue="cpu")])
        finish(database, job)
        events = following.result(60)
    kinds = [event["event"] for event in events]
    assert kinds[:3] == ["job.queued", "job.planned", "job.canceling"]
    assert kinds[-2:] == ["job.canceled", "end"]
    assert [int(event["id"]) for event in events[:-1]] == list(range(1, len(events)))
    assert json.loads(events[1]["data"])["data"] == {"steps": ["capture"]}
    assert json.loads(events[-1]["data"]) == {"state": "canceled"}


def test_a_stream_is_resumed_after_the_last_event_and_a_finished_one_is_not_opened_again(
    server: Serving, database: Database
) -> None:
    job = accepted(database)
    finish(database, job)
    url = f"{server.url}/v1/jobs/{job.id}/events"
    whole = read_stream(url, STREAM)
    rest = read_stream(url, STREAM | {"Last-Event-ID": whole[0]["id"]})
    assert rest == whole[1:]
    over = httpx.get(url, headers=STREAM | {"Last-Event-ID": whole[-2]["id"]})
    assert (over.status_code, over.content) == (204, b"")
    assert httpx.get(url, headers=STREAM | {"Last-Event-ID": "x"}).status_code == 400
    assert httpx.get(f"{server.url}/v1/jobs/job_none/events", headers=STREAM).status_code == 404


@contextmanager
def following(server: Serving, job: Job, *, receive_buffer: int = 0) -> Iterator[BinaryIO]:
    """A stream that has begun, up to the head of its answer; made without httpx, of which a client is slow to make."""
    with socket.socket() as connection:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"GET /v1/jobs/{job.id}/events HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            assert b" 200 " in answer.readline()
            yield answer


def read_until(answer: BinaryIO, wanted: bytes) -> list[int]:
    """Ids of the events up to a line that begins so."""
    ids = []
    for line in answer:
        if line.startswith(b"id: "):
            ids.append(int(line[4:]))
        if line.startswith(wanted):
            return ids
    raise AssertionError(f"the stream ended before {wanted!r}")


def tell(database: Database, job: Job, lines: int, size: int = 10) -> None:
    with database.begin() as tx:
        jobs.lock(tx, job.id)
        for _ in range(lines):
            events.add(tx, "log", {"line": "x" * size}, job_id=job.id)


def test_over_the_limit_of_streams_the_answer_says_to_poll(tmp_path: Path) -> None:
    few = "import sys, api.services, api.__main__ as main; api.services.STREAMS = 3; sys.exit(main.main())"
    with serving(tmp_path, command=("-c", few)) as running, opened(running) as database:
        job = accepted(database)
        url = f"{running.url}/v1/jobs/{job.id}/events"
        with ExitStack() as stack:
            for _ in range(3):
                read_until(stack.enter_context(following(running, job)), b"event: job.queued")
            refused = httpx.get(url, headers=STREAM)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
            assert "Poll" in refused.json()["cure"]
            assert httpx.get(url).status_code == 200
            finish(database, job)
        limit = time.monotonic() + 30
        while httpx.get(url, headers=STREAM).status_code == 503:  # until the server has noticed that they are closed
            assert time.monotonic() < limit


def test_two_hundred_streams_starve_no_request_and_all_get_everything(server: Serving, database: Database) -> None:
    assert STREAMS > 200
    followed = [accepted(database) for _ in range(4)]
    with ExitStack() as stack:
        streams = [stack.enter_context(following(server, followed[number % 4])) for number in range(200)]
        for answer in streams:
            read_until(answer, b"event: job.queued")
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for number in range(40):
                tell(database, followed[number % 4], 1)
                assert client.get(f"/v1/jobs/{followed[0].id}").status_code == 200
            sent = client.post("/v1/datasets?name=meanwhile", content=b"".join(zeros(1)))
            assert sent.status_code == 201, sent.text
        for job in followed:
            finish(database, job)
        for answer in streams:
            assert read_until(answer, b"event: end") == list(range(2, 13))


def test_a_client_that_takes_nothing_holds_no_stream_up_and_loses_nothing(server: Serving, database: Database) -> None:
    job = accepted(database)
    with following(server, job, receive_buffer=4096) as stalled, following(server, job) as other:
        for _ in range(20):  # 12 MB, more than the kernel buffers for a connection
            tell(database, job, 200, size=3000)
        finish(database, job)
        whole = list(range(1, 20 * 200 + 3))
        assert read_until(other, b"event: end") == whole
        assert read_until(stalled, b"event: end") == whole


def answers(server: Serving, within: float) -> bool:
    """Whether a request is answered in so many seconds."""
    try:
        return httpx.get(f"{server.url}/healthz", timeout=within).status_code == 200
    except httpx.ReadTimeout:
        return False


def test_sixteen_requests_are_worked_on_at_once_and_streams_are_none_of_them(
    server: Serving, database: Database
) -> None:
    job = accepted(database)
    half = b"POST /v1/recipes/check HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with following(server, job) as stream, ExitStack() as stack:
        read_until(stream, b"event: job.queued")
        for _ in range(REQUESTS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(half)
        limit = time.monotonic() + 30
        while answers(server, within=2):  # until all of them are at work
            assert time.monotonic() < limit
        tell(database, job, 1)
        read_until(stream, b"event: log")
        connection.close()
        assert answers(server, within=60)


def test_stopping_waits_for_no_stream(tmp_path: Path) -> None:
    with serving(tmp_path) as running, opened(running) as database, ExitStack() as stack:
        job = accepted(database)
        for _ in range(30):
            read_until(stack.enter_context(following(running, job)), b"event: job.queued")
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        assert time.monotonic() - began < 10


def test_the_log_names_no_address_of_requests(server: Serving) -> None:
    httpx.get(f"{server.url}/v1/models/mdl_secret_in_the_address")
    assert "mdl_secret" not in (server.folder / "api.log").read_text()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.0.2.1:8520", "[::]:0"])
def test_it_refuses_to_be_open_to_the_network(tmp_path: Path, listen: str) -> None:
    variables = environment(tmp_path, 0, BURNISH_LISTEN=listen)
    run = subprocess.run([sys.executable, "-P", "-m", "api"], env=variables, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 2
    assert "BURNISH_TOKENS" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_setting_that_cannot_be_used_is_named_at_start(tmp_path: Path) -> None:
    variables = environment(tmp_path, 0, BURNISH_MAX_UPLOAD="much")
    run = subprocess.run([sys.executable, "-P", "-m", "api"], env=variables, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 2
    assert "BURNISH_MAX_UPLOAD" in run.stderr
