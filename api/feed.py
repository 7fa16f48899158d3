"""New events of the jobs that somebody follows: one thread asks SQL for all of them.

1. While nobody follows, nothing is asked.
2. Each round is one statement for all followed jobs (`storage/news.py`), however many streams there are.
3. An event is rendered once, and kept for a while for all streams of its job. What is kept has one limit for all jobs.
4. A stream holds one portion at a time, which its client has yet to take. One that wants events from before those kept
   (it begins with the history, or its client was slow) reads SQL by itself until it has caught up.
5. While SQL is away, streams stay open and go on when it is back.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from api.documents import event_resource
from burnish.errors import BurnishError
from storage import events, news
from storage.database import Database
from storage.news import News
from storage.records import Event, Job, JobState

__all__ = ["CATCHING_UP", "Feed", "Follower"]

_ROUND_SECONDS = 0.2
_AWAY_SECONDS = 2.0
"""Until SQL is asked again after it did not answer."""
_READ = 2000
"""Most events of a round, of all jobs together."""
_KEPT = 8 << 20
"""Bytes of rendered events that are kept, of all jobs together."""
_PORTION = 64 << 10
"""Bytes that a stream is given at a time; more only if one event has more."""
_HISTORY = 100
"""Events that a stream reads by itself at a time."""
CATCHING_UP = 2
"""Streams that read SQL by themselves at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Frame:
    """An event as it is sent."""

    id: int
    body: bytes

    @classmethod
    def of(cls, event: Event) -> _Frame:
        """JSON has no line breaks outside of escapes, so one `data` line holds it."""
        data = event_resource(event).model_dump_json()
        return cls(event.id, f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode())


class _Kept:
    """The newest events of one job: those with ids above `start`, up to `newest`. The feed's lock guards it."""

    def __init__(self, job: Job, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.streams = 0
        self.frames: list[_Frame] = []
        self.start = self.newest = job.revision
        self.over: JobState | None = job.state if job.finished_at is not None else None
        """The state of the job after the newest event, if it is finished."""
        self.closed = False
        """Nothing comes any more, whatever the state of the job."""
        self._size = 0

    def learn(self, told: News, frames: list[_Frame], room: int) -> None:
        """Takes in what a round brought, and keeps as many bytes as there is room."""
        if frames:
            self.frames += frames
            self._size += sum(len(frame.body) for frame in frames)
            self.newest = frames[-1].id
            finished = told.finished_at is not None and self.newest == told.revision
            self.over = told.state if finished else None
            self.changed.notify_all()
        leaving = 0
        while self._size > room:
            self._size -= len(self.frames[leaving].body)
            self.start = self.frames[leaving].id
            leaving += 1
        del self.frames[:leaving]

    def close(self) -> None:
        """Ends its streams."""
        self.closed = True
        self.changed.notify_all()


class Follower:
    """One stream's place in the events of a job."""

    def __init__(self, feed: Feed, job_id: str, kept: _Kept, after: int) -> None:
        self._feed = feed
        self._job_id = job_id
        self._kept = kept
        self._after = after
        self.over: JobState | None = None
        """The end of the job, as soon as all its events were given."""

    def next(self, seconds: float) -> bytes | None:
        """The events that come next, as they are sent: some of them, in order. Empty if there is none for so long,
        and `None` at the end: the job is finished, or the feed was stopped."""
        kept = self._kept
        with kept.changed:
            kept.changed.wait_for(self._concerned, seconds)
            if kept.closed:
                return None
            if self._after >= kept.start:
                first = bisect_right(kept.frames, self._after, key=lambda frame: frame.id)
                body = self._portion(islice(kept.frames, first, None))
                if not body and self._at_end():
                    self.over = kept.over
                    return None
                return body
        history = self._feed.history(self._job_id, self._after, seconds)
        return self._portion(map(_Frame.of, history))

    def _concerned(self) -> bool:
        kept = self._kept
        return kept.closed or self._after < kept.newest or self._at_end()

    def _at_end(self) -> bool:
        # Not beyond it: the stream has then read SQL later than the feed has, and the job may have been tried again.
        return self._kept.over is not None and self._after == self._kept.newest

    def _portion(self, frames: Iterable[_Frame]) -> bytes:
        taken: list[bytes] = []
        size = 0
        for frame in frames:
            size += len(frame.body)
            if taken and size > _PORTION:
                break
            taken.append(frame.body)
            self._after = frame.id
        return b"".join(taken)


class Feed:
    """Those of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._jobs: dict[str, _Kept] = {}
        self._reader: threading.Thread | None = None
        self._stopping = threading.Event()
        self._catching_up = threading.BoundedSemaphore(CATCHING_UP)

    @contextmanager
    def follow(self, job: Job, after: int) -> Iterator[Follower]:
        """Follows a job from the event after this one for as long as the block lasts.

        Args:
            job: as it was read just now.
            after: id of the last event that the client has.
        """
        with self._lock:
            kept = self._jobs.setdefault(job.id, _Kept(job, self._lock))
            kept.streams += 1
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="events", daemon=True)
                self._reader.start()
        try:
            yield Follower(self, job.id, kept, min(after, job.revision))
        finally:
            with self._lock:
                kept.streams -= 1
                if not kept.streams and self._jobs.get(job.id) is kept:
                    del self._jobs[job.id]

    def history(self, job_id: str, after: int, seconds: float) -> list[Event]:
        """The next events from SQL, some of them. None if SQL is away, or busy with other streams for so long."""
        if not self._catching_up.acquire(timeout=seconds):
            return []
        try:
            with self._database.read() as tx:
                return events.of_job(tx, job_id, after, _HISTORY)
        except BurnishError as error:
            self._away(error)
            return []
        finally:
            self._catching_up.release()

    def stop(self) -> None:
        """Ends all streams. To be called from a signal handler too."""
        self._stopping.set()

    def _read(self) -> None:
        try:
            while seen := self._followed():
                if not self._round(seen):
                    self._stopping.wait(_ROUND_SECONDS)
        finally:
            self._leave()

    def _followed(self) -> dict[str, int]:
        """The jobs that are followed, and how far each is read. None at the end."""
        with self._lock:
            if not self._jobs:
                self._reader = None  # who follows next starts another
            return {} if self._stopping.is_set() else {job_id: kept.newest for job_id, kept in self._jobs.items()}

    def _round(self, seen: dict[str, int]) -> bool:
        """Asks once; whether there is more."""
        try:
            with self._database.read() as tx:
                found = news.since(tx, seen, max(1, _READ // len(seen)))
        except BurnishError as error:
            self._away(error)
            return False
        frames = {job_id: [*map(_Frame.of, told.events)] for job_id, told in found.items()}
        with self._lock:
            room = _KEPT // len(seen)
            for job_id, newest in seen.items():
                kept = self._jobs.get(job_id)
                if kept is None or kept.newest != newest:
                    continue  # left, and perhaps followed again, since this round began
                if job_id in found:
                    kept.learn(found[job_id], frames[job_id], room)
                else:
                    kept.close()  # the job was removed
        return any(told.events and told.events[-1].id < told.revision for told in found.values())

    def _away(self, error: BurnishError) -> None:
        _log.warning("events can't be read, streams wait: %s", error)
        self._stopping.wait(_AWAY_SECONDS)

    def _leave(self) -> None:
        """The end of the reader, for whatever reason: no stream may wait for what nobody reads."""
        with self._lock:
            if self._reader is threading.current_thread():
                self._reader = None
                for kept in self._jobs.values():
                    kept.close()
                self._jobs.clear()
