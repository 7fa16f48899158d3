"""Lowering to OpenVINO's intermediate representation, in one file."""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import onnx_ir as ir
import torch
import torchao.quantization.pt2e  # noqa: F401  # registers the ops of quantized programs
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Backend, Target
from workers.backends.base import BackendRunner, Lowered
from workers.graphs.dynamic_rounding import DynamicRounding, drop_dynamic_rounding
from workers.graphs.onnx_bfloat16 import widen_bfloat16
from workers.graphs.onnx_obstacles import onnx_obstacles
from workers.graphs.onnx_translation import TRANSLATION
from workers.passes.base import Samples

# OpenVINO's model converter, which is not used here, reports its use over the network where this package is found.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

from workers.graphs.openvino_weights import put_weights, take_weights, translation  # noqa: E402

__all__ = ["OpenVino"]

OPSET = 18
"""What torch's exporter writes without a conversion."""
_WHEN = (1980, 1, 1, 0, 0, 0)
"""Date of the members of the archive: the least that a ZIP file can say."""


class OpenVino(BackendRunner):
    """A ZIP file with the graph (`model.xml`), its weights (`model.bin`) and how to compile it (`model.json`).

    The program goes through torch's ONNX exporter: OpenVINO's own reader of exported programs forgets the shape of
    inputs and unrolls LSTMs step by step. What the quantize pass wrote comes out as follows.

    1. Q/DQ pairs of static int8 become `FakeQuantize`, which the processor's plugin turns into int8 kernels.
    2. Low-bit weights stay packed, see `workers/graphs/openvino_weights.py`; matrix products and embeddings read them
       so. Convolutions and recurrent layers widen theirs once, when the file is loaded.
    3. An input rounded row by row is left to the kernels of rule 2, which round it themselves, in pieces as long as a
       group: the option `DYNAMIC_QUANTIZATION_GROUP_SIZE`. It holds for the whole model, so it is set only if every
       such layer asks for it.
    4. bfloat16 is an option, too, which processors without such instructions ignore. float16 is computed in float32:
       few processors have it, and where they lack it OpenVINO would take bfloat16, which is coarser.

    Attention is exported in an order of its own (`workers/graphs/onnx_attention.py`).
    """

    name: ClassVar[Backend] = "openvino"
    filename: ClassVar[str] = "model.openvino.zip"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao", "onnx", "onnxscript", "onnx-ir", "openvino")
    depends_on_isa: ClassVar[bool] = False
    automatic: ClassVar[bool] = True

    def requires(self, program: ExportedProgram, target: Target) -> Sequence[str]:
        if target.device not in self.devices:
            return [f"OpenVINO is set up here for cpu, not for {target.device}. Use the inductor backend."]
        return onnx_obstacles(program)

    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        program, rounding = drop_dynamic_rounding(program)
        exported = _export(program)
        weights = take_weights(exported.model)
        half = widen_bfloat16(exported.model)
        with tempfile.TemporaryDirectory(dir=folder, prefix="openvino-") as scratch:
            model = _read(exported, Path(scratch))
            put_weights(model, weights)
            _name_operations(model)
            path = folder / self.filename
            _write(model, _config(target, rounding, half), Path(scratch), path)
        return Lowered(path, tuple(_notes(model, [weight.bits for weight in weights.values()], rounding, half)))

    def usage(self, inputs: Sequence[str]) -> str:
        return (
            "import json, zipfile, openvino\n"
            f'with zipfile.ZipFile("{self.filename}") as archive:\n'
            '    graph, weights, config = (archive.read(f"model.{kind}") for kind in ("xml", "bin", "json"))\n'
            "core = openvino.Core()\n"
            'model = core.compile_model(core.read_model(graph, weights), "CPU", json.loads(config))\n'
            f"outputs = model(({', '.join(inputs)},)).to_tuple()  # numpy in, tuple of numpy out\n"
        )


def _export(program: ExportedProgram) -> torch.onnx.ONNXProgram:
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            custom_translation_table={**TRANSLATION, **translation()},
        )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModel(
            f"torch's ONNX exporter can't express this program: {_innermost(error)}",
            cure="Use the inductor backend, or write the model without that operation.",
        ) from error
    assert exported is not None  # only `None` with dynamo=False
    return exported


def _read(exported: torch.onnx.ONNXProgram, scratch: Path) -> openvino.Model:
    """OpenVINO's graph of an ONNX model. Weights lie beside the graph on the way: one ONNX file holds 2 GiB."""
    ir.save(exported.model, scratch / "model.onnx", external_data="model.onnx.data")
    try:
        return openvino.Core().read_model(scratch / "model.onnx")
    except RuntimeError as error:
        raise UnsupportedModel(
            f"OpenVINO can't read this program: {_reason(error)}", cure="Use the inductor or onnxruntime backend."
        ) from error


def _name_operations(model: openvino.Model) -> None:
    """Names by place: OpenVINO's own contain a number that counts on through the process."""
    for index, operation in enumerate(model.get_ordered_ops()):
        if operation.get_type_name() != "Parameter":
            operation.set_friendly_name(f"{operation.get_type_name()}_{index}")


def _config(target: Target, rounding: DynamicRounding, bfloat16: bool) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": target.threads,
        # Left alone, OpenVINO computes in bfloat16 where the processor can.
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": rounding.group if rounding.everywhere else 0,
        # Threads stay on the cores that their process was given.
        "ENABLE_CPU_PINNING": False,
    }


def _write(model: openvino.Model, config: dict[str, Any], scratch: Path, path: Path) -> None:
    openvino.serialize(model, scratch / "model.xml", scratch / "model.bin")
    (scratch / "model.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for kind in ("xml", "bin", "json"):
            with (
                (scratch / f"model.{kind}").open("rb") as source,
                archive.open(zipfile.ZipInfo(f"model.{kind}", _WHEN), "w", force_zip64=True) as member,
            ):
                while part := source.read(1 << 20):
                    member.write(part)


def _notes(model: openvino.Model, bits: Sequence[int], rounding: DynamicRounding, half: bool) -> list[str]:
    operations = model.get_ordered_ops()
    notes = [f"OpenVINO IR, {len(operations)} operations."]
    if quantized := sum(operation.get_type_name() == "FakeQuantize" for operation in operations):
        notes.append(f"{quantized} tensors are quantized to int8.")
    for width in sorted(set(bits)):
        held = " in 4" if width == 3 else ""
        notes.append(f"{bits.count(width)} weights are held{held} as {width}-bit integers with scales in float16.")
    if rounding.everywhere:
        notes.append(f"Matrix products round their input to int8 in groups of {rounding.group}.")
    elif rounding.layers:
        notes.append("Inputs are not rounded to int8: OpenVINO does that for all low-bit layers or for none.")
    if half:
        notes.append("bfloat16 where the processor has it, else float32.")
    return notes


def _innermost(error: BaseException) -> str:
    """The innermost cause: the exporter wraps it in a page of advice on reporting bugs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _reason(error: RuntimeError) -> str:
    """What OpenVINO says, without the lines that tell where in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("Exception from", "Check '")))[:500]
