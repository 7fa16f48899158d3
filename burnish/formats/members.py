"""Names and order of the members of a program archive, as `torch.export.save` writes them since 2.8."""

from __future__ import annotations

import json
import re
import zipfile
from typing import Any

__all__ = ["CONSTANTS_CONFIG", "FIXED", "MODEL", "SAMPLE_INPUTS", "WEIGHTS_CONFIG", "data_members", "read_json"]

MODEL = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"
FIXED = {"archive_format": b"pt2", "archive_version": b"0", ".data/version": b"6\n", "byteorder": b"little"}
"""Members that have one content, whatever the program."""
_DATA = re.compile(r"data/(?:weights/weight|constants/tensor)_(0|[1-9][0-9]{0,6})")


def data_members(archive: zipfile.ZipFile, root: str) -> list[str]:
    """Names (below the root) of the members that hold tensors, by kind and number."""
    names = [name.removeprefix(f"{root}/") for name in archive.namelist()]
    return sorted((name for name in names if _DATA.fullmatch(name)), key=_by_number)


def _by_number(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition("_")
    return kind, int(number)


def read_json(archive: zipfile.ZipFile, member: str) -> dict[str, Any]:
    """A member's JSON object, as written."""
    value = json.loads(archive.read(member))
    if not isinstance(value, dict):
        raise ValueError(f"{member} is no JSON object")
    return value
