"""What the commands of a matrix of models take and give: names of known things, and a page."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

__all__ = ["named", "publish"]

ThingT = TypeVar("ThingT")


def named(known: Mapping[str, ThingT]) -> Callable[[str], list[ThingT]]:
    """For `type=`: names of these, with commas between them."""

    def parsed(text: str) -> list[ThingT]:
        unknown = set(text.split(",")) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")
        return [known[name] for name in text.split(",")]

    return parsed


def publish(page: str, path: Path | None) -> None:
    """Writes a page there, or prints it."""
    if path is None:
        print(page)
    else:
        path.write_text(page)
