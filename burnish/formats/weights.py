"""The two lists of weights in an archive, checked against the bytes that are there.

torch makes a view of each member by the sizes and strides in the list, or fills a tensor of any size with zeros if the
member is empty. So every element must be there: no view beyond the end, none larger than its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from burnish.formats.archive import Archive
from burnish.formats.grammar import EXPORT_AGAIN, Place, flag, mapping_of, one_of, optional, record, refuse, text
from burnish.formats.members import CONSTANTS_CONFIG, WEIGHTS_CONFIG
from burnish.formats.program_json import FQN, TENSOR_META

__all__ = ["Weights", "read_weights"]

Weights = Mapping[str, int]
"""Number of elements of each tensor, by its dotted name."""

_BITS = {
    1: 8, 2: 8, 3: 16, 4: 32, 5: 64, 6: 16, 7: 32, 8: 64, 9: 32, 10: 64, 11: 128, 12: 8, 13: 16, 28: 16,
    29: 8, 30: 8, 31: 8, 32: 8, 33: 8, 34: 32, 35: 64,
}  # fmt: skip
_PLAIN = "Export a model whose parameters and buffers are plain tensors, on the CPU and contiguous."


def read_weights(archive: Archive) -> tuple[Weights, Weights]:
    """Parameters and buffers, and constants.

    Raises:
        InvalidModel: a weight is pickled, missing, or larger than its bytes.
    """
    return _read(archive, WEIGHTS_CONFIG, "weight"), _read(archive, CONSTANTS_CONFIG, "tensor")


def _read(archive: Archive, member: str, prefix: str) -> Weights:
    config = archive.json(member)
    entry = record({
        "path_name": text(rf"{prefix}_(?:0|[1-9]\d{{0,6}})", 20, "name of a weight's member"),
        "is_param": flag,
        "use_pickle": one_of(False, cure="Export a model of plain tensors: pickles are never opened."),
        "tensor_meta": optional(TENSOR_META),
    })  # fmt: skip
    record({"config": mapping_of(FQN, entry)})(config, (member,))
    folder = member.rpartition("/")[0]
    place = ((member,), "config")
    return {
        name: _elements(entry, archive.sizes.get(f"{folder}/{entry['path_name']}"), (place, name))
        for name, entry in config["config"].items()
    }


def _elements(entry: dict[str, Any], stored: int | None, place: Place) -> int:
    if stored is None:
        refuse(f"Its member {entry['path_name']!r} is missing.", place)
    meta = entry["tensor_meta"]
    if meta is None:
        refuse("It is no tensor.", place, _PLAIN)
    sizes, strides = _numbers(meta["sizes"], place), _numbers(meta["strides"], place)
    (offset,) = _numbers([meta["storage_offset"]], place)
    if len(sizes) != len(strides):
        refuse("It has more sizes than strides, or fewer.", place)
    width = _BITS[meta["dtype"]] // 8
    elements = math.prod(sizes)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
    if elements and (stored % width or last > stored // width or elements > stored // width):
        refuse(
            f"A tensor of sizes {sizes} and strides {strides} needs more than the {stored} bytes stored for it.",
            place,
            _PLAIN if stored else f"The weights were not saved. {EXPORT_AGAIN}",
        )
    return elements


def _numbers(values: list[dict[str, Any]], place: Place) -> list[int]:
    numbers = [value.get("as_int", -1) for value in values]
    if any(number < 0 for number in numbers) or len(numbers) > 64:
        refuse("The sizes of a weight must be numbers.", place)
    return numbers
