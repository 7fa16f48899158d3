"""Many streams, one reader: what it asks, and that each stream is given every event once and in order."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

import api.feed
import api.streams
from api.feed import Feed
from api.streams import stream
from burnish.errors import Unavailable
from storage import events, jobs
from storage.database import Database, Transaction
from storage.records import Job
from tests.api.place import Place

SOON = 60.0
"""Longest wait for what should happen at once."""


@contextmanager
def feeding(database: Database) -> Iterator[Feed]:
    """A feed of the test's own, which has given back its connection at the end."""
    made = Feed(database)
    try:
        yield made
    finally:
        made.stop()
        if reader := made._reader:
            reader.join(SOON)


@pytest.fixture
def feed(place: Place) -> Iterator[Feed]:
    with feeding(place.database) as made:
        yield made


def current(place: Place, job: Job) -> Job:
    """The job as SQL has it now."""
    with place.database.read() as tx:
        return jobs.get(tx, job.id)


def tell(place: Place, job: Job, count: int = 1) -> None:
    """Adds log lines in one transaction."""
    with place.database.begin() as tx:
        jobs.lock(tx, job.id)
        for number in range(count):
            events.add(tx, "log", {"line": f"line {number}"}, job_id=job.id)


def cancel(place: Place, job: Job) -> None:
    with place.database.begin() as tx:
        jobs.request_cancel(tx, job.id)


def ids_of(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]


def end_of(text: str) -> str | None:
    """The state that the last event of a stream names."""
    found = re.search(r"event: end\ndata: (.*)\n\n\Z", text)
    return json.loads(found[1])["state"] if found else None


class Client:
    """Reads a stream to its end in a thread of its own."""

    def __init__(self, feed: Feed, job: Job, after: int = 0) -> None:
        self._changed = threading.Condition()
        self._text = ""
        self._ended: Future[None] = Future()
        threading.Thread(target=self._read, args=(stream(feed, job, after),), daemon=True).start()

    def _read(self, body: Iterator[bytes]) -> None:
        for part in body:
            with self._changed:
                self._text += part.decode()
                self._changed.notify_all()
        self._ended.set_result(None)

    def has(self, id: int) -> None:
        """Waits until it has the event."""
        with self._changed:
            assert self._changed.wait_for(lambda: id in ids_of(self._text), SOON), self._text

    def all(self) -> str:
        """Waits for the end of the stream."""
        self._ended.result(SOON)
        return self._text


class Statements:
    """What a database is asked from now on, and by which threads."""

    def __init__(self, database: Database) -> None:
        self._changed = threading.Condition()
        self.transactions = 0
        self.selects: list[str] = []
        self.threads: set[threading.Thread] = set()
        event.listen(database._engine, "begin", self._begun)
        event.listen(database._engine, "before_cursor_execute", self._asked)

    def _begun(self, connection: Any) -> None:
        with self._changed:
            self.transactions += 1

    def _asked(self, connection: Any, cursor: Any, statement: str, *_: object) -> None:
        with self._changed:
            self.threads.add(threading.current_thread())
            if statement.startswith("SELECT"):
                self.selects.append(statement)
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Until there were so many queries more, and the transaction of the last is over."""
        with self._changed:
            until = len(self.selects) + count
            assert self._changed.wait_for(lambda: len(self.selects) >= until, SOON)


@pytest.mark.parametrize("clients", [1, 2, 24])
def test_streams_cost_one_statement_a_round_however_many_they_are(place: Place, feed: Feed, clients: int) -> None:
    followed = [place.job(name=f"net{number}") for number in range(min(clients, 4))]
    reading = [Client(feed, followed[number % len(followed)]) for number in range(clients)]
    for client in reading:
        client.has(1)
    statements = Statements(place.database)
    statements.wait(5)
    (reader,) = statements.threads
    assert reader.name == "events"
    assert abs(statements.transactions - len(statements.selects)) <= 1  # the one that is under way
    for job in followed:
        cancel(place, job)
    for client in reading:
        assert end_of(client.all()) == "canceled"
    assert statements.threads - {reader, threading.current_thread()} == set()


def test_while_nobody_follows_nothing_is_asked(place: Place, feed: Feed) -> None:
    job = place.job()
    statements = Statements(place.database)
    for _ in range(2):
        with closing(stream(feed, current(place, job), 0)) as body:
            assert next(body) == b"retry: 2000\n\n"
            assert ids_of(next(body).decode()) == [1]
            statements.wait(1)
        for reader in statements.threads - {threading.current_thread()}:
            reader.join(SOON)
            assert not reader.is_alive()


def test_a_late_follower_gets_everything_once_and_in_order(place: Place, feed: Feed) -> None:
    job = place.job()
    reading = []
    for _ in range(6):
        tell(place, job, 70)
        now = current(place, job)
        reading += [Client(feed, now), Client(feed, now, after=now.revision // 2), Client(feed, now, now.revision)]
        tell(place, job, 1)
    cancel(place, job)
    last = current(place, job).revision
    for number, client in enumerate(reading):
        text = client.all()
        known = 1 + 70 + 71 * (number // 3)
        first = [1, known // 2 + 1, known + 1][number % 3]
        assert ids_of(text) == list(range(first, last + 1))
        assert end_of(text) == "canceled"


def test_a_stalled_client_holds_nobody_up_and_loses_nothing(
    place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.feed, "_KEPT", 2000)  # bytes: what it misses does not stay
    job = place.job()
    stalled = stream(feed, job, 0)
    assert ids_of("".join(next(stalled).decode() for _ in range(2))) == [1]
    other = Client(feed, job)
    for _ in range(5):
        tell(place, job, 30)
        other.has(current(place, job).revision)
    cancel(place, job)
    whole = list(range(1, current(place, job).revision + 1))
    assert ids_of(other.all()) == whole
    rest = b"".join(stalled).decode()
    assert ids_of(rest) == whole[1:]
    assert end_of(rest) == "canceled"


def test_what_is_kept_and_what_a_stream_holds_are_bounded(
    place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.feed, "_KEPT", 4000)
    monkeypatch.setattr(api.feed, "_PORTION", 1000)
    job, idle = place.job(), place.job(name="idle")
    with feed.follow(job, 0) as follower, feed.follow(idle, 1):
        longest = len(follower.next(SOON) or b"")
        tell(place, job, 100)
        while follower._after < 101:
            longest = max(longest, len(follower.next(SOON) or b""))
            kept = feed._jobs[job.id]
            assert sum(len(frame.body) for frame in kept.frames) <= 2000  # half: two jobs share it
    assert 0 < longest <= 1000


def test_a_round_takes_a_bounded_number_of_events_and_goes_on_at_once(
    place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.feed, "_READ", 10)
    monkeypatch.setattr(api.feed, "_ROUND_SECONDS", SOON)
    job = place.job()
    tell(place, job, 95)
    cancel(place, job)
    with feed.follow(job, 1) as follower:  # as it was before: all the rest comes from the reader
        parts = list(iter(lambda: follower.next(SOON), None))
    assert ids_of(b"".join(parts).decode()) == list(range(2, 98))
    assert follower.over == "canceled"


def test_a_job_that_is_tried_again_meanwhile_is_followed_to_its_end(place: Place, feed: Feed) -> None:
    job = place.job()
    cancel(place, job)
    ended = current(place, job)
    with place.database.begin() as tx:
        jobs.retry(tx, job.id)
    client = Client(feed, ended)  # it was read before
    client.has(ended.revision + 1)
    cancel(place, job)
    text = client.all()
    assert ids_of(text) == list(range(1, current(place, job).revision + 1))
    assert text.count("event: end") == 1


def test_an_id_that_there_is_not_yet_counts_as_the_newest(place: Place, feed: Feed) -> None:
    job = place.job()
    client = Client(feed, job, after=999)
    tell(place, job)
    client.has(2)
    cancel(place, job)
    assert ids_of(client.all()) == [2, 3]


def test_a_quiet_stream_says_that_it_is_there(place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.streams, "_HEARTBEAT_SECONDS", 0.01)
    with closing(stream(feed, place.job(), 1)) as body:
        assert [next(body), next(body)] == [b"retry: 2000\n\n", b": still there\n\n"]


def test_a_stream_ends_after_its_longest_time_to_be_resumed(
    place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.streams, "_LONGEST_SECONDS", 0.0)
    assert list(stream(feed, place.job(), 0)) == [b"retry: 2000\n\n"]


def test_streams_end_when_the_process_stops(place: Place, feed: Feed) -> None:
    job = place.job()
    clients = [Client(feed, job), Client(feed, job)]
    for client in clients:
        client.has(1)
    feed.stop()
    for client in [*clients, Client(feed, job, 1)]:
        assert end_of(client.all()) is None


class _Leaving(Database):
    """A database that is away when it is told so."""

    away = False

    def read(self) -> AbstractContextManager[Transaction]:
        return self._gone() if self.away else super().read()

    @contextmanager
    def _gone(self) -> Iterator[Transaction]:
        raise Unavailable("The database did not answer.", cure="Start it.")
        yield


def test_streams_outlast_a_database_that_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api.feed, "_AWAY_SECONDS", 0.01)
    job = place.job()
    tell(place, job, 5)
    with closing(_Leaving(place.settings.database_url)) as database, feeding(database) as feed:
        live, behind = stream(feed, job, 1), stream(feed, current(place, job), 0)
        next(live), next(behind)
        database.away = True
        assert next(behind) == b": still there\n\n"  # it can't read the history
        tell(place, job)
        database.away = False
        cancel(place, job)
        assert ids_of(b"".join(live).decode()) == list(range(2, 9))
        assert ids_of(b"".join(behind).decode()) == list(range(1, 9))
    assert "events can't be read" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_stream_waits_for_a_reader_that_broke(place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = place.job()
    client = Client(feed, job)
    client.has(1)
    with monkeypatch.context() as broken:
        broken.setattr(api.feed, "_Frame", None)
        tell(place, job)
        assert end_of(client.all()) is None
    again = Client(feed, current(place, job), after=1)
    again.has(2)
    cancel(place, job)
    assert end_of(again.all()) == "canceled"


def test_streams_of_a_job_that_was_removed_end(place: Place, feed: Feed) -> None:
    job = place.job()
    client = Client(feed, job)
    client.has(1)
    with place.database.begin() as tx:
        tx.execute(text("DELETE FROM events"))
        tx.execute(text("DELETE FROM jobs"))
    assert end_of(client.all()) is None


def test_streams_that_catch_up_leave_connections_to_others(place: Place, feed: Feed) -> None:
    """Never more at once than `CATCHING_UP`, each of whom reads a long history."""
    job = place.job()
    tell(place, job, 1000)
    cancel(place, job)
    now = current(place, job)
    most = 0

    def count(*_: object) -> None:
        nonlocal most
        most = max(most, place.database._engine.pool.checkedout())  # type: ignore[attr-defined]

    event.listen(place.database._engine, "before_cursor_execute", count)
    with ThreadPoolExecutor(20) as pool:
        bodies = list(pool.map(lambda _: b"".join(stream(feed, now, 0)), range(20)))
    assert all(ids_of(body.decode()) == list(range(1, 1003)) for body in bodies)
    assert most <= api.feed.CATCHING_UP + 1
