"""Training as bytes: what a pass leaves in its checkpoint, and goes on from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["freeze", "thaw"]


def freeze(parts: Mapping[str, Any]) -> bytes:
    """Tensors, numbers, and dictionaries and lists of them, as a file of torch's."""
    content = io.BytesIO()
    torch.save(dict(parts), content)
    return content.getvalue()


def thaw(content: bytes) -> dict[str, Any]:
    """What `freeze` was given. It reads tensors and plain values alone, and runs no code of the file's."""
    found: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return found
