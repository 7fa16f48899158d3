"""Rewrites a program archive so that only what the program is stays in it, always as the same bytes.

Left out: sample inputs (a pickle, and the user's data), guards (Python code that torch executes), the metadata of nodes
(stack traces with paths and source lines of the exporting machine) and the archive's serialization id.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from burnish.formats.members import FIXED, MODEL, SAMPLE_INPUTS, data_members, read_json

__all__ = ["write_canonical"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


def write_canonical(source: zipfile.ZipFile, root: str, destination: BinaryIO) -> None:
    """Writes the canonical form of a program archive.

    Args:
        source: an archive that `burnish.formats.pt2` accepted, or that `torch.export.save` just wrote here.
        root: the folder inside it that all members lie in.
        destination: empty and writable.
    """
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as target:
        for name, content in FIXED.items():
            target.writestr(_info(name), content)
        for name in data_members(source, root):
            info = _info(name)
            info.file_size = source.getinfo(f"{root}/{name}").file_size  # zipfile picks zip64 by it
            with source.open(f"{root}/{name}") as reader, target.open(info, "w") as writer:
                shutil.copyfileobj(reader, writer, _BLOCK)
        for kind in ("weights", "constants"):
            name = f"data/{kind}/model_{kind}_config.json"
            target.writestr(_info(name), _json(read_json(source, f"{root}/{name}")))
        target.writestr(_info(MODEL), _json(_stripped(read_json(source, f"{root}/{MODEL}"))))
        target.writestr(_info(SAMPLE_INPUTS), b"")


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"model/{name}", _EPOCH)
    info.create_system = 3  # the same on every platform
    info.external_attr = 0o600 << 16
    return info


def _json(value: Mapping[str, Any]) -> bytes:
    """Compact, in the order given: the order of weights is the order of the state dict."""
    return json.dumps(value, separators=(",", ":")).encode()


def _stripped(program: dict[str, Any]) -> dict[str, Any]:
    module = {**program["graph_module"], "metadata": {}}
    _strip_graph(module["graph"])
    return {**program, "graph_module": module, "guards_code": []}


def _strip_graph(graph: dict[str, Any]) -> None:
    for node in graph["nodes"]:
        node["metadata"] = {}
        for argument in node["inputs"]:
            if "as_graph" in argument["arg"]:
                _strip_graph(argument["arg"]["as_graph"]["graph"])
