"""Importing what only an optional extra brings."""

from __future__ import annotations

import importlib
from typing import Any

from burnish.errors import Unavailable

__all__ = ["load"]


def load(module: str, extra: str) -> Any:
    """The module, imported now.

    Raises:
        Unavailable: it is not installed; the cure names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(
            f"This needs {extra}, which can't be imported here ({error}).",
            cure=f"Install it with `pip install 'burnish[{extra}]'`.",
        ) from error
