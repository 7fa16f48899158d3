"""What the supervisor runs, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One child process. Parts start in the order of their list and stop in the reverse one."""

    name: str
    """Also the name of its log: `<data>/logs/<name>.log`."""
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Its whole environment."""
    once: bool = False
    """Runs to its end before the next part starts, and must succeed. All parts before it must be ready first."""
    ready: Callable[[], bool] | None = None
    """Asked again and again until it says yes; the service is ready when every part is. None: ready when started."""
    mend: Callable[[], None] | None = None
    """Called when it ended before it was ever ready, before it is started again: what may be lost is put aside."""
    stop_seconds: float = 10.0
    """How long it may take to end after SIGTERM; then its process group is killed."""
