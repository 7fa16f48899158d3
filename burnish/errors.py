"""The one error tree. Every error has a stable code, a class that decides on retries, and says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

ErrorClass = Literal["user", "resource", "internal"]
"""`user` is never retried. `resource` and `internal` are, with a growing pause, by any worker and with the same
settings; a step that ran past its time is not."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with what the user sent."""

    where: str
    """JSON pointer into the document (`/recipe/passes/0/prune/ratio`), or the member or tensor at fault."""
    message: str
    """What is wrong, naming the value that was given."""
    cure: str
    """What to do about it, as an imperative sentence."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message} {self.cure}"


class BurnishError(Exception):
    """Base of all errors. `str(error)` is one readable paragraph: what, where, cure."""

    code: ClassVar[str] = "internal"
    error_class: ClassVar[ErrorClass] = "internal"

    def __init__(self, message: str, *, cure: str, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure
        self.where = where

    def __str__(self) -> str:
        place = f" (at {self.where})" if self.where else ""
        return f"{self.message}{place} {self.cure}"

    def document(self) -> dict[str, object]:
        """The error as plain data: what SQL stores and the API shows."""
        return {
            "code": self.code,
            "class": self.error_class,
            "message": self.message,
            "where": self.where,
            "cure": self.cure,
        }


class UserError(BurnishError):
    """What was sent can't be processed, and would not be the next time either."""

    code = "user"
    error_class = "user"


class InvalidSpec(UserError):
    """A job's spec has faults. All of them are listed, each with its path."""

    code = "spec.invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(
            f"The spec has {count} fault{'s' if count != 1 else ''}: " + " ".join(str(f) for f in self.faults),
            cure="Correct each and send it again.",
        )

    def document(self) -> dict[str, object]:
        return {**super().document(), "faults": [asdict(fault) for fault in self.faults]}


class InvalidModel(UserError):
    """An uploaded model is not a clean `torch.export` archive, or can't be used as one."""

    code = "model.invalid"


class InvalidDataset(UserError):
    """An uploaded dataset is damaged, or does not fit what it is used for."""

    code = "dataset.invalid"


class UnsupportedModel(UserError):
    """A sound model that a step can't treat (for example: no layer of it can be pruned)."""

    code = "model.unsupported"


class NotFound(UserError):
    """There is no such thing."""

    code = "not_found"


class Conflict(UserError):
    """The request does not fit the present state (for example: cancel of a finished job)."""

    code = "conflict"


class Unauthorized(UserError):
    """No token, or one that is not valid."""

    code = "unauthorized"


class TooLarge(UserError):
    """An upload or a request body is over the limit."""

    code = "too_large"


class BadSetting(UserError):
    """An environment variable or option has a value that can't be used."""

    code = "setting.invalid"


class ResourceError(BurnishError):
    """The work is sound, the machine was not up to it: memory, disk, time, a lost worker."""

    code = "resource"
    error_class = "resource"


class OutOfMemory(ResourceError):
    """A step was killed for memory, or an allocation failed."""

    code = "resource.memory"


class DiskFull(ResourceError):
    """No space left where blobs or scratch files are written."""

    code = "resource.disk"


class StepTimeout(ResourceError):
    """A step ran past its time limit."""

    code = "resource.time"


class WorkerLost(ResourceError):
    """The lease of a step lapsed: its worker died or was stopped."""

    code = "resource.worker"


class Unavailable(ResourceError):
    """SQL, the blob store, the broker or the service itself can't be reached."""

    code = "resource.unavailable"


class InternalError(BurnishError):
    """A fault of Burnish or of a library under it."""

    code = "internal"


class StepCrashed(InternalError):
    """A step's process ended by a signal or an unexpected exception."""

    code = "internal.step"


class BlobCorrupt(InternalError):
    """A blob's bytes don't have the digest they are stored under."""

    code = "internal.blob"


ERRORS: tuple[type[BurnishError], ...] = (
    BurnishError,
    UserError,
    InvalidSpec,
    InvalidModel,
    InvalidDataset,
    UnsupportedModel,
    NotFound,
    Conflict,
    Unauthorized,
    TooLarge,
    BadSetting,
    ResourceError,
    OutOfMemory,
    DiskFull,
    StepTimeout,
    WorkerLost,
    Unavailable,
    InternalError,
    StepCrashed,
    BlobCorrupt,
)
"""Every error there is; `tests/test_architecture.py` holds that each is mapped to a status and documented."""
