"""Foreign errors as ours, translated once: at the edge of a step's process (`error_of`), and of a job's advance
(`error_of_job`)."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, DiskFull, InternalError, OutOfMemory, StepCrashed

__all__ = ["error_of", "error_of_job"]

_SIGNS_OF_NO_MEMORY = ("can't allocate memory", "CUDA out of memory", "std::bad_alloc", "Cannot allocate memory")


def error_of(error: BaseException) -> dict[str, Any]:
    """The error as data: ours as they are, the system's translated, anything else a crash with its traceback."""
    return dict(_translated(error).document())


def error_of_job(error: Exception) -> dict[str, Any]:
    """Why a job could be planned or advanced no further, as data: it has ended, and no step is to blame."""
    if isinstance(error, BurnishError):
        return dict(error.document())
    told = InternalError(
        f"The job could not be taken further, by {type(error).__name__}: {_first_line(error)}",
        cure="Retry the job, which keeps what was done; if it fails again, report it as a bug with the worker's log.",
        where=_place(error),
    )
    return dict(told.document())


def _translated(error: BaseException) -> BurnishError:
    if isinstance(error, BurnishError):
        return error
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS_OF_NO_MEMORY):
        return OutOfMemory(
            f"The step ran out of memory: {_first_line(error)}",
            cure="Use a smaller batch, or a worker with more memory (or raise BURNISH_STEP_MEMORY).",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(
            f"No space was left for the step's files: {_first_line(error)}",
            cure="Free space in the worker's data folder (BURNISH_DATA), or move it to a larger disk.",
        )
    return StepCrashed(
        f"The step ended with {type(error).__name__}: {_first_line(error)}",
        cure="The log's tail shows where. It is tried again; if it stays, report it as a bug with that tail.",
        where=_place(error),
    )


def _place(error: BaseException) -> str | None:
    if error.__traceback__ is None:
        return None
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]
