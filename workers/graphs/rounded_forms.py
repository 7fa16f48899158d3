"""The forms of rounded weights as one arithmetic: values to codes, codes to the values that the graph computes.

`low_bit.py` and `low_bit_floats.py` say what the forms look like. Static int8 weights are torchao's: a code per weight
and a scale per output channel, behind `quantized_decomposed.dequantize_per_channel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.fx import GraphModule, Node

from workers.graphs.low_bit import bits_of
from workers.graphs.low_bit_floats import FP8_MOST, NF4_LEVELS, fp8_nodes, nearest_fp8, nearest_nf4, nf4_nodes
from workers.graphs.stored_values import stored_tensor

__all__ = ["Form", "Rounded", "find_rounded"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed


class Form(Protocol):
    """How codes stand for values. Scales have the shape in which the program stores them."""

    @property
    def kind(self) -> str:
        """`int2`, `int8`, `fp8`, `nf4`."""

    @property
    def bits(self) -> int:
        """Of a code."""

    def in_groups(self, values: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and scales in shapes that go together element by element."""

    def encode(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """The codes of the nearest values, as the program stores them."""

    def decode(self, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """What the program computes of them, to the bit."""

    def in_range(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """True where the nearest value is not that of a range that ended before."""


@dataclass(frozen=True)
class Integers:
    """Integers with a scale, and perhaps a zero point, per group or per output channel."""

    call: Node
    """The dequantization in the graph."""
    zeros: torch.Tensor | None
    least: int
    most: int

    @property
    def kind(self) -> str:
        return f"int{self.bits}"

    @property
    def bits(self) -> int:
        most = self.call.args[4]
        if not self._is_grouped:
            return 8  # also where the range is narrower, for kernels that saturate
        assert isinstance(most, int)
        return bits_of(most)

    @property
    def _is_grouped(self) -> bool:
        return self.call.target is ops.dequantize_per_channel_group.default

    def in_groups(self, values: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._is_grouped:
            return values.reshape(*scales.shape, -1), scales[..., None]
        return values, scales.reshape(-1, *[1] * (values.dim() - 1))

    def encode(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        codes = self._codes(values, scales).clamp(self.least, self.most)
        return codes.reshape(values.shape).to(torch.int8)

    def decode(self, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        target: Any = self.call.target
        found: torch.Tensor = target(codes, scales, self.zeros, *self.call.args[3:])
        return found

    def in_range(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        codes = self._codes(values, scales)
        return ((codes >= self.least) & (codes <= self.most)).reshape(values.shape)

    def _codes(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        grouped, wide = self.in_groups(values, scales)
        offset = 0.0 if self.zeros is None else self.in_groups(values, self.zeros)[1]
        return (grouped / wide + offset).round()


@dataclass(frozen=True)
class Fp8:
    """float8 e4m3 with a scale per output channel."""

    kind: str = "fp8"
    bits: int = 8

    def in_groups(self, values: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return values, scales

    def encode(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return nearest_fp8(values / scales)

    def decode(self, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return codes.to(torch.float32) * scales

    def in_range(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return (values / scales).abs() <= FP8_MOST + 16  # half of the last step


@dataclass(frozen=True)
class Nf4:
    """16 levels of a normal distribution with a scale per group, stored with a last dimension of 1."""

    kind: str = "nf4"
    bits: int = 4

    def in_groups(self, values: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return values.reshape(*scales.shape[:2], -1), scales

    def encode(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        grouped, wide = self.in_groups(values, scales)
        return nearest_nf4(grouped / wide).reshape(values.shape)

    def decode(self, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor(NF4_LEVELS)[codes.to(torch.int32)]
        return (levels.reshape(*scales.shape[:2], -1) * scales).reshape(codes.shape)

    def in_range(self, values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        grouped, wide = self.in_groups(values, scales)
        # Half of the last step beyond the outermost level, which is the start of many weights.
        return ((grouped / wide).abs() <= 1 + (1 - NF4_LEVELS[-2]) / 2).reshape(values.shape)


@dataclass(frozen=True)
class Rounded:
    """A rounded weight in a graph."""

    node: Node
    """Gives its values, of the codes' shape."""
    codes: Node
    scales: Node
    form: Form
    columns: int | None
    """Columns without those that fill the last group, where there are such."""

    def same_as(self, other: Rounded) -> bool:
        """True if both stand for the same values."""
        mine, its = ((each.codes.target, each.scales.target, *_plain(each.node.args)) for each in (self, other))
        return mine == its


def find_rounded(module: GraphModule) -> list[Rounded]:
    """Every rounded weight of a graph, in its order."""
    return [found for node in module.graph.nodes if (found := _read(module, node)) is not None]


def _read(module: GraphModule, node: Node) -> Rounded | None:
    if node.target in (ops.dequantize_per_channel_group.default, ops.dequantize_per_channel.default):
        return _integers(module, node)
    return _few_bit_float(module, node)


def _integers(module: GraphModule, node: Node) -> Rounded | None:
    codes, scales, zeros = node.args[:3]
    grouped = node.target is ops.dequantize_per_channel_group.default
    if not _is_stored(codes) or not _is_stored(scales) or not (zeros is None or _is_stored(zeros)):
        return None
    if not grouped and node.args[3] != 0:
        return None  # a scale per channel along another axis: none of ours
    assert isinstance(codes, Node)
    assert isinstance(scales, Node)
    least, most = _bounds(node.args[3:5] if grouped else node.args[4:6])
    if grouped and zeros is None and bits_of(most) == 8:
        # Symmetric 8-bit codes leave out -128, and keep to 7 bits where int8 kernels saturate: the codes tell.
        most = int(stored_tensor(module, codes).to(torch.int16).abs().max())
        least = -most
    form = Integers(node, None if zeros is None else stored_tensor(module, zeros), least, most)
    return Rounded(node, codes, scales, form, _columns(node) if grouped else None)


def _few_bit_float(module: GraphModule, node: Node) -> Rounded | None:
    if (found := fp8_nodes(module, node)) is not None:
        return Rounded(node, *found, Fp8(), None)
    found, rows = nf4_nodes(module, node), next(iter(node.users), None)
    if found is None or rows is None or rows.target is not aten.view.default:
        return None
    return Rounded(rows, *found, Nf4(), _columns(rows))


def _columns(node: Node) -> int | None:
    """The end of the slice that cuts off the columns which fill the last group."""
    ends = [user.args[3] for user in node.users if user.target is aten.slice.Tensor and user.args[1] == 1]
    return ends[0] if ends and isinstance(ends[0], int) else None


def _bounds(arguments: Sequence[object]) -> tuple[int, int]:
    least, most = arguments
    assert isinstance(least, int)
    assert isinstance(most, int)
    return least, most


def _plain(arguments: Sequence[object]) -> list[object]:
    return [each for each in arguments if not isinstance(each, Node)]


def _is_stored(node: object) -> bool:
    return isinstance(node, Node) and node.op == "get_attr"
