"""Layers with low-bit weights on kernels of our own inside an AOTInductor package (`workers/backends/kernels/`).

1. A linear layer with float32 input becomes one operator that reads the codes. If its input is rounded row by row the
   operator rounds it, to the same integers, and its sums over a group are exact.
2. LSTM and GRU: see `inductor_low_bit_recurrent.py`. Convolutions: see `inductor_low_bit_convolutions.py`.
3. Any other low-bit weight is widened to float32 when the package is made, and its layer computes in float. It is named
   with the reason.

The weight is packed once, here, and lies in the package in its bits (three take four).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.calls import arguments, operator_name
from workers.graphs.convolution_geometry import CONVOLUTIONS, geometry_of
from workers.graphs.inductor_low_bit_convolutions import convolution_refusal, patch_order, rounded_convolution
from workers.graphs.inductor_low_bit_recurrent import (
    RECURRENT,
    cell_numbers,
    cells_of,
    recurrent_layers,
    recurrent_refusal,
)
from workers.graphs.inductor_operators import SHIMS, convolution, linear
from workers.graphs.inductor_packing import MOST_COLUMNS, PackedWeight, pack_weight
from workers.graphs.low_bit import LowBitWeight, constant_node, dynamic_source, read_weight
from workers.graphs.low_bit_layers import Ways, layer_reading
from workers.graphs.reexport import reexport

__all__ = ["Kernels", "has_low_bit_weights", "lower_low_bit", "refusals"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed


@dataclass
class Kernels:
    """What a package needs of the kernels' library, and what the layers do with it."""

    kinds: int = 0
    """As `BURNISH_KINDS` in `product.h`."""
    operators: set[torch._ops.OpOverload] = field(default_factory=set)
    """Those in the program, keys of `inductor_operators.SHIMS`."""
    ways: Ways = field(default_factory=Ways)

    @property
    def files(self) -> list[str]:
        """The sources to compile."""
        return sorted({SHIMS[operator].file for operator in self.operators})

    def add(self, packed: PackedWeight, rounded: bool) -> None:
        """Counts in what one product needs."""
        self.kinds |= 1 << ({2: 0, 4: 1, 8: 2}[packed.bits] + (0 if rounded else 3))


def has_low_bit_weights(program: ExportedProgram) -> bool:
    """True if it has weights in the form of `workers/graphs/low_bit.py`."""
    return any(node.target is ops.dequantize_per_channel_group.default for node in program.graph.nodes)


def refusals(program: ExportedProgram) -> list[str]:
    """Why no layer with low-bit weights gets a kernel; empty if one does, or there are none."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    dynamic = _is_dynamic(module)
    reasons = {name: _refusal(module, node, dynamic) for name, node in _layers(module)}
    if not reasons or None in reasons.values():
        return []
    return sorted({f"{reason}" for reason in reasons.values()})


def lower_low_bit(program: ExportedProgram, example: Sequence[torch.Tensor]) -> tuple[ExportedProgram, Kernels]:
    """The program with the operators of `inductor_operators.py`, and what they need.

    Args:
        example: as for `reexport`.

    Returns:
        the program itself, and no operators, if it has no low-bit weight in a layer that has a kernel.
    """
    kernels = Kernels()
    if not has_low_bit_weights(program):
        return program, kernels
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    dynamic = _is_dynamic(module)
    for name, node in list(_layers(module)):
        reason = _refusal(module, node, dynamic)
        if reason is None:
            kernels.ways.add(_lowering_of(node)(module, node, kernels), name)
        else:
            kernels.ways.add(f"widened to float32 ({reason})", name)
    if not kernels.operators:
        return program, kernels
    module.graph.eliminate_dead_code()
    module.recompile()
    return reexport(module, program, example), kernels


def _layers(module: GraphModule) -> Iterator[tuple[str, Node]]:
    """Every call that reads a low-bit weight, with the layer's name."""
    for node in module.graph.nodes:
        if (name := layer_reading(node)) is not None:
            yield name, node


def _refusal(module: GraphModule, node: Node, dynamic: bool) -> str | None:
    """Why a layer gets no kernel; `None`: it gets one. `dynamic`: whether any layer's input is rounded."""
    if node.target in RECURRENT:
        return recurrent_refusal(module, node) or _input_refusal(node.args[0])
    if node.target is not aten.linear.default and node.target not in CONVOLUTIONS:
        return f"no kernel for {operator_name(node)}"
    weight = read_weight(module, node.args[1])
    if weight is None:
        return "the product is not with the weight as it is stored"
    if node.target in CONVOLUTIONS and (reason := convolution_refusal(node, weight, dynamic)):
        return reason
    return _weight_refusal(weight) or _input_refusal(node.args[0])


def _is_dynamic(module: GraphModule) -> bool:
    """True if any layer's input is rounded row by row."""
    return any(dynamic_source(node) is not None for node in module.graph.nodes)


def _weight_refusal(weight: LowBitWeight) -> str | None:
    if min(weight.group, weight.columns_used) > MOST_COLUMNS:
        return f"more than {MOST_COLUMNS} columns share a scale"
    return None


def _input_refusal(node: object) -> str | None:
    assert isinstance(node, Node)
    dtype = node.meta["val"].dtype
    return None if dtype is torch.float32 else f"its input is {str(dtype).removeprefix('torch.')}"


def _lowering_of(node: Node) -> Callable[[GraphModule, Node, Kernels], str]:
    if node.target in RECURRENT:
        return _lower_recurrent
    return _lower_convolution if node.target in CONVOLUTIONS else _lower_linear


def _lower_convolution(module: GraphModule, node: Node, kernels: Kernels) -> str:
    call, weight = arguments(node), read_weight(module, node.args[1])
    assert weight is not None
    packed, data = _packed(module, node, "weight", patch_order(weight), kernels, rounded=True)
    kernels.operators.add(convolution)
    geometry = geometry_of(call, weight.shape[2:])
    _replace(module, node, rounded_convolution, call["input"], data, call["bias"], packed.numbers, geometry)
    return f"computed in {packed.bits} bits, inputs int8 per sample"


def _lower_linear(module: GraphModule, node: Node, kernels: Kernels) -> str:
    source = dynamic_source(node.args[0])
    weight = read_weight(module, node.args[1])
    assert weight is not None
    rounded = source is not None
    packed, data = _packed(module, node, "weight", weight, kernels, rounded)
    bias = node.args[2] if len(node.args) > 2 else None
    kernels.operators.add(linear)
    _replace(module, node, linear, source or node.args[0], data, bias, *packed.numbers, int(rounded))
    return _way({packed.bits}, rounded)


def _lower_recurrent(module: GraphModule, node: Node, kernels: Kernels) -> str:
    call, cells = arguments(node), cells_of(module, node)
    source = dynamic_source(node.args[0])
    assert cells is not None
    rounded = source is not None
    constants, numbers, bits = [], [], set()
    for number, (inputs, state, *biases) in enumerate(cells):
        pair = [
            _packed(module, node, f"{kind}_{number}", weight, kernels, rounded)
            for kind, weight in (("inputs", inputs), ("state", state))
        ]
        constants.append([data for _, data in pair] + biases)
        numbers.append(cell_numbers(pair[0][0], pair[1][0]))
        bits |= {packed.bits for packed, _ in pair}
    states = call["hx"] if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
    options = {
        "directions": 2 if call["bidirectional"] else 1,
        "batch_first": call["batch_first"],
        "rounded": rounded,
    }
    assert isinstance(node.target, torch._ops.OpOverload)
    kernels.operators.add(RECURRENT[node.target])
    _replace(module, node, recurrent_layers, source or node.args[0], list(states), constants, numbers, options)
    return _way(bits, rounded) + (", state too" if rounded else "")


def _packed(
    module: GraphModule, node: Node, name: str, weight: LowBitWeight, kernels: Kernels, rounded: bool
) -> tuple[PackedWeight, Node]:
    """A weight as the kernels read it, and the node that reads it from the package."""
    packed = pack_weight(weight)
    kernels.add(packed, rounded)
    return packed, constant_node(module, _first(module), f"_{node.name}_{name}", packed.data)


def _replace(module: GraphModule, node: Node, function: Any, *values: Any) -> None:
    with module.graph.inserting_before(node):
        new = module.graph.call_function(function, values)
    new.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(new)
    module.graph.erase_node(node)


def _way(bits: set[int], rounded: bool) -> str:
    named = " and ".join(str(each) for each in sorted(bits))
    return f"computed in {named} bits, inputs {'int8 per row' if rounded else 'float32'}"


def _first(module: GraphModule) -> Node:
    """The first node, behind which constants are read."""
    nodes: Iterator[Node] = iter(module.graph.nodes)
    return next(nodes)
