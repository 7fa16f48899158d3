"""What a job's result is held against: the artifact that an alias stood for when the job was made.

It takes part as one more contender, `champion@<backend>`: verified on the same held-out data, and measured in one run
with the result. It is no candidate of the verdict, which says what the job itself came to; the two are compared by
`workers/promotion.py`. A job that only measures it again has no other contender, and the verdict is about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from burnish.results import Artifact
from storage.firings import Firing

__all__ = ["CHAMPION", "Champion", "Contest", "contest_of"]

CHAMPION = "champion"
"""Variant of the contender."""


@dataclass(frozen=True)
class Champion:
    """What the alias stood for."""

    entry: str
    """Id of the alias's entry."""
    artifact: Artifact
    candidate: str
    """What it was called in the verdict of its own job."""

    @property
    def contender(self) -> str:
        """Its name in this job."""
        return f"{CHAMPION}@{self.artifact.backend}"


@dataclass(frozen=True)
class Contest:
    """Why a champion takes part."""

    model: str
    """Name, without version."""
    alias: str
    remeasures: bool
    """True if the job makes nothing itself."""
    champion: Champion | None
    """`None` if the alias stood for nothing."""


def contest_of(firing: Firing | None) -> Contest | None:
    """The contest of the job that this firing made; `None` if it has none."""
    if firing is None or firing.contest is None:
        return None
    told, known = firing.contest, firing.contest["champion"]
    champion = None
    if known is not None:
        champion = Champion(known["entry"], Artifact.model_validate(known["artifact"]), known["candidate"])
    return Contest(told["model"], told["alias"], told["kind"] == "remeasure", champion)
