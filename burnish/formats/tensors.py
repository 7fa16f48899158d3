"""What a dataset holds, read from its headers alone: no array is loaded, nothing is unpickled or evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Literal

from burnish.document import Document
from burnish.errors import InvalidDataset
from burnish.formats import npz, safetensors
from burnish.formats.arrays import ArrayHeader
from burnish.formats.layout import TARGETS, arrange
from burnish.results import TensorSpec

__all__ = ["DatasetSchema", "inspect_dataset"]


class DatasetSchema(Document):
    """The arrays of a dataset."""

    format: Literal["safetensors", "npz"]
    inputs: tuple[TensorSpec, ...]
    """In the order of the program's inputs; dimension 0 counts the samples."""
    targets: TensorSpec | None
    samples: int


def inspect_dataset(file: BinaryIO) -> DatasetSchema:
    """Checks the headers of a `.safetensors` or `.npz` file and says what is in it.

    Args:
        file: seekable; only headers are read. The format is told by content, not by name.

    Raises:
        InvalidDataset: another format, damaged, arrays of objects, or arrays that don't belong together.
    """
    format_, arrays = _read(file)
    order = arrange(arrays)
    samples = _count(arrays)
    return DatasetSchema(
        format=format_,
        inputs=tuple(_spec(name, arrays[name]) for name in order),
        targets=_spec(TARGETS, arrays[TARGETS]) if TARGETS in arrays else None,
        samples=samples,
    )


def _read(file: BinaryIO) -> tuple[Literal["safetensors", "npz"], Mapping[str, ArrayHeader]]:
    file.seek(0)
    start = file.read(9)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "npz", npz.read_headers(file)
    if start[8:9] == b"{":
        return "safetensors", safetensors.read_headers(file)
    raise InvalidDataset(_unknown(start), cure="Send a .safetensors file or a .npz made by `numpy.savez`.")


def _unknown(start: bytes) -> str:
    if not start:
        return "The file is empty."
    if start[:6] == b"\x93NUMPY":
        return "This is a single .npy array, which says nothing of its role."
    if start[:1] == b"\x80":
        return "This is a Python pickle, which is never opened, since it can run any code."
    return "This is neither a .safetensors nor a .npz file."


def _count(arrays: Mapping[str, ArrayHeader]) -> int:
    counts: dict[str, int] = {}
    for name, array in arrays.items():
        if not array.shape:
            raise InvalidDataset(
                "A single number is no list of samples.", cure="Make dimension 0 the samples.", where=name
            )
        counts[name] = array.shape[0]
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
        raise InvalidDataset(
            f"The arrays differ in their number of samples ({listed}).",
            cure="Give every array the same length in dimension 0.",
        )
    return next(iter(counts.values()))


def _spec(name: str, array: ArrayHeader) -> TensorSpec:
    return TensorSpec(name=name, dtype=array.dtype, shape=array.shape)
