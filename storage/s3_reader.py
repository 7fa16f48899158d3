"""An S3 object as a seekable file that fetches only what is read."""

from __future__ import annotations

import io
from collections.abc import Callable

ReadRange = Callable[[int, int], bytes]
"""Gives an object's bytes from the first to before the second offset."""

BUFFER = 256 << 10
"""Bytes fetched at least: a zip's directory and a header come in one or two requests."""


class RangeReader(io.RawIOBase):
    """Reads of `size` bytes in all through `read_range`. Wrap it in a `BufferedReader`."""

    def __init__(self, read_range: ReadRange, size: int) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # RawIOBase promises a writable buffer
        end = min(self._position + len(view), self._size)
        if end <= self._position:
            return 0
        data = self._read_range(self._position, end)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
