"""W3C trace context, level 1: one id that a request, its job, the job's steps and all their log lines share."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

__all__ = ["Trace"]

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True)
class Trace:
    """A place in a trace. `str` of it is the value of a `traceparent` header."""

    trace_id: str
    """32 hex digits, the same all along the way."""
    span_id: str
    """16 hex digits: what the next one is a part of."""
    flags: str = "00"
    """Two hex digits; bit 0: it was sampled by whoever began the trace."""

    @classmethod
    def new(cls) -> Trace:
        """The beginning of a trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    @classmethod
    def parse(cls, header: str | None) -> Trace | None:
        """What a `traceparent` header says; `None` if there is none, or none that the standard lets us go on from."""
        found = _FORM.fullmatch((header or "").strip())
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id, span_id, flags)

    def child(self) -> Trace:
        """The same trace, one step further."""
        return Trace(self.trace_id, secrets.token_hex(8), self.flags)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"
