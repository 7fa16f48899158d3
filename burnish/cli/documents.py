"""Files that hold a document: YAML or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from burnish.errors import Fault, InvalidSpec

__all__ = ["read_document"]


def read_document(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises `InvalidSpec` if there is none."""
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            [Fault(where=str(path), message=f"It is not YAML or JSON: {error}.", cure="Correct it.")]
        ) from error
    if not isinstance(document, dict):
        raise InvalidSpec(
            [Fault(where=str(path), message="It holds no mapping.", cure="Write keys like `goal:` and `passes:`.")]
        )
    return document
