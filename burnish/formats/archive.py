"""The zip around a program: opened only if it is exactly what `torch.export.save` writes.

Rules, each kept by `opened`:

1. the file is one whole zip: it starts with a member and ends with its directory, without a comment;
2. the directory and each JSON member are small enough to hold in memory;
3. members are stored, not compressed or encrypted, and together no larger than the file, so nothing can unpack to more;
4. all lie in one folder, under plain names, each once;
5. their names are those in `members.py`, or `extra/…`, which is dropped; fixed members have their one content.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from burnish.errors import InvalidModel
from burnish.formats.diagnosis import EXPORT, foreign_file, foreign_zip
from burnish.formats.members import (
    CONSTANTS_CONFIG,
    FIXED,
    MODEL,
    SAMPLE_INPUTS,
    WEIGHTS_CONFIG,
    data_members,
    read_json,
)

__all__ = ["Archive", "opened"]

_PLAIN_NAME = re.compile(r"[\w.@+\- ]+(?:/[\w.@+\- ]+)*", re.ASCII)
_REQUIRED = (
    MODEL,
    WEIGHTS_CONFIG,
    CONSTANTS_CONFIG,
    SAMPLE_INPUTS,
    "archive_format",
    "archive_version",
    ".data/version",
)
_OTHER = re.compile(r"\.data/serialization_id|extra/.+")
_MOST_DIRECTORY = 64 * 2**20
_MOST_MEMBERS = 200_000
_MOST_JSON = 64 * 2**20
_ENCRYPTED = 0x1
_END = b"PK\x05\x06"
_END_SIZE = 22
_ZIP64_SIZE = 56 + 20
"""The zip64 record and its locator."""


@dataclass(frozen=True)
class Archive:
    """A zip that keeps the rules."""

    zip: zipfile.ZipFile
    root: str
    """The folder that all members lie in."""
    sizes: dict[str, int]
    """Bytes of each tensor member, by its name below the root."""

    def json(self, name: str) -> dict[str, Any]:
        """A JSON member, by its name below the root."""
        if self.zip.getinfo(f"{self.root}/{name}").file_size > _MOST_JSON:
            raise InvalidModel(
                f"It is larger than {_MOST_JSON >> 20} MiB.", cure="Send a model with a smaller graph.", where=name
            )
        try:
            return read_json(self.zip, f"{self.root}/{name}")
        except (ValueError, RecursionError) as error:
            raise InvalidModel(f"It is no JSON object: {error!s:.200}.", cure=EXPORT, where=name) from error


@contextmanager
def opened(file: BinaryIO) -> Iterator[Archive]:
    """Opens a program archive; a fault of the zip found while it is used is reported as one too.

    Raises:
        InvalidModel: another kind of file, damaged, or with a member that does not belong there.
    """
    try:
        _check_ends(file)
        with zipfile.ZipFile(file) as archive:
            yield _checked(archive, file.seek(0, os.SEEK_END))
    # NotImplementedError: a feature of zip that Python lacks; RuntimeError: an encrypted member.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise InvalidModel(f"The archive is damaged: {error!s:.200}.", cure="Send it again, whole.") from error


def _check_ends(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(64)
    if not start.startswith(b"PK\x03\x04"):
        foreign_file(start)
    file.seek(max(0, size - _END_SIZE))
    end = file.read()
    if len(end) != _END_SIZE or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise InvalidModel(
            f"The archive is truncated, or has something behind its end: {size} bytes came.",
            cure="Send it again, whole.",
        )
    if _directory_size(file, size, end) > _MOST_DIRECTORY:
        raise InvalidModel("Its directory is too large.", cure=EXPORT)


def _directory_size(file: BinaryIO, size: int, end: bytes) -> int:
    """Bytes of the central directory, as the end record says, or the zip64 record right in front of it.

    zipfile takes the latter where there is one, whatever the locator between the two points at.
    """
    length = int.from_bytes(end[12:16], "little")
    file.seek(max(0, size - _END_SIZE - _ZIP64_SIZE))
    record = file.read(_ZIP64_SIZE)
    if not record.startswith(b"PK\x06\x06"):
        return length
    long = int.from_bytes(record[40:48], "little")
    return long if length == 0xFFFFFFFF else max(long, length)


def _checked(archive: zipfile.ZipFile, size: int) -> Archive:
    members = archive.infolist()
    if not 0 < len(members) <= _MOST_MEMBERS:
        raise InvalidModel(f"It has {len(members)} members.", cure=EXPORT)
    foreign_zip({member.filename for member in members})
    for member in members:
        _check_member(member)
    _check_together(members, size)
    root = members[0].filename.partition("/")[0]
    names = [_below(root, member.filename) for member in members]
    for name in _REQUIRED:
        if name not in names:
            raise InvalidModel("This member is missing.", cure=EXPORT, where=name)
    tensors = set(data_members(archive, root))
    for name in names:
        _check_name(archive, root, name, name in tensors)
    return Archive(archive, root, {name: archive.getinfo(f"{root}/{name}").file_size for name in tensors})


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if not _PLAIN_NAME.fullmatch(name) or {".", ".."} & set(name.split("/")) or len(name) > 1000:
        raise InvalidModel("This is no plain name for a member.", cure=EXPORT, where=f"{name!r:.100}")
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise InvalidModel(
            f"It is compressed, from {member.file_size} to {member.compress_size} bytes, which torch never does.",
            cure=EXPORT,
            where=name,
        )
    if member.header_offset < 0:
        raise InvalidModel(
            "The archive is damaged: it lies in front of the file.", cure="Send it again, whole.", where=name
        )
    if member.flag_bits & _ENCRYPTED:
        raise InvalidModel("It is encrypted.", cure=EXPORT, where=name)


def _check_together(members: list[zipfile.ZipInfo], size: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise InvalidModel("Two members have the same name.", cure=EXPORT)
    if sum(member.file_size for member in members) > size:
        raise InvalidModel(
            "Its members claim more bytes than the file has, like those of a zip bomb.", cure="Send it again, whole."
        )


def _below(root: str, name: str) -> str:
    folder, _, rest = name.partition("/")
    if folder != root or not rest:
        raise InvalidModel(f"It lies outside the folder {root!r:.100}.", cure=EXPORT, where=name)
    return rest


def _check_name(archive: zipfile.ZipFile, root: str, name: str, tensor: bool) -> None:
    if name == ".data/version":
        return
    if name in FIXED:
        if archive.getinfo(f"{root}/{name}").file_size > 64 or archive.read(f"{root}/{name}") != FIXED[name]:
            raise InvalidModel(f"It does not hold {FIXED[name].decode()!r}.", cure=EXPORT, where=name)
    elif not tensor and name not in _REQUIRED and not _OTHER.fullmatch(name):
        raise InvalidModel("This member has no place in an exported program.", cure=_stranger_cure(name), where=name)


def _stranger_cure(name: str) -> str:
    if re.search(r"/(?:custom|opaque)_obj_", name):
        return "Export a model of plain tensors: objects are stored as pickles, which are never opened."
    if name.startswith("models/") or name.endswith("_config.json"):
        return "Save one program per file, by `torch.export.save`."
    return EXPORT
