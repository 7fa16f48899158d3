"""Low-rank factorization: one large layer becomes two small ones in a row."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from burnish.passes import LowRank
from burnish.results import LayerTreatment
from workers.graphs.calls import arguments, operator_name
from workers.graphs.int8_annotations import LINEARS
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import stored_tensor
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.input_moments import input_moments, portions
from workers.passes.quantize_layers import EMBEDDINGS, Layer, find_layers
from workers.programs import tracing_inputs

__all__ = ["LowRankPass"]

aten = torch.ops.aten
_DAMPING = 1e-4
"""Of the mean square of the inputs: directions that the calibration data do not use keep a little weight."""


class LowRankPass(Pass[LowRank]):
    """Replaces W x by A (B x) with the rank-r matrices A B nearest to W (Eckart and Young, 1936).

    1. A convolution's kernel is the matrix (outputs, inputs of one place); its first factor keeps the kernel, stride
       and padding with r outputs, the second is a convolution of size 1 (Zhang et al. 2016, arXiv:1505.06798).
    2. With `whiten`, nearest is measured by the outputs on the calibration data: W S is factorized, where S Sᵀ is the
       second moment of the inputs (SVD-LLM, arXiv:2403.07378).
    3. The rank follows from the multiply-adds to save; a layer too small for `round_to` is left alone.
    4. A layer that is called several times (ALBERT's, a Siamese model's) has one pair of factors for all its calls, and
       nearest is measured over the inputs of all of them.
    """

    settings: ClassVar[type[LowRank]] = LowRank

    def requires(self, program: ExportedProgram, settings: LowRank) -> Sequence[str]:
        module = program.module(check_guards=False)
        assert isinstance(module, GraphModule)
        if any(_why_not(layer) is None for layer in find_layers(module, by_weight=True)):
            return ()
        return ["The model has no linear or convolution layer with weights of its own. Leave `low_rank` out."]

    def apply(self, program: ExportedProgram, settings: LowRank, context: PassContext) -> Applied:
        module = copy.deepcopy(program.module(check_guards=False))
        assert isinstance(module, GraphModule)
        layers = find_layers(module, by_weight=True)
        wanted = [layer for layer in layers if _why_not(layer) is None and _ratio(layer, settings) > 0]
        told = {
            layer.name: LayerTreatment(
                layer=layer.name, treatment="left alone", reason=_why_not(layer) or "the settings leave it alone"
            )
            for layer in layers
        }
        changed = 0
        for portion in portions(wanted, hessians=settings.whiten):
            calls = [call for layer in portion for call in layer.calls]
            moments = (
                input_moments(module, program, calls, context.calibration, True, lambda share: None)
                if settings.whiten
                else {}
            )
            for layer in portion:
                name = str(layer.weights[0].target)
                hessian = moments[name].hessian if name in moments else None
                split = _split(module, layer, None if hessian is None else hessian[0], settings)
                told[layer.name] = split if isinstance(split, LayerTreatment) else _replace(module, layer, split)
                changed += not isinstance(split, LayerTreatment)
                context.progress(0.9 * changed / max(1, len(wanted)), f"factorized {layer.name}")
        if not changed:
            return Applied(program, changed=False, layers=tuple(told.values()))
        module.graph.eliminate_dead_code()
        module.recompile()
        result = reexport(module, program, tracing_inputs(program))
        figures = {"layers_factorized": float(changed), "layers_left_alone": float(len(told) - changed)}
        return Applied(result, changed=True, layers=tuple(told.values()), figures=figures)


@dataclass(frozen=True)
class _Split:
    """W ≈ up · down."""

    down: torch.Tensor
    """(rank, columns)."""
    up: torch.Tensor
    """(outputs, rank)."""
    lost: float
    """Share of the squared norm that is gone: of the outputs if whitened, else of the weights."""
    whitened: bool


def _why_not(layer: Layer) -> str | None:
    if layer.kind == "other":
        return f"only linear layers and convolutions are factorized, and this is `{operator_name(layer.calls[0])}`"
    if layer.reason is not None or layer.kind not in ("linear", "convolution"):
        return layer.reason or f"{layer.kind} layers are not factorized"
    if any(call.target in EMBEDDINGS for call in layer.calls):
        return "its weights are also looked up as a table"
    if any(call.target not in LINEARS and int(arguments(call)["groups"]) != 1 for call in layer.calls):
        return "a grouped convolution is small per group already"
    return None


def _ratio(layer: Layer, settings: LowRank) -> float:
    return next(
        (ratio for pattern, ratio in settings.layers.items() if fnmatchcase(layer.name, pattern)), settings.ratio
    )


def _split(
    module: GraphModule, layer: Layer, hessian: torch.Tensor | None, settings: LowRank
) -> _Split | LayerTreatment:
    """The two factors, or why there are none."""
    matrix = stored_tensor(module, layer.weights[0]).detach().flatten(1).double()
    outputs, columns = matrix.shape
    most = math.floor((1.0 - _ratio(layer, settings)) * outputs * columns / (outputs + columns))
    most = most // settings.round_to * settings.round_to
    if most < 1:
        return _alone(layer, f"{outputs} × {columns} is too small for a rank of {settings.round_to} to save that much")
    root = _root(hessian) if hessian is not None else None
    left, values, right = torch.linalg.svd(matrix if root is None else matrix @ root, full_matrices=False)
    rank = most
    squares = values.square()
    if settings.energy is not None:
        enough = int((squares.cumsum(0) / squares.sum() < settings.energy - 1e-12).sum()) + 1
        rank = -(-enough // settings.round_to) * settings.round_to
        if rank > most:
            return _alone(
                layer, f"it needs rank {rank} to keep {settings.energy:.4g}, and saves enough only up to {most}"
            )
    scale = values[:rank].sqrt()
    down = scale[:, None] * right[:rank]
    if root is not None:
        down = torch.linalg.solve_triangular(root.mT, down.mT, upper=True).mT
    lost = float(squares[rank:].sum() / squares.sum()) if squares.sum() > 0 else 0.0
    return _Split(down.float(), (left[:, :rank] * scale).float(), lost, root is not None)


def _root(hessian: torch.Tensor) -> torch.Tensor:
    """The lower triangular S with S Sᵀ = the second moment of the inputs, plus a little on the diagonal."""
    moment = hessian.double()
    damping = _DAMPING * float(moment.diagonal().mean()) + 1e-12
    root: torch.Tensor = torch.linalg.cholesky(moment + damping * torch.eye(len(moment), dtype=torch.float64))
    return root


def _alone(layer: Layer, reason: str) -> LayerTreatment:
    return LayerTreatment(layer=layer.name, treatment="left alone", reason=reason)


def _replace(module: GraphModule, layer: Layer, split: _Split) -> LayerTreatment:
    (weight,) = layer.weights
    name = str(weight.target)
    kernel = stored_tensor(module, weight)
    rank = len(split.down)
    ones = (1,) * (kernel.dim() - 2)
    with module.graph.inserting_before(layer.calls[0]):
        down = _stored(module, f"{name}_down", split.down.reshape(rank, *kernel.shape[1:]))
        up = _stored(module, f"{name}_up", split.up.reshape(len(kernel), rank, *ones))
    for call in layer.calls:
        with module.graph.inserting_before(call):
            first = module.graph.call_function(call.target, (call.args[0], down, None, *call.args[3:]), call.kwargs)  # type: ignore[arg-type]
            bias = call.args[2] if len(call.args) > 2 else None
            plain = call.target if call.target in LINEARS else _pointwise(kernel.dim() - 2)
            second = module.graph.call_function(plain, (first, up, bias))  # type: ignore[arg-type]
        call.replace_all_uses_with(second)
        module.graph.erase_node(call)
    share = rank * (kernel[0].numel() + len(kernel)) / kernel.numel()
    what = "squared outputs on the calibration data" if split.whitened else "squared weights"
    return LayerTreatment(
        layer=layer.name,
        treatment=f"rank {rank} of {min(len(kernel), kernel[0].numel())}",
        reason=f"{100 * share:.0f} % of the multiply-adds keep {100 * (1 - split.lost):.2f} % of the {what}",
        bytes_before=4 * kernel.numel(),
        bytes_after=4 * (split.down.numel() + split.up.numel()),
        error_db=-10 * math.log10(max(split.lost, 1e-30)),
    )


def _stored(module: GraphModule, name: str, value: torch.Tensor) -> Node:
    owner, _, last = name.rpartition(".")
    module.get_submodule(owner).register_parameter(last, torch.nn.Parameter(value.contiguous(), requires_grad=False))
    return module.graph.get_attr(name)


def _pointwise(spatial: int) -> object:
    return {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[spatial]
