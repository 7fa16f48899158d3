"""The check that every uploaded model passes before torch sees a byte of it.

`torch.export.load` runs code from an archive in more ways than by pickles: it evaluates sizes, executes guards, writes
names into Python source, and imports modules that the nesting of inputs names. So this is an allow-list of the whole
archive (`archive`), of its JSON (`program_json`) and of its weights (`weights`), by the standard library alone; and how
the program is called is said anew (`flat_call`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from burnish.errors import InvalidModel
from burnish.formats.archive import Archive, opened
from burnish.formats.flat_call import flat_call
from burnish.formats.grammar import EXPORT_AGAIN
from burnish.formats.members import MODEL
from burnish.formats.program_json import PROGRAM
from burnish.formats.signature import read_signature
from burnish.formats.weights import read_weights
from burnish.results import Signature

__all__ = ["CheckedModel", "checked_model", "inspect_model"]


@dataclass(frozen=True)
class CheckedModel:
    """A clean archive, open."""

    archive: Archive
    program: dict[str, Any]
    """Its `models/model.json`, called by flat tensors."""
    signature: Signature


def inspect_model(file: BinaryIO) -> Signature:
    """Checks an archive by `torch.export.save` and says what the program in it takes and gives.

    Args:
        file: seekable; its directory and its JSON are read, its weights are not.

    Raises:
        InvalidModel: with the member (and the place in it) at fault, and what to send instead.
    """
    with checked_model(file) as model:
        return model.signature


@contextmanager
def checked_model(file: BinaryIO) -> Iterator[CheckedModel]:
    """Like `inspect_model`, but leaves the archive open, so that what was checked is what is then read."""
    with opened(file) as archive:
        program = archive.json(MODEL)
        try:
            PROGRAM(program, (MODEL,))
            flat = flat_call(program, (MODEL,))
        except RecursionError as error:
            raise InvalidModel("It is nested too deep.", cure=EXPORT_AGAIN, where=MODEL) from error
        weights, constants = read_weights(archive)
        yield CheckedModel(archive, flat.program, read_signature(flat, weights, constants))
