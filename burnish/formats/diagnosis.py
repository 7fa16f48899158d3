"""Tells what a file is that is no exported program, so that the user learns what to send instead."""

from __future__ import annotations

from collections.abc import Set
from typing import NoReturn

from burnish.errors import InvalidModel

__all__ = ["EXPORT", "foreign_file", "foreign_zip"]

EXPORT = "Export the model with `burnish.capture(module, example_inputs)` or `torch.export.save`, and send that file."


def foreign_file(start: bytes) -> NoReturn:
    """Refuses a file that is no zip, by its first bytes."""
    if not start:
        message = "The file is empty."
    elif start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        message = "This is a Python pickle (by an old `torch.save`?). It is never opened, since it can run any code."
    elif start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**30:
        message = "This is a .safetensors file: it holds weights, but not how the model computes."
    elif start.startswith(b"\x7fELF"):
        message = "This is a compiled library, which is code."
    elif start.startswith(b"\x89HDF"):
        message = "This is an HDF5 (Keras) file."
    else:
        message = "This is no zip, so no exported program."
    raise InvalidModel(message, cure=EXPORT)


def foreign_zip(names: Set[str]) -> None:
    """Refuses archives of other kinds, by the names of their members; returns if it may be an exported program."""
    below = {name.partition("/")[2] for name in names}
    if any(name.startswith("data/aotinductor/") for name in below):
        raise InvalidModel("This is an AOTInductor package: it holds compiled code, which is never run.", cure=EXPORT)
    if "archive_format" in below:
        return
    if any(name.startswith("code/") for name in below) or "constants.pkl" in below:
        raise InvalidModel("This is a TorchScript file, which runs code of its own when loaded.", cure=EXPORT)
    if "data.pkl" in below:
        raise InvalidModel(
            "This is a checkpoint by `torch.save`, a pickle, which is never opened, since it can run any code.",
            cure=EXPORT,
        )
    if "serialized_exported_program.json" in names | below:
        raise InvalidModel(
            "This program was saved by a torch before 2.8, in a format that is read by unpickling.",
            cure="Save it again with torch 2.8 or later.",
        )
    if any(name.endswith(".npy") for name in names):
        raise InvalidModel("This is a .npz file of arrays, so no exported program.", cure=EXPORT)
    raise InvalidModel("This is a zip, but no exported program.", cure=EXPORT)
