"""Lowering to an ONNX file for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
import torchao.quantization.pt2e  # noqa: F401  # registers the ops of quantized programs
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Backend, Target
from workers.backends.base import BackendRunner, Lowered
from workers.graphs.onnx_bfloat16 import widen_bfloat16
from workers.graphs.onnx_bias import quantize_biases
from workers.graphs.onnx_ends import name_ends
from workers.graphs.onnx_low_bit import lower_low_bit
from workers.graphs.onnx_obstacles import onnx_obstacles
from workers.graphs.onnx_provenance import name_batch, strip_provenance
from workers.graphs.onnx_scales import unify_scales
from workers.graphs.onnx_scan import expand_recurrences
from workers.graphs.onnx_sharing import drop_unread_constants, share_constants
from workers.graphs.onnx_sites import drop_keepers
from workers.graphs.onnx_translation import TRANSLATION
from workers.passes.base import Samples
from workers.passes.calibration import batches
from workers.programs import input_names, output_names

__all__ = ["OnnxRuntime"]

OPSET = 18
"""What torch's exporter writes without a conversion; every ONNX Runtime since 1.14 reads it."""
FILE_LIMIT = 2**31 - 2**20
"""Bytes of weights that fit one file: protobuf's 2 GiB, less a margin for the graph."""


class OnnxRuntime(BackendRunner):
    """One `.onnx` file, weights inside, that any ONNX Runtime runs.

    A quantized program's Q/DQ pairs stay pairs of `QuantizeLinear` and `DequantizeLinear`: portable ONNX, which
    ONNX Runtime fuses to `QLinearConv`, `QGemm`, `QLinearAdd`, … when it loads the file. It does that in a few
    milliseconds and for the machine at hand, so the file is not optimized beforehand.
    """

    name: ClassVar[Backend] = "onnxruntime"
    filename: ClassVar[str] = "model.onnx"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime")
    depends_on_isa: ClassVar[bool] = False
    automatic: ClassVar[bool] = True

    def requires(self, program: ExportedProgram, target: Target) -> Sequence[str]:
        reasons = [*onnx_obstacles(program)]
        if target.device not in self.devices:
            reasons.append(f"ONNX Runtime is set up here for cpu, not for {target.device}. Use the inductor backend.")
        size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
        if size > FILE_LIMIT:
            reasons.append(
                f"The weights are {size / 1e9:.1f} GB, and one ONNX file holds 2 GiB. Use the inductor backend."
            )
        return reasons

    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        program, ways = lower_low_bit(program, target.batch, next(batches(example, program)))
        exported = _export(program)
        name_ends(exported.model, input_names(program), output_names(program))
        bfloat16 = widen_bfloat16(exported.model)
        model = exported.model_proto
        drop_keepers(model)
        expand_recurrences(model)
        unify_scales(model)
        share_constants(model)
        count = quantize_biases(model)
        drop_unread_constants(model)
        strip_provenance(model)
        name_batch(model)
        path = folder / self.filename
        path.write_bytes(model.SerializeToString(deterministic=True))
        quantized = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
        notes = [f"ONNX opset {OPSET}, {len(model.graph.node)} nodes."]
        notes += ways.notes
        half = "bfloat16" if bfloat16 else "float16" if _has_float16(program) else None
        if half is not None:
            notes.append(f"{half} is stored as such and computed with in float32, no faster than that.")
        if count:
            notes.append(f"{quantized} tensors are quantized to int8, {count} biases to int32.")
        return Lowered(path, tuple(notes))

    def usage(self, inputs: Sequence[str]) -> str:
        feed = ", ".join(f'"{name}": {name}' for name in inputs)
        return (
            "import onnxruntime\n"
            f'session = onnxruntime.InferenceSession("{self.filename}", providers=["CPUExecutionProvider"])\n'
            f"outputs = session.run(None, {{{feed}}})  # numpy in, list of numpy out\n"
        )


def _export(program: ExportedProgram) -> torch.onnx.ONNXProgram:
    try:
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, verbose=False, custom_translation_table=dict(TRANSLATION)
        )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModel(
            f"torch's ONNX exporter can't express this program: {_first_line(error)}",
            cure="Use the inductor backend, or write the model without that operation.",
        ) from error
    assert exported is not None  # only `None` with dynamo=False
    return exported


def _has_float16(program: ExportedProgram) -> bool:
    return any(tensor.dtype is torch.float16 for tensor in program.state_dict.values())


def _first_line(error: BaseException) -> str:
    """The innermost cause: the exporter wraps it in a page of advice on reporting bugs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
