"""What torch's ONNX exporter writes a wrong graph for, without a word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from workers.graphs.calls import arguments

__all__ = ["onnx_obstacles"]

aten = torch.ops.aten


def onnx_obstacles(program: ExportedProgram) -> Sequence[str]:
    """Why the program can't go through ONNX, each with what to do instead; empty if it can."""
    if any(_has_projection(node) for node in program.graph.find_nodes(op="call_function", target=aten.lstm.input)):
        return [
            "It has an LSTM with projections (`proj_size`), for which ONNX has no operator and torch's exporter writes "
            "a graph that no runtime loads. Use the inductor backend."
        ]
    return []


def _has_projection(node: Node) -> bool:
    """True if each layer has one tensor more than its matrices and biases."""
    given = arguments(node)
    cells = given["num_layers"] * (2 if given["bidirectional"] else 1)
    return bool(len(given["params"]) != cells * (4 if given["has_biases"] else 2))
