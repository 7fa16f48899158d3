"""Why attempts failed: the entries of a computation's `reasons`, which the job's page and its error show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import WorkerLost
from storage.records import Computation

__all__ = ["counted_with", "lost", "reason_of"]


def counted_with(found: Computation, reason: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that tell of one more failure, for this reason."""
    return {"failures": found.failures + 1, "reasons": [*found.reasons, dict(reason)]}


def reason_of(found: Computation, now: float) -> dict[str, Any]:
    """What every reason names: which attempt it was, where and when."""
    return {"attempt": found.attempt, "worker": found.worker, "at": now, "started_at": found.started_at}


def lost(found: Computation, now: float) -> dict[str, Any]:
    """Why a lapsed attempt counts as failed, with its last sign of life."""
    silent = now - (found.seen_at or now)
    last = f"{found.progress:.0%} {found.doing or 'nothing told'}"
    error = WorkerLost(
        f"Worker {found.worker} gave no sign of life for {silent:.0f} s during {found.op} (last: {last}).",
        cure="Look at that worker's log for a crash, a kill for memory, or a lost connection; then retry the job.",
    )
    signs = {"seen_at": found.seen_at, "progress": found.progress, "doing": found.doing}
    details = {"settings": found.spec.get("settings")}
    return {**reason_of(found, now), **signs, "error": {**error.document(), "details": details}}
