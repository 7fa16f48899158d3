"""Post-training quantization to static int8."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS, Int8Annotations
from workers.graphs.reexport import dimensions, reexport, user_inputs
from workers.isa import isa, saturates_int8
from workers.passes.base import Applied, Pass, PassContext, Samples

__all__ = ["QuantizePass"]

aten = torch.ops.aten

BATCH = 32
"""Samples per calibration step, where the program's batch is dynamic."""

LEFT_ALONE = {
    aten.conv3d.default: "no int8 kernel for three-dimensional convolutions in Inductor",
    aten.conv_transpose1d.default: "no int8 kernel for transposed convolutions",
    aten.conv_transpose2d.input: "no int8 kernel for transposed convolutions",
    aten.conv_transpose3d.input: "no int8 kernel for transposed convolutions",
    aten.matmul.default: "both operands are activations: int8 costs accuracy here and gains little",
    aten.bmm.default: "both operands are activations: int8 costs accuracy here and gains little",
    aten.scaled_dot_product_attention.default: "attention stays in float: its softmax does not take int8",
    aten.lstm.input: "recurrent: static int8 has no kernel for it",
    aten.gru.input: "recurrent: static int8 has no kernel for it",
    aten.rnn_tanh.input: "recurrent: static int8 has no kernel for it",
    aten.rnn_relu.input: "recurrent: static int8 has no kernel for it",
    aten.embedding.default: "a table look-up: nothing is computed",
    aten.addmm.default: "decomposed: export the model without `run_decompositions` to have it as a linear layer",
    aten.convolution.default: "decomposed: export the model without `run_decompositions` to have it as a convolution",
}


class QuantizePass(Pass[Quantize]):
    """Int8 weights per output channel, int8 activations per tensor, with ranges from the calibration data.

    1. Batch norms are folded into the convolutions before them.
    2. The tensors to quantize are chosen by `workers/graphs/int8_annotations.py`, and observed over the calibration
       samples: `minmax` keeps the extremes, `histogram` the range of least mean squared error.
    3. They become pairs of `quantized_decomposed.quantize_*` and `dequantize_*`, the weights int8 constants: a form
       that both backends lower to integer kernels, and that eager PyTorch computes too (slowly, as the reference).
    4. On a machine whose int8 kernels saturate, weights get 7 bits (`workers/isa.py`).

    Jacob et al., 2018: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference.
    Krishnamoorthi, 2018: Quantizing deep convolutional networks for efficient inference.
    """

    settings = Quantize
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao")
    depends_on_isa: ClassVar[bool] = True
    """By rule 4: the ISA is part of the cache key."""

    def requires(self, program: ExportedProgram, settings: Quantize) -> Sequence[str]:
        module = program.module(check_guards=False)
        if _is_quantized(module) or any(_reason(node) is None for node in _layers(module)):
            return []
        return [
            "The model has no layer that int8 speeds up: a one- or two-dimensional convolution or a linear layer, "
            "with float32 weights of its own. Leave `quantize` out of the recipe."
        ]

    def apply(self, program: ExportedProgram, settings: Quantize, context: PassContext) -> Applied:
        # A deep copy, because folding and observing change the module, which shares its weights with `program`.
        module = copy.deepcopy(program.module(check_guards=False))
        reasons = {node: _reason(node) for node in _layers(module)}
        treated = frozenset(node.name for node, reason in reasons.items() if reason is None)
        if not treated or _is_quantized(module):
            return Applied(program, changed=False)
        weight_bits = 7 if saturates_int8(isa()) else 8
        layers = tuple(_treatment(node, reason, weight_bits) for node, reason in reasons.items())
        prepared = prepare_pt2e(module, Int8Annotations(treated, settings.calibration, weight_bits))
        _calibrate(prepared, program, context)
        context.progress(0.9, "exporting")
        example = next(_batches(context.calibration, *_batch_bounds(program)))
        quantized = reexport(convert_pt2e(prepared), program, example)
        return Applied(
            quantized,
            changed=True,
            layers=layers,
            figures={
                "layers_int8": float(len(treated)),
                "layers_left_alone": float(len(layers) - len(treated)),
                "tensors_quantized": float(_count(quantized)),
                "weight_bits": float(weight_bits),
                "calibration_samples": float(len(context.calibration)),
            },
        )


def _layers(module: GraphModule) -> Iterator[Node]:
    known = CONVOLUTIONS | LINEARS | LEFT_ALONE.keys()
    return (node for node in module.graph.nodes if node.target in known)


def _reason(node: Node) -> str | None:
    """Why the layer stays in float; `None` if it is quantized."""
    if node.target in LEFT_ALONE:
        return LEFT_ALONE[node.target]
    source, weight = node.args[:2]
    if not isinstance(weight, Node) or weight.op != "get_attr" or not isinstance(source, Node):
        return "its weights are computed, not stored"
    if weight.meta["val"].dtype is not torch.float32 or source.meta["val"].dtype is not torch.float32:
        return f"its weights are {weight.meta['val'].dtype}, and only float32 is quantized".replace("torch.", "")
    return None


def _treatment(node: Node, reason: str | None, weight_bits: int) -> LayerTreatment:
    if reason is not None:
        return LayerTreatment(layer=_name(node), treatment="left alone", reason=reason)
    how = "weights per output channel, activations per tensor, calibrated"
    if weight_bits == 7:
        how += "; weights use 7 bits, since the int8 kernels of this machine saturate"
    return LayerTreatment(layer=_name(node), treatment="int8", reason=how)


def _name(node: Node) -> str:
    """The layer's name in the model: that of its weights' owner, else the node's own."""
    weight = node.args[1] if len(node.args) > 1 else None
    if isinstance(weight, Node) and weight.op == "get_attr":
        return str(weight.target).rpartition(".")[0] or str(weight.target)
    return node.name


def _is_quantized(module: GraphModule) -> bool:
    return any(str(node.target).startswith("quantized_decomposed.") for node in module.graph.nodes)


def _count(program: ExportedProgram) -> int:
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    return sum(node.target is quantize for node in program.graph.nodes)


def _calibrate(prepared: Callable[..., object], program: ExportedProgram, context: PassContext) -> None:
    total, seen = len(context.calibration), 0
    with torch.no_grad():
        for batch in _batches(context.calibration, *_batch_bounds(program)):
            prepared(*batch)
            seen += len(batch[0])
            context.progress(0.9 * min(seen / total, 1.0), f"calibrating: {min(seen, total)} of {total} samples")


def _batch_bounds(program: ExportedProgram) -> tuple[int, int]:
    """Least and greatest batch for a calibration step, both the same if the program's batch is fixed."""
    size = dimensions(user_inputs(program)[0])[0]
    if isinstance(size, int):
        return size, size
    bounds = program.range_constraints.get(size.node.expr)
    least, most = (2, BATCH) if bounds is None else (max(2, bounds.lower), min(BATCH, bounds.upper))
    return int(least), max(int(least), int(most))


def _batches(samples: Samples, least: int, most: int) -> Iterator[list[torch.Tensor]]:
    """All samples in their order; where the last batch would fall short of `least` it is filled from the start."""
    total = len(samples)
    for start in range(0, total, most):
        rows = torch.arange(start, max(min(start + most, total), start + least)) % total
        yield [tensor[rows] for tensor in samples.inputs]
