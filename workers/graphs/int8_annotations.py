"""Where int8 goes in a graph: the annotations that torchao's PT2E turns into observers, then into Q/DQ pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import HistogramObserver, MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from workers.graphs.affine_batch_norms import make_batch_norms_affine
from workers.graphs.row_scales import SharedScaleObserver, can_share_scale
from workers.graphs.static_ranges import EntropyObserver, PercentileObserver
from workers.graphs.stored_values import stored_tensor

__all__ = ["CONVOLUTIONS", "LINEARS", "Calibration", "Int8Annotations", "tail"]

aten = torch.ops.aten

CONVOLUTIONS = frozenset({aten.conv1d.default, aten.conv2d.default, aten.conv1d.padding, aten.conv2d.padding})
LINEARS = frozenset({aten.linear.default})
CLAMPS = frozenset(
    {
        aten.relu.default,
        aten.relu_.default,
        aten.relu6.default,
        aten.relu6_.default,
        aten.hardtanh.default,
        aten.hardtanh_.default,
    }
)
"""Ops that both backends fold into the clamping of the quantization that follows them."""
ADDITIONS = frozenset({aten.add.Tensor, aten.add_.Tensor})
EXACT = frozenset(
    {
        aten.max_pool1d.default,
        aten.max_pool2d.default,
        aten.flatten.using_ints,
        aten.reshape.default,
        aten.view.default,
        aten.permute.default,
        aten.transpose.int,
        aten.squeeze.dim,
        aten.unsqueeze.default,
        aten.contiguous.default,
    }
)
"""Ops whose result holds only elements of their input: it keeps the input's scale, and nothing is lost."""

Calibration = Literal["minmax", "histogram", "percentile", "entropy"]
_OBSERVERS = {
    "minmax": MinMaxObserver,
    "histogram": HistogramObserver,
    "percentile": PercentileObserver,
    "entropy": EntropyObserver,
}

EPS = float(torch.finfo(torch.float32).eps)


class Int8Annotations(Quantizer):  # type: ignore[misc]  # torchao ships no types
    """Chooses the quantized tensors so that ONNX Runtime and Inductor both find their int8 kernels.

    1. A convolution or linear layer reads an int8 activation and int8 weights, one scale per output channel. A linear
       layer's are equal where that costs next to nothing (`workers/graphs/row_scales.py`).
    2. A convolution's output is quantized again, after the clamp that follows it: ONNX Runtime has no convolution
       that reads int8 and writes float. A linear layer's output stays float unless its reader quantizes it.
    3. An addition that reads a quantized convolution (a residual connection) works on int8 on both sides. Since the
       convolution's output is quantized before it, Inductor can't fuse the addition into the convolution in place,
       which gave wrong answers (`docs/backends/inductor.md`).
    4. A concatenation of quantized tensors is int8, with a scale of its own.
    5. An op that only picks or moves elements keeps the scale of its input.
    6. Everything else reads and writes float.

    Args:
        layers: the convolutions and linear layers to treat, by node name.
        calibration: as in `burnish.passes.Quantize`.
        weight_bits: 8, or 7 on machines whose int8 kernels saturate (`workers/isa.py`).
    """

    def __init__(self, layers: frozenset[str], calibration: Calibration, weight_bits: int) -> None:
        super().__init__()
        self._layers = layers
        self._activation = QuantizationSpec(
            dtype=torch.uint8,
            quant_min=0,
            quant_max=255,
            qscheme=torch.per_tensor_affine,
            observer_or_fake_quant_ctr=_OBSERVERS[calibration].with_args(eps=EPS),
        )
        self._limit = 2 ** (weight_bits - 1) - 1
        self._weight, self._shared_weight = (
            QuantizationSpec(
                dtype=torch.int8,
                quant_min=-self._limit,
                quant_max=self._limit,
                qscheme=torch.per_channel_symmetric,
                ch_axis=0,
                observer_or_fake_quant_ctr=observer.with_args(eps=EPS),
            )
            for observer in (PerChannelMinMaxObserver, SharedScaleObserver)
        )

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        """Called once the batch norms after convolutions are folded into them: those left become plain arithmetic."""
        make_batch_norms_affine(model)
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        """Applies the rules in the order of the graph, so that each node's inputs are decided before it."""
        for node in model.graph.nodes:
            if node.name in self._layers:
                self._annotate_layer(model, node)
            elif node.target in ADDITIONS:
                self._annotate_addition(node)
            elif node.target is aten.cat.default:
                self._annotate_join(node)
            elif node.target in EXACT:
                self._annotate_exact(node)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: the rules make no combination that the backends can't take."""

    def _annotate_layer(self, model: GraphModule, node: Node) -> None:
        source, weight = node.args[:2]
        shared = node.target in LINEARS and can_share_scale(stored_tensor(model, weight), self._limit)
        weights = self._shared_weight if shared else self._weight
        _annotation(node).input_qspec_map.update({source: self._activation, weight: weights})
        if node.target in CONVOLUTIONS:
            _annotation(tail(node)).output_qspec = self._activation

    def _annotate_addition(self, node: Node) -> None:
        sources = list(_tensors(node))
        if len(sources) == 2 and sources[0] is not sources[1] and any(map(_is_quantized, sources)):
            _annotation(node).input_qspec_map.update(dict.fromkeys(sources, self._activation))
            _annotation(tail(node)).output_qspec = self._activation

    def _annotate_join(self, node: Node) -> None:
        sources = list(dict.fromkeys(node.all_input_nodes))
        if all(map(_is_quantized, sources)):
            _annotation(node).input_qspec_map.update(dict.fromkeys(sources, self._activation))
            _annotation(node).output_qspec = self._activation

    def _annotate_exact(self, node: Node) -> None:
        source = node.args[0]
        if isinstance(source, Node) and _is_quantized(source):
            shared = SharedQuantizationSpec(source)
            _annotation(node).input_qspec_map[source] = shared
            _annotation(node).output_qspec = shared


def tail(node: Node) -> Node:
    """`node`, or the clamp after it if nothing else reads `node`."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in CLAMPS else node


def _annotation(node: Node) -> QuantizationAnnotation:
    annotation: QuantizationAnnotation = node.meta.setdefault("quantization_annotation", QuantizationAnnotation())
    annotation._annotated = True
    return annotation


def _is_quantized(node: Node) -> bool:
    annotation = node.meta.get("quantization_annotation")
    return annotation is not None and annotation.output_qspec is not None


def _tensors(node: Node) -> Iterator[Node]:
    """The float tensors that a binary op reads; a scalar or an integer tensor is none."""
    for source in node.args[:2]:
        if isinstance(source, Node) and source.meta["val"].dtype is torch.float32 and source.op != "get_attr":
            yield source
