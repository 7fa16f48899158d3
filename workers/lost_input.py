"""Inputs of a step, out of the blob store; one that can't be had is told apart, since it can be made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import BlobCorrupt, BurnishError, InternalError, NotFound
from storage.blobs import BlobStore

__all__ = ["InputLost", "Lost", "fetch_input"]


@dataclass(frozen=True)
class Lost:
    """An attempt that could not begin."""

    digest: str
    """The input's."""
    damaged: bool
    """The store has bytes for it, but others."""
    error: dict[str, Any]
    """Document of the error."""


class InputLost(Exception):
    """Carries a `Lost` out of an attempt. Never leaves the runner."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(lost.error["message"])
        self.lost = lost


def fetch_input(blobs: BlobStore, role: str, digest: str, folder: Path) -> Path:
    """A local file with the input's bytes.

    Raises:
        InputLost: the store has it no more, or twice gave bytes with another hash.
        burnish.errors.ResourceError: the store or the disk is not usable now.
    """
    try:
        try:
            return blobs.fetch(digest, folder)
        except BlobCorrupt:
            return blobs.fetch(digest, folder)  # once more: it may have been the way, not the store
    except NotFound as error:
        raise InputLost(Lost(digest, False, _told(role, digest, "gone from").document())) from error
    except BlobCorrupt as error:
        raise InputLost(Lost(digest, True, _told(role, digest, "damaged in").document())) from error


def _told(role: str, digest: str, how: str) -> BurnishError:
    return InternalError(
        f"The blob of input {role!r} is {how} the store ({digest}).",
        cure="Upload the model and the dataset again, and submit the job anew.",
    )
