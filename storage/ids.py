"""Ids of rows: a prefix that names the kind, and 26 characters that sort by time of creation."""

from __future__ import annotations

import secrets
import time
from typing import Literal

__all__ = ["Prefix", "new_id"]

Prefix = Literal["mdl", "dst", "job", "wrk", "hld", "upl", "sch", "frg", "als", "whk", "evt", "dlv"]
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: sorts the same in every collation, and holds no i, l, o, u to misread."""
_RANDOM_BITS = 78
_LENGTH = 26


def new_id(prefix: Prefix) -> str:
    """A fresh id such as `job_06gq2v…`: 52 bits of microseconds (until the year 2112), then 78 random bits."""
    number = (time.time_ns() // 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    digits = [_ALPHABET[number >> (5 * place) & 31] for place in reversed(range(_LENGTH))]
    return f"{prefix}_{''.join(digits)}"
