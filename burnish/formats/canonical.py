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

from burnish.formats.members import CONSTANTS_CONFIG, FIXED, MODEL, SAMPLE_INPUTS, WEIGHTS_CONFIG, data_members
from burnish.formats.pt2 import CheckedModel

__all__ = ["write_canonical"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20
_DROPPED: dict[str, Any] = {"metadata": {}, "treespec_namedtuple_fields": {}}


def write_canonical(model: CheckedModel, destination: BinaryIO) -> None:
    """Writes the canonical form of a checked archive to an empty, writable file."""
    archive = model.archive
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as target:
        for name, content in FIXED.items():
            target.writestr(_info(name), content)
        for name in data_members(archive.zip, archive.root):
            info = _info(name)
            info.file_size = archive.sizes[name]  # zipfile picks zip64 by it
            with archive.zip.open(f"{archive.root}/{name}") as reader, target.open(info, "w") as writer:
                shutil.copyfileobj(reader, writer, _BLOCK)
        for name in (WEIGHTS_CONFIG, CONSTANTS_CONFIG):
            target.writestr(_info(name), _json(archive.json(name)))
        target.writestr(_info(MODEL), _json(_stripped(model.program)))
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
    module = program["graph_module"]
    return {
        **program,
        "graph_module": {**module, **_DROPPED, "graph": _stripped_graph(module["graph"])},
        "guards_code": [],
    }


def _stripped_graph(graph: dict[str, Any]) -> dict[str, Any]:
    """Storage offsets of values in the graph are dropped too: torch writes them, but does not read them again."""
    values = {name: {**meta, "storage_offset": {"as_int": 0}} for name, meta in graph["tensor_values"].items()}
    return {**graph, "tensor_values": values, "nodes": [_stripped_node(node) for node in graph["nodes"]]}


def _stripped_node(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "metadata": {}, "inputs": [_stripped_input(argument) for argument in node["inputs"]]}


def _stripped_input(argument: dict[str, Any]) -> dict[str, Any]:
    if "as_graph" not in argument["arg"]:
        return argument
    inner = argument["arg"]["as_graph"]
    return {**argument, "arg": {"as_graph": {**inner, "graph": _stripped_graph(inner["graph"])}}}
