"""The headers of a `.npz`: a zip of `.npy` arrays, read without numpy and without pickle.

Format of a `.npy`: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
import zipfile
import zlib
from typing import BinaryIO

from burnish.errors import InvalidDataset
from burnish.formats.arrays import ArrayHeader, checked_shape

__all__ = ["read_headers"]

_DTYPES = {
    "b1": "bool", "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "i8": "int64", "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip
_HEADER = re.compile(
    r"\s*\{\s*'descr':\s*(?P<descr>'[^']{1,16}'|\[.*\]),\s*'fortran_order':\s*(?:True|False),"
    r"\s*'shape':\s*\((?P<shape>[0-9,\s]*)\),?\s*\}\s*",
    re.DOTALL,
)
_MOST_MEMBERS = 1024
_LONGEST_HEADER = 64 * 2**10
_BOMB_RATIO = 200
_BOMB_SIZE = 64 * 2**20
_CURE = "Write the file again with `numpy.savez`."


def read_headers(file: BinaryIO) -> dict[str, ArrayHeader]:
    """Every array by name (without `.npy`).

    Raises:
        InvalidDataset: truncated, a zip bomb, an array of objects, or a member that is no array.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members)
            return {_name(member): _header(archive, member) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
        # NotImplementedError: a compression method zipfile lacks; RuntimeError: an encrypted member.
        raise InvalidDataset(
            f"The .npz is damaged or truncated: {error}.", cure="Send it again, whole, or write it again."
        ) from error


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if not 0 < len(members) <= _MOST_MEMBERS:
        raise InvalidDataset(f"The .npz holds {len(members)} arrays.", cure=f"Send 1 to {_MOST_MEMBERS}.")
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise InvalidDataset("Two members of the .npz have the same name.", cure=_CURE)
    for member in members:
        if member.header_offset < 0:
            raise InvalidDataset("The .npz is damaged or truncated.", cure=_CURE, where=member.filename)
        if not member.filename.endswith(".npy"):
            raise InvalidDataset("This member is no array.", cure=_CURE, where=member.filename)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidDataset("It is compressed in a way numpy does not write.", cure=_CURE, where=member.filename)
        if member.file_size > _BOMB_SIZE and member.file_size > _BOMB_RATIO * member.compress_size:
            raise InvalidDataset(
                f"It would unpack from {member.compress_size} to {member.file_size} bytes: it looks like a zip bomb.",
                cure="Send it uncompressed (`numpy.savez`).",
                where=member.filename,
            )


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ArrayHeader:
    name = _name(member)
    with archive.open(member) as stream:
        start = stream.read(8)
        if start[:6] != b"\x93NUMPY" or start[6:7] not in (b"\x01", b"\x02", b"\x03"):
            raise InvalidDataset("This member is no .npy array.", cure=_CURE, where=name)
        width = 2 if start[6] == 1 else 4
        length = int.from_bytes(stream.read(width), "little")
        text = stream.read(length) if length <= _LONGEST_HEADER else b""
    match = _HEADER.fullmatch(text.decode("latin-1"))
    if len(text) != length or match is None:
        raise InvalidDataset("Its header is damaged.", cure=_CURE, where=name)
    header = ArrayHeader(_dtype(match["descr"], name), _shape(match["shape"], name))
    if header.size + 8 + width + length != member.file_size:
        raise InvalidDataset(
            f"Shape {list(header.shape)} of {header.dtype} does not fit its {member.file_size} bytes.",
            cure=_CURE,
            where=name,
        )
    return header


def _dtype(descr: str, name: str) -> str:
    order, code = descr.strip("'")[:1], descr.strip("'")[1:]
    if code.startswith("O"):
        raise InvalidDataset(
            "This is an array of Python objects, which would have to be unpickled.",
            cure="Turn it into an array of numbers (`array.astype('float32')`).",
            where=name,
        )
    if code not in _DTYPES or order not in "<|=":
        raise InvalidDataset(
            f"Elements of type {descr:.40} are not supported.",
            cure="Use little-endian numbers or booleans (`array.astype('<f4')`).",
            where=name,
        )
    return _DTYPES[code]


def _shape(text: str, name: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    if not all(part.isdecimal() and len(part) < 16 for part in parts):
        raise InvalidDataset(f"({text:.40}) is no usable shape.", cure=_CURE, where=name)
    return checked_shape([int(part) for part in parts], name)
