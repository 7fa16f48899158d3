"""Why a cache key hit or missed: how it differs from the nearest earlier key of the same operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select

from storage.database import Transaction
from storage.records import ComputationState
from storage.tables import computations

__all__ = ["explain"]

_LOOKED_AT = 20
"""Newest computations of the operation to compare with."""


_EARLIER = (
    select(computations.c.key, computations.c.key_parts)
    .where(computations.c.op == bindparam("of"), computations.c.key != bindparam("own"))
    .order_by(computations.c.created_at.desc())
    .limit(bindparam("most"))
)


def explain(
    tx: Transaction, op: str, key: str, key_parts: Mapping[str, Any], known: ComputationState | None
) -> dict[str, Any]:
    """What a step shows about its key.

    Args:
        known: state of the key's computation before the step was bound to it; `None` if there was none.

    Returns:
        `{"known": state}` if the key existed, else `{"nearest": key, "differs": [names of key parts]}`, where nearest
        is the earlier computation of that operation that differs in the fewest parts; both `None` and `[]` if it is the
        first.
    """
    if known is not None:
        return {"known": known, "nearest": key, "differs": []}
    earlier = tx.execute(_EARLIER, {"of": op, "own": key, "most": _LOOKED_AT})
    apart = [(_differing(key_parts, row.key_parts), row.key) for row in earlier]
    differs, nearest = min(apart, key=lambda pair: len(pair[0]), default=([], None))
    return {"known": None, "nearest": nearest, "differs": differs}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
