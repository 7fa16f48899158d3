"""Caching: what would be computed again is computed once. One file for each kind; this one picks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch.export import ExportedProgram

from burnish.passes import Cache
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.cache_constants import precompute
from workers.passes.cache_memo import remember
from workers.passes.cache_state import carry, obstacles

__all__ = ["CachePass"]


class CachePass(Pass[Cache]):
    """Kinds: `constants` (`cache_constants.py`), `state` (`cache_state.py`) and `memo` (`cache_memo.py`)."""

    settings = Cache
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    def requires(self, program: ExportedProgram, settings: Cache) -> Sequence[str]:
        return obstacles(program, settings) if settings.kind == "state" else []

    def apply(self, program: ExportedProgram, settings: Cache, context: PassContext) -> Applied:
        kinds = {"constants": precompute, "state": carry, "memo": remember}
        return kinds[settings.kind](program, settings, context)
