"""The base of every typed document that crosses a boundary: frozen, closed, canonical as JSON."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Document", "canonical_json"]


class Document(BaseModel):
    """Frozen, and an unknown key is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN. What digests and cache keys are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
