"""Tells how long the blob store takes, per operation."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from storage.blobs import BlobStore

__all__ = ["OPERATIONS", "timed"]

OPERATIONS = ("put", "put_file", "open", "fetch", "reader", "size", "delete")
"""`put` lasts as long as the client sends; `open` until the first byte can be read."""


def timed(store: BlobStore, told: Callable[[str, float], None]) -> BlobStore:
    """The same store; `told` gets operation and seconds of each call, failed ones included."""
    return cast(BlobStore, _Timed(store, told))


class _Timed:
    """Everything is passed on, so that a store may have more methods than are timed."""

    def __init__(self, store: BlobStore, told: Callable[[str, float], None]) -> None:
        self._store = store
        self._told = told

    @property  # type: ignore[misc]  # what it has to tell when it is asked for a protocol of `storage.blobs`
    def __class__(self) -> type:
        return type(self._store)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._around(name, method) if name in OPERATIONS else method

    def _around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self._told(name, time.perf_counter() - began)

        return call
