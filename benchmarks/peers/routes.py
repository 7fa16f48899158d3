"""The table of contenders: every peer's own route as its documentation tells it, and what this service makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.peers import onnx_routes, openvino_routes, torch_routes
from benchmarks.peers.given import KINDS, Given, Kind
from benchmarks.peers.ours import made_for
from burnish.passes import Quantize
from burnish.recipe import AUTOMATIC_BACKENDS, Backend
from workers.backends import BACKENDS_BY_NAME
from workers.measure.contender import loader_of
from workers.search import BFLOAT16_BACKENDS

__all__ = ["OURS", "PEERS", "ROUTES", "ROUTES_BY_NAME", "Route"]

_ALL: frozenset[Kind] = frozenset(KINDS.values())
_WITH_PRODUCTS = _ALL - {"convolutional"}
_FROZEN = Path(__file__).with_name("load_frozen.py")


@dataclass(frozen=True)
class Route:
    """One contender."""

    name: str
    words: str
    """What a user calls, for the table."""
    arithmetic: Literal["float", "int8"]
    make: Callable[[Given, Path], Path]
    """Writes the artifact into a folder. Raises whatever the peer raises."""
    loader: Path
    filename: str
    compiles: bool = False
    """It calls a compiler when it is loaded."""
    kinds: frozenset[Kind] = _ALL
    """Models it is meant for."""


def _torch(name: str, words: str, arithmetic: Literal["float", "int8"], make: Callable[[Given, Path], Path]) -> Route:
    return Route(name, words, arithmetic, make, loader_of("inductor"), "model.pt2")


def _onnx(
    name: str,
    words: str,
    arithmetic: Literal["float", "int8"],
    make: Callable[[Given, Path], Path],
    kinds: frozenset[Kind] = _ALL,
) -> Route:
    return Route(name, words, arithmetic, make, loader_of("onnxruntime"), "model.onnx", kinds=kinds)


def _openvino(
    name: str, words: str, arithmetic: Literal["float", "int8"], make: Callable[[Given, Path], Path]
) -> Route:
    return Route(name, words, arithmetic, make, loader_of("openvino"), "model.openvino.zip")


PEERS = (
    _torch("aoti", "AOTInductor, freezing", "float", torch_routes.packaged),
    _torch("pt2e-aoti", "torchao PT2E, AOTInductor, freezing", "int8", torch_routes.pt2e_packaged),
    Route(
        "pt2e-compile",
        "torchao PT2E, torch.compile, freezing",
        "int8",
        torch_routes.pt2e_program,
        _FROZEN,
        "model.pt2",
        compiles=True,
    ),
    _onnx("onnx", "torch.onnx.export, ONNX Runtime", "float", onnx_routes.exported),
    _onnx("onnx-static", "ONNX Runtime quantize_static, defaults", "int8", onnx_routes.static),
    _onnx(
        "onnx-static-channel",
        "ONNX Runtime quantize_static, per channel, uint8 activations",
        "int8",
        onnx_routes.static_per_channel,
    ),
    _onnx(
        "onnx-dynamic",
        "ONNX Runtime quantize_dynamic",
        "int8",
        onnx_routes.dynamic,
        _WITH_PRODUCTS,
    ),
    _openvino("openvino", "OpenVINO, defaults (bfloat16 where the chip has it)", "float", openvino_routes.converted),
    _openvino("openvino-f32", "OpenVINO, float32", "float", openvino_routes.converted_float32),
    _openvino("nncf", "NNCF quantize, OpenVINO defaults", "int8", openvino_routes.quantized),
    _openvino("nncf-f32", "NNCF quantize, OpenVINO, rest in float32", "int8", openvino_routes.quantized_float32),
)


def _own(
    name: str,
    words: str,
    arithmetic: Literal["float", "int8"],
    rounding: Quantize | None,
    kinds: frozenset[Kind] = _ALL,
    backends: Sequence[Backend] = AUTOMATIC_BACKENDS,
) -> Iterator[Route]:
    for backend in backends:
        yield Route(
            f"{name}@{backend}",
            f"this service, {words}, {backend}",
            arithmetic,
            made_for(backend, rounding),
            loader_of(backend),
            BACKENDS_BY_NAME[backend].filename,
            kinds=kinds,
        )


_BFLOAT16 = [name for name in AUTOMATIC_BACKENDS if name in BFLOAT16_BACKENDS]
OURS = (
    *_own("burnish", "static int8", "int8", Quantize(), _ALL - {"recurrent"}),
    *_own("burnish-dynamic", "dynamic int8", "int8", Quantize(activations="dynamic"), _WITH_PRODUCTS),
    *_own(
        "burnish-bfloat16",
        "bfloat16",
        "float",
        Quantize(weights="bfloat16"),
        backends=_BFLOAT16,
    ),
    *_own(
        "burnish-int8-bfloat16",
        "static int8 and bfloat16",
        "int8",
        Quantize(rest="bfloat16"),
        _ALL - {"recurrent"},
        _BFLOAT16,
    ),
    *_own("burnish-as-is", "as it is", "float", None),
)
"""What the first round of a goal without passes races on a machine that computes in bfloat16, but for its four bits."""
ROUTES = (*PEERS, *OURS)
ROUTES_BY_NAME = {route.name: route for route in ROUTES}
