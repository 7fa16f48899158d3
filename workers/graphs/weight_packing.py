"""Packing the weights of convolutions for the batch they will meet, though the batch is dynamic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch
from torch._inductor import freezing
from torch.fx import GraphModule, Node

from workers.graphs.one_channel_convolutions import is_ambiguous

__all__ = ["packed_for"]

_SHAPE = 8
"""Position of the input's shape among the arguments of `onednn.qconv_prepack`."""


@contextmanager
def packed_for(batch: int) -> Iterator[None]:
    """Within this context Inductor lays out convolution weights for inputs of `batch` samples.

    Without it, a dynamic batch makes Inductor guess the layout (int8) or leave the weights as they are (float), and
    the kernel reorders them at every call: a residual CNN took 4.9 ms instead of 0.4 ms. Inputs of another batch
    are still right; at worst their weights are reordered at each call, as without it.

    It works by a step after Inductor's own passes and before it packs, for which torch 2.13 has no public hook.
    """
    own_passes = freezing.freezing_passes  # type: ignore[attr-defined]  # a name that it imports

    def passes(module: GraphModule, inputs: Sequence[torch.Tensor]) -> None:
        own_passes(module, inputs)
        for node in list(module.graph.nodes):
            if node.target is torch.ops.onednn.qconv_prepack:
                _shape_int8(node, batch)
            elif node.target is torch.ops.mkldnn._convolution_pointwise.default:
                _pack_float(module, node, batch)
        module.recompile()

    with mock.patch.object(freezing, "freezing_passes", passes):
        yield


def _shape_int8(prepack: Node, batch: int) -> None:
    convolution = next(iter(prepack.users))
    source = convolution.args[0]
    if prepack.args[_SHAPE] is None and isinstance(source, Node):
        arguments = list(prepack.args)
        arguments[_SHAPE] = _concrete(source, batch)
        prepack.args = tuple(arguments)


def _pack_float(module: GraphModule, convolution: Node, batch: int) -> None:
    source, weight, _, padding, stride, dilation, groups = convolution.args[:7]
    assert isinstance(source, Node)
    assert isinstance(weight, Node)
    packed = weight.target is torch.ops.mkldnn._reorder_convolution_weight
    if packed or is_ambiguous(source.meta["val"].shape):
        return
    arguments = (weight, padding, stride, dilation, groups, _concrete(source, batch))
    with module.graph.inserting_before(convolution):
        new = module.graph.call_function(torch.ops.mkldnn._reorder_convolution_weight, arguments)
    new.meta.update(weight.meta)
    convolution.replace_input_with(weight, new)


def _concrete(node: Node, batch: int) -> list[int]:
    """The shape of the node's tensor with `batch` in place of each symbol."""
    return [
        size if isinstance(size, int) else int(size.node.expr.subs(dict.fromkeys(size.node.expr.free_symbols, batch)))
        for size in tuple(node.meta["val"].shape)
    ]
