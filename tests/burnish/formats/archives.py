"""Honest archives as torch writes them, and what is needed to change a member and write them again."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from tests import models

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"

Members = dict[str, bytes]
"""Content by name below the root."""


@cache
def honest_bytes(name: str = "mlp") -> bytes:
    """What `torch.export.save` writes for a model, with its sample inputs and stack traces."""
    buffer = io.BytesIO()
    torch.export.save(models.program(name), buffer)
    return buffer.getvalue()


def honest(name: str = "mlp") -> Members:
    """The members of an honest archive."""
    return unpack(honest_bytes(name))


def unpack(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {member.partition("/")[2]: archive.read(member) for member in archive.namelist()}


def pack(members: Mapping[str, bytes], root: str = "model", compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)
    return buffer.getvalue()


def edited(members: Members, member: str, edit: Callable[[Any], None]) -> Members:
    """The members with one JSON member changed in place by `edit`."""
    value = json.loads(members[member])
    edit(value)
    return {**members, member: json.dumps(value).encode()}


def graph_of(program: Any) -> Any:
    return program["graph_module"]["graph"]
