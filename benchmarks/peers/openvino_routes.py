"""OpenVINO's own routes: its converter, and NNCF's post-training quantization.

As https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html tells
it. Recurrent models go by way of ONNX, for the converter unrolls their loops step by step.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.peers.given import Given
from benchmarks.peers.onnx_routes import exported
from workers.programs import example_inputs

# Converter and NNCF report their use over the network where this package is found.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__all__ = ["Missing", "converted", "converted_float32", "quantized", "quantized_float32"]

_PLACED = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
"""OpenVINO would bind its threads to cores of its own choice, and not to that which all contenders share."""
_FLOAT32 = {**_PLACED, "INFERENCE_PRECISION_HINT": "f32"}


class Missing(Exception):
    """A peer is not installed. The text says how to install it."""


def converted(given: Given, folder: Path) -> Path:
    """Compiled with OpenVINO's defaults."""
    return _saved(_model(given, folder), _PLACED, folder)


def converted_float32(given: Given, folder: Path) -> Path:
    """Float32 even where the processor has bfloat16."""
    return _saved(_model(given, folder), _FLOAT32, folder)


def quantized(given: Given, folder: Path) -> Path:
    """Int8, and what is left with OpenVINO's defaults."""
    return _saved(_int8(given, folder), _PLACED, folder)


def quantized_float32(given: Given, folder: Path) -> Path:
    """Int8, and what is left in float32."""
    return _saved(_int8(given, folder), _FLOAT32, folder)


def _model(given: Given, folder: Path) -> Any:
    import openvino

    if given.kind == "recurrent":
        return openvino.convert_model(exported(given, folder))
    program = given.program()
    model = openvino.convert_model(program)
    # The converter forgets all sizes, not only that of the batch.
    shapes = [[-1, *example.shape[1:]] for example in example_inputs(program, 2, seed=0)]
    model.reshape({port: openvino.PartialShape(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
    return model


def _int8(given: Given, folder: Path) -> Any:
    if importlib.util.find_spec("nncf") is None:
        raise Missing("NNCF is not installed. Install it with `pip install 'burnish[peers]'`.")
    import nncf

    model = _model(given, folder)
    data = nncf.Dataset([[tensor.numpy() for tensor in batch] for batch in given.batches()])
    kind = nncf.ModelType.TRANSFORMER if given.kind == "attention" else None
    return nncf.quantize(model, data, model_type=kind)


def _saved(model: Any, options: dict[str, Any], folder: Path) -> Path:
    """Saved as OpenVINO saves it, in the archive that our loader of OpenVINO graphs reads."""
    import openvino

    openvino.save_model(model, folder / "model.xml")
    (folder / "model.json").write_text(json.dumps(options))
    path = folder / "model.openvino.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for kind in ("xml", "bin", "json"):
            archive.write(folder / f"model.{kind}", f"model.{kind}")
    return path
