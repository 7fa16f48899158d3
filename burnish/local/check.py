"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """Something that was looked at."""

    name: str
    """What was looked at, in a word or two."""
    ok: bool
    """False: something that is wanted will not work."""
    detail: str
    """What was found."""
    cure: str = ""
    """What to do about it, as an imperative sentence; empty if it is well."""
