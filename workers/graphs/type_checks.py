"""The checks that torch's export writes beside every cast."""

from __future__ import annotations

import torch
from torch.fx import Graph

__all__ = ["drop_type_checks"]


def drop_type_checks(graph: Graph) -> None:
    """Removes `_assert_tensor_metadata` nodes: they only state types that are known, each as one more reader of a
    tensor, and would contradict a graph whose types were changed."""
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
