"""The header of a safetensors file, checked as strictly as the format's own reader does.

Format: https://github.com/huggingface/safetensors#format (8 bytes of length, a JSON header, the arrays back to back).
"""

from __future__ import annotations

import json
import os
from typing import Any, BinaryIO

from burnish.errors import InvalidDataset
from burnish.formats.arrays import ArrayHeader, checked_shape

__all__ = ["read_headers"]

_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip
_LONGEST_HEADER = 8 * 2**20
_CURE = "Write the file again with `safetensors`."


def read_headers(file: BinaryIO) -> dict[str, ArrayHeader]:
    """Every array by name.

    Raises:
        InvalidDataset: truncated, or the header contradicts itself or the file's size.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST_HEADER or length > size - 8:
        raise InvalidDataset(
            f"The header claims {length} bytes in a file of {size}: it is truncated, or no .safetensors.",
            cure="Send the file again, whole.",
        )
    header = _parse(file.read(length))
    header.pop("__metadata__", None)
    arrays: dict[str, ArrayHeader] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        arrays[name], begin, end = _entry(name, entry)
        spans.append((begin, end, name))
    _check_spans(sorted(spans), size - 8 - length)
    return arrays


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InvalidDataset(f"The header is no JSON: {error}.", cure=_CURE) from error
    if not isinstance(header, dict):
        raise InvalidDataset("The header is no JSON object.", cure=_CURE)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _entry(name: str, entry: object) -> tuple[ArrayHeader, int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InvalidDataset("Its header entry is malformed.", cure=_CURE, where=name)
    kind = entry["dtype"]
    dtype = _DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise InvalidDataset(
            f"Elements of type {kind!r:.40} are not supported.",
            cure=f"Use one of {', '.join(_DTYPES.values())}.",
            where=name,
        )
    header = ArrayHeader(dtype, checked_shape(entry["shape"], name))
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        raise InvalidDataset("Its offsets are malformed.", cure=_CURE, where=name)
    if offsets[1] - offsets[0] != header.size:
        raise InvalidDataset(
            f"Shape {list(header.shape)} of {dtype} needs {header.size} bytes, the header gives it "
            f"{offsets[1] - offsets[0]}.",
            cure=_CURE,
            where=name,
        )
    return header, offsets[0], offsets[1]


def _check_spans(spans: list[tuple[int, int, str]], size: int) -> None:
    """Back to back from 0 to the end of the file: no holes, no overlap, nothing cut off."""
    at = 0
    for begin, end, name in spans:
        if begin != at:
            raise InvalidDataset("Its bytes overlap another array's, or leave a hole.", cure=_CURE, where=name)
        at = end
    if at > size:
        raise InvalidDataset(f"The file is truncated: {at - size} bytes are missing.", cure="Send it again, whole.")
    if at < size:
        raise InvalidDataset(f"{size - at} bytes at the end belong to no array.", cure=_CURE)
