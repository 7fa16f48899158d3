"""A job as it is submitted."""

from __future__ import annotations

from pydantic import Field

from burnish.document import Document
from burnish.recipe.recipe import Recipe

__all__ = ["JobSpec"]


class JobSpec(Document):
    """Model + dataset + recipe or goal + target, submitted once."""

    model: str = Field(min_length=1, max_length=200)
    """Id of an uploaded model (`mdl_…`), or its name (the newest version) or `name:version`."""
    dataset: str = Field(min_length=1, max_length=200)
    """Id of an uploaded dataset (`dst_…`) or its name (the newest one)."""
    recipe: Recipe = Recipe()
    priority: int = Field(5, ge=0, le=9)
    """0 runs first, 9 last."""
