"""Quantized programs in the form in which ExecuTorch hands them to XNNPACK.

1. Static int8: see `xnnpack_static.py` and `xnnpack_scales.py`.
2. A linear layer that rounds its input row by row keeps its weights in 8 or 4 bits: see `xnnpack_weights.py`.
3. Any other weight of few bits is widened to float32 once, here, and its layer computes in float: nothing is left of
   what rounded its input.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.calls import operator_name
from workers.graphs.fixed_values import evaluate
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS
from workers.graphs.low_bit import constant_node, dynamic_source, read_weight, round_input
from workers.graphs.low_bit_layers import Ways, owner_of
from workers.graphs.reexport import reexport
from workers.graphs.rounded_forms import Rounded, find_rounded
from workers.graphs.tidying import remove_idle
from workers.graphs.xnnpack_scales import fit_scales
from workers.graphs.xnnpack_static import float_linears, make_signed
from workers.graphs.xnnpack_weights import give_weight, pad_input, weight_reason

__all__ = ["ForXnnpack", "for_xnnpack", "xnnpack_refusal"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed
_WAYPOINTS = frozenset({aten.view.default, aten.slice.Tensor})


@dataclass(frozen=True)
class ForXnnpack:
    """A program for ExecuTorch, and how its layers with weights of few bits compute in it."""

    program: ExportedProgram
    notes: tuple[str, ...] = ()


def xnnpack_refusal(program: ExportedProgram) -> str | None:
    """Why weights of few bits would gain nothing: each would be widened; `None` if one stays, or there are none."""
    module = _module(program)
    rounded = find_rounded(module)
    readers = [(module, each, user) for each in rounded for user in _end(each).users]
    reasons = [_reason(*reader) for reader in readers]
    if not reasons or None in reasons:
        return None
    return "; ".join(sorted({f"{reason}" for reason in reasons}))


def for_xnnpack(program: ExportedProgram, example: Sequence[torch.Tensor]) -> ForXnnpack:
    """The program in the forms above.

    Args:
        example: as for `reexport`.

    Returns:
        the program itself if nothing in it is quantized.
    """
    module = copy.deepcopy(_module(program))
    rounded = find_rounded(module)
    if not rounded:
        return ForXnnpack(program)
    remove_idle(module)
    make_signed(module)
    ways = Ways()
    dynamic = _give_weights(module, rounded, ways)
    _drop_rounding(module)
    by_row = [layer for layer in float_linears(module) if layer not in dynamic]
    for layer in dynamic:
        pad_input(module, layer)
    for layer in [*dynamic, *by_row]:
        round_input(module, layer)
    fit_scales(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    notes = ways.notes
    if by_row:
        notes.append(
            f"{len(by_row)} linear layer(s) whose output nothing rounds find the range of their input row by row, when "
            "they run: XNNPACK has no kernel for it with a fixed range."
        )
    return ForXnnpack(reexport(module, program, example), tuple(notes))


def _module(program: ExportedProgram) -> GraphModule:
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module


def _give_weights(module: GraphModule, rounded: Sequence[Rounded], ways: Ways) -> list[Node]:
    """Gives every weight of few bits its form for XNNPACK, or widens it.

    Returns:
        the linear layers that round their input row by row.
    """
    dynamic: list[Node] = []
    for each in rounded:
        end, static = _end(each), _is_static(each)
        wide: Node | None = None
        for reader in list(end.users):
            reason = _reason(module, each, reader)
            if reason is not None:
                wide = wide or constant_node(module, end, f"{end.name}_wide", evaluate(module, end, {}))
                reader.replace_input_with(end, wide)
                ways.add(f"widened to float32 ({reason})", owner_of(each.node))
            elif not static:
                weight = read_weight(module, end)
                assert weight is not None
                ways.add(give_weight(module, reader, weight), owner_of(each.node))
                dynamic.append(reader)
    return dynamic


def _reason(module: GraphModule, rounded: Rounded, reader: Node) -> str | None:
    """Why a layer that reads a rounded weight computes in float; `None`: it computes in integers."""
    if reader.target not in LINEARS and not (_is_static(rounded) and reader.target in CONVOLUTIONS):
        return f"XNNPACK has no kernel for {operator_name(reader)} with weights of few bits"
    bias = reader.args[2] if len(reader.args) > 2 else None
    if isinstance(bias, Node) and bias.op != "get_attr":
        return "its bias is computed, not stored"
    if _is_static(rounded):
        return None
    weight = read_weight(module, reader.args[1])
    if weight is None:
        return f"XNNPACK has no kernel for {rounded.form.kind}"
    if dynamic_source(reader.args[0]) is None:
        return "its input is not rounded: `activations: dynamic`"
    return weight_reason(weight)


def _is_static(rounded: Rounded) -> bool:
    """True for weights of static int8."""
    return rounded.node.target is ops.dequantize_per_channel.default


def _end(rounded: Rounded) -> Node:
    """The node that gives a rounded weight in the shape in which layers read it."""
    node = rounded.node
    while len(node.users) == 1 and (user := next(iter(node.users))).target in _WAYPOINTS:
        node = user
    return node


def _drop_rounding(module: GraphModule) -> None:
    """Lets every layer read the tensors behind inputs that are rounded row by row."""
    for node in module.graph.nodes:
        if (source := dynamic_source(node)) is not None:
            node.replace_all_uses_with(source)
