"""Keeps the blob store small: removes what nothing refers to, and evicts results when the cache is over its size.

One run does a bounded amount of work, each piece in a transaction of its own, and may be cut short anywhere. Two that
run at once do no harm: each piece is looked at again under its lock.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete

from storage import eviction, removal
from storage.blobs import BlobStore
from storage.database import Database
from storage.tables import holds

__all__ = ["Collected", "Collector"]

_LAPSED = 86400.0
"""Seconds after which a hold of a writer that never came back is forgotten."""


@dataclass(frozen=True)
class Collected:
    """What one run did."""

    evicted: int
    """Computations that are no hit any more."""
    removed: int
    """Blobs."""
    freed: int
    """Bytes of those."""
    over: int
    """Bytes that the cache is still over its size: the next run goes on, or all of it is needed."""


class Collector:
    """One run is `once`."""

    def __init__(self, database: Database, blobs: BlobStore, *, keep: float, size: int) -> None:
        """`keep`: seconds since nothing referred to a blob, after which it is removed. `size`: most bytes of results in
        the store (uploads don't count); 0 is no limit."""
        self._database, self._blobs = database, blobs
        self._keep, self._size = keep, size

    def once(self, limit: int = 1000) -> Collected:
        """Evicts up to `limit` computations and removes up to `limit` blobs.

        Raises:
            Unavailable: SQL or the store is away. What was done till then stays done.
        """
        evicted, over = self._evict(limit) if self._size else (0, 0)
        removed, freed = self._remove(limit)
        return Collected(evicted=evicted, removed=removed, freed=freed, over=over)

    def _evict(self, limit: int) -> tuple[int, int]:
        with self._database.read() as tx:
            over = eviction.cache_size(tx) - self._size
            keys = eviction.cheapest(tx, limit) if over > 0 else []
        count = 0
        for key in keys:
            if over <= 0:
                break
            with self._database.begin() as tx:
                freed = eviction.evict(tx, key)
            if freed is not None:
                count, over = count + 1, over - freed
        return count, max(0, over)

    def _remove(self, limit: int) -> tuple[int, int]:
        with self._database.begin() as tx:
            tx.execute(delete(holds).where(holds.c.until < tx.now - _LAPSED))
            before = tx.now - self._keep
            digests = removal.removable(tx, before=before, limit=limit)
        count = freed = 0
        for digest in digests:
            with self._database.begin() as tx:
                size = removal.remove(tx, self._blobs, digest, before=before)
            if size is not None:
                count, freed = count + 1, freed + size
        return count, freed
