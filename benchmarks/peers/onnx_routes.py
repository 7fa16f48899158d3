"""ONNX Runtime's own routes: torch's exporter, and the quantizers that come with the runtime.

As https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.given import Given

__all__ = ["dynamic", "exported", "static", "static_per_channel"]


def exported(given: Given, folder: Path) -> Path:
    """The float32 file."""
    path = folder / "model.onnx"
    made = torch.onnx.export(given.program(), dynamo=True, verbose=False)
    assert made is not None  # only `None` with dynamo=False
    made.save(path, include_initializers=True)
    return path


def static(given: Given, folder: Path) -> Path:
    """`quantize_static` with its defaults: int8 activations and weights, one scale a tensor."""
    return _static(given, folder)


def static_per_channel(given: Given, folder: Path) -> Path:
    """The same with the two settings that the documentation names for accuracy and for x86."""
    from onnxruntime.quantization import QuantType

    return _static(given, folder, per_channel=True, activation_type=QuantType.QUInt8)


def dynamic(given: Given, folder: Path) -> Path:
    """`quantize_dynamic` with its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    path = folder / "model.dynamic.onnx"
    quantize_dynamic(_prepared(given, folder), path)
    return path


def _static(given: Given, folder: Path, **settings: Any) -> Path:
    from onnxruntime.quantization import quantize_static

    path = folder / "model.static.onnx"
    prepared = _prepared(given, folder)
    quantize_static(prepared, path, _reader(given, prepared), **settings)
    return path


def _prepared(given: Given, folder: Path) -> Path:
    """`quant_pre_process`; without symbolic shapes where it can't follow them."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, path = exported(given, folder), folder / "model.prepared.onnx"
    try:
        quant_pre_process(source, path)
    # A boundary: the symbolic part raises bare exceptions, and the documentation says to leave it out then.
    except Exception as error:  # noqa: BLE001
        print(f"quant_pre_process without symbolic shapes, since: {error}")
        quant_pre_process(source, path, skip_symbolic_shape=True)
    return path


def _reader(given: Given, path: Path) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    names = [value.name for value in onnx.load(path, load_external_data=False).graph.input]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the base is untyped
        """The calibration data, batch by batch."""

        def __init__(self) -> None:
            self._left: Iterator[tuple[torch.Tensor, ...]] = given.batches()

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {n: t.numpy() for n, t in zip(names, batch, strict=True)}

    return Reader()
