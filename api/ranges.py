"""HTTP ranges (RFC 9110, 14): one range per request; of several, or in another unit, the whole is sent."""

from __future__ import annotations

import re

from api.errors import Refused

__all__ = ["range_of"]

_ONE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; `None` to send the whole.

    Raises:
        Refused: nothing of the range is inside the file (416).
    """
    match = _ONE.fullmatch(header or "")
    if match is None or match[1] == match[2] == "":
        return None
    first, last = match[1], match[2]
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Refused(416, f"The file has {size} bytes; the range lies outside.", headers=headers)
    return start, end
