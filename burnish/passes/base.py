"""What every pass's settings state besides their fields. The work itself is in `workers/passes/<name>.py`."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from burnish.document import Document

__all__ = ["Need", "PassSettings"]

Need = Literal["calibration", "labels"]
"""`calibration`: reads the calibration part of the dataset. `labels`: reads its targets too."""


class PassSettings(Document):
    """Base of `burnish.Prune`, `burnish.Distill`, …: typed settings, and the facts that the order check reads."""

    name: ClassVar[str]
    """The key in a recipe: `- prune: {…}`."""
    summary: ClassVar[str]
    """One sentence for the catalogue: what it does and when to use it."""
    understands: ClassVar[str]
    """The operators that it treats, for the catalogue. Others are left alone, each with the reason in the report."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What of the dataset it reads, whatever its settings."""
    may_need: ClassVar[frozenset[Need]] = frozenset()
    """What it reads besides with some settings: `reads` tells for those at hand."""
    never_after: ClassVar[frozenset[str]] = frozenset()
    """Names of passes that may not stand anywhere before this one, since their result can't be treated by it."""

    @classmethod
    def may_follow(cls, earlier: type[PassSettings]) -> bool:
        """True if this pass may stand somewhere after `earlier`."""
        return earlier.name not in cls.never_after

    def conflict_with(self, earlier: PassSettings) -> str | None:
        """Why it may not stand in one recipe with an earlier pass, where names alone don't tell; `None`: it may."""
        return None

    def reads(self) -> frozenset[Need]:
        """What of the dataset it reads with these settings."""
        return self.needs

    def least_size_factor(self) -> float:
        """The smallest share of the parameters' bytes that this pass can leave, for spotting goals out of reach."""
        return 1.0

    def wants_profile(self) -> bool:
        """True if it decides by the measured time or sensitivity of each layer: the job then has a `profile` step."""
        return False

    def wants_student(self) -> str | None:
        """Reference of another uploaded model that it reads: the job then captures that, too."""
        return None

    def shrunk(self) -> Self:
        """The same treatment with the least work that still shows whether it can be done, for the pre-flight."""
        return self

    def work(self, samples: int) -> float:
        """How its running time grows with the calibration samples and its own settings, in a unit of its own."""
        return float(samples) if self.needs else 1.0
