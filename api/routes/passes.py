"""The catalogue of passes and backends."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from api.replies import reply
from burnish.passes import PASSES
from burnish.recipe import BACKEND_DEVICES, BACKENDS, Backend, Target
from burnish.resources import Page, PassResource

__all__ = ["BACKEND_SUMMARIES", "blueprint"]

blueprint = APIBlueprint("passes", __name__, url_prefix="/v1")

BACKEND_SUMMARIES: dict[Backend, str] = {
    "inductor": "PyTorch's own compiler, ahead of time: one `.pt2` package that stock PyTorch runs.",
    "onnxruntime": "ONNX for ONNX Runtime: one `.onnx` file that runs without PyTorch.",
    "openvino": "OpenVINO IR: one `.zip` with graph and weights, for processors, that runs without PyTorch.",
    "eager": "The treated program as it is: one `.pt2` for `torch.export.load`. Not tried by `auto`.",
    "executorch": "For phones: one `.pte` with XNNPACK's kernels, float and int8. Not tried by `auto`.",
}
_BACKENDS_UNDERSTAND: dict[Backend, str] = {
    "inductor": "Every operator of torch; our kernels for linear layers, LSTM, GRU and wide convolutions in few bits.",
    "onnxruntime": "Operators that `torch.onnx` translates to opset 18; quantized programs of every form.",
    "openvino": "Operators that OpenVINO's PyTorch frontend translates; quantized programs of every form.",
    "eager": "Every operator of torch; of quantized programs those whose arithmetic is float.",
    "executorch": "Operators of core ATen; XNNPACK computes those that it has; static int8, linear layers in few bits.",
}


@blueprint.get("/passes")
@blueprint.output(Page[PassResource])
def list_passes() -> Response:
    """List passes and backends with the JSON schemas of their settings"""
    return reply(Page[PassResource](items=(*_passes(), *_backends())))


def _passes() -> list[PassResource]:
    return [
        PassResource(
            name=name,
            kind="pass",
            summary=kind.summary,
            understands=kind.understands,
            devices=("cpu",),
            needs=tuple(sorted(kind.needs)),
            may_need=tuple(sorted(kind.may_need)),
            never_after=tuple(sorted(kind.never_after)),
            settings=kind.model_json_schema(),
        )
        for name, kind in PASSES.items()
    ]


def _backends() -> list[PassResource]:
    """A backend has no settings of its own: the target says what it needs to know."""
    return [
        PassResource(
            name=name,
            kind="backend",
            summary=BACKEND_SUMMARIES[name],
            understands=_BACKENDS_UNDERSTAND[name],
            devices=BACKEND_DEVICES[name],
            needs=(),
            may_need=(),
            never_after=(),
            settings=Target.model_json_schema(),
        )
        for name in BACKENDS
    ]
