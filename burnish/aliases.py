"""The documents of aliases: names such as `production` for one artifact of all that a model has."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from burnish.document import Document
from burnish.results import Artifact

__all__ = ["AliasChange", "AliasEntryResource", "AliasResource"]


class AliasEntryResource(Document):
    """One entry of an alias's history: what it stood for from then on."""

    id: str
    action: Literal["set", "promoted", "rolled_back"]
    reason: str
    """Why, in words."""
    artifact: Artifact
    candidate: str
    """Name of the candidate in the job's verdict."""
    job: str
    """The job that made it."""
    model_version: str
    """`name:version` of the model that it was made from."""
    at: datetime
    kept: bool
    """Its bytes are kept in the store, so that a rollback can come to it."""


class AliasResource(Document):
    """What an alias of a model's name stands for now."""

    model: str
    """Name of the model, for all its versions."""
    alias: str
    revision: int
    """Grows with each change."""
    entry: AliasEntryResource
    previous: str | None
    """Digest of the artifact that a rollback would bring back."""
    links: dict[str, str]
    """`artifact` is the stable address of the bytes."""


class AliasChange(Document):
    """What an alias is to stand for: an artifact of a job that has succeeded."""

    job: str = Field(min_length=1, max_length=100)
    artifact: str | None = Field(None, min_length=1, max_length=200)
    """Digest of the artifact or name of the candidate; by default the one that the job chose."""
    reason: str | None = Field(None, min_length=1, max_length=500)
    """Kept in the history."""
