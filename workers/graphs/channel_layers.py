"""Channel rules of the layers that compute products: convolutions, linear layers, embeddings, attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workers.graphs.calls import Axes, Call, fixed
from workers.graphs.channel_zeros import vanishes
from workers.graphs.labels import LabelArray

__all__ = ["LAYER_RULES"]


def convolution(call: Call) -> tuple[Axes, ...]:
    """Input channels tie to the weight's second dimension, output channels are its first.

    1. One group: as said.
    2. One input channel per group (depthwise, with any multiplier): all that a group makes ties to what it takes.
    3. Other groups: all groups stay and lose the same positions, so labels of one position tie across groups.
    4. As many groups as samples, as where each sample has a kernel of its own: all channels stay.
    """
    if not isinstance(call.args["groups"], int):
        return unknown(call)
    x, weight = call.axes("input"), call.axes("weight")
    rank, groups = len(weight) - 2, int(call.args["groups"])
    taken, per_group = x[-rank - 1], weight[1]
    made = weight[0]
    for kernel in weight[2:]:
        call.freeze(kernel, "slides a kernel of this size")
    if groups == 1:
        call.tie(taken, per_group)
    elif len(per_group) == 1:
        call.tie(made, np.repeat(taken, len(made) // groups))
    else:
        call.tie(taken, np.tile(per_group, groups))
        call.tie(made, np.tile(made[: len(made) // groups], groups))
    return _convolved(call, x, made)


def transposed_convolution(call: Call) -> tuple[Axes, ...]:
    """As `convolution`, with the first two dimensions of the weight changed about."""
    if not isinstance(call.args["groups"], int):
        return unknown(call)
    x, weight = call.axes("input"), call.axes("weight")
    rank, groups = len(weight) - 2, int(call.args["groups"])
    taken = x[-rank - 1]
    made = np.tile(weight[1], groups)
    for kernel in weight[2:]:
        call.freeze(kernel, "slides a kernel of this size")
    call.tie(taken, weight[0])
    if groups > 1 and groups == len(taken):
        call.freeze(weight[1], "gives each channel its own copy of this dimension")
        made = np.repeat(taken, len(weight[1]))
    elif groups > 1:
        call.tie(taken, np.tile(taken[: len(taken) // groups], groups))
    return _convolved(call, x, made)


def any_convolution(call: Call) -> tuple[Axes, ...]:
    """`aten.convolution`, which is either."""
    return transposed_convolution(call) if call.args["transposed"] else convolution(call)


def _convolved(call: Call, x: Axes, made: LabelArray) -> tuple[Axes, ...]:
    call.produce(made)
    if call.given("bias"):
        call.tie(call.axes("bias")[0], made)
    spatial = len(call.axes("weight")) - 2
    for axis in x[-spatial:]:
        call.freeze(axis, "slides a kernel along it")
    return ((*x[: -spatial - 1], made, *fixed(call.shapes[0][-spatial:])),)


def linear(call: Call) -> tuple[Axes, ...]:
    """The last dimension ties to the weight's second; the weight's first comes out."""
    x, weight = call.axes("input"), call.axes("weight")
    call.tie(x[-1], weight[1])
    if call.given("bias"):
        call.tie(call.axes("bias")[0], weight[0])
    return ((*x[:-1], call.produce(weight[0])),)


def matrix_product(call: Call) -> tuple[Axes, ...]:
    """`mm`, `bmm` and `matmul`: the inner dimensions tie, the outer ones come out."""
    first, second = call.tensors() if len(call.tensors()) == 2 else call.tensors() * 2
    return (_product(call, first, second, call.node.args[0], call.node.args[1]),)


def added_product(call: Call) -> tuple[Axes, ...]:
    """`addmm` and `baddbmm`: a product, and something that broadcasts to it."""
    names = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    first, second = (call.axes(name) for name in names)
    product = _product(call, first, second, *(call.args[name] for name in names))
    return (broadcast(call, [product, call.axes("self")]),)


def _product(call: Call, first: Axes, second: Axes, left: object, right: object) -> Axes:
    inner = -2 if len(second) > 1 else -1
    call.tie(first[-1], second[inner])
    if call.labels.free(first[-1]).any() and not (vanishes(left, -1, call.trace) or vanishes(right, inner, call.trace)):
        call.freeze(first[-1], "sums over them, and a removed one would not count as zero")
    rows = (call.produce(first[-2]),) if len(first) > 1 else ()
    columns = (call.produce(second[-1]),) if len(second) > 1 else ()
    call.trace.beside.extend(first[:-2])
    return (*broadcast(call, [first[:-2], second[:-2]]), *rows, *columns)


def einsum(call: Call) -> tuple[Axes, ...]:
    """Dimensions with one letter are tied; a letter that comes out keeps its labels."""
    equation, operands = str(call.args["equation"]).replace(" ", ""), call.args["tensors"]
    if "." in equation or "->" not in equation:
        return unknown(call)
    terms, result = equation.split("->")
    letters: dict[str, LabelArray] = {}
    for term, operand in zip(terms.split(","), operands, strict=True):
        for letter, axis in zip(term, call.trace.axes[operand][0], strict=True):
            known = letters.setdefault(letter, axis)
            if len(known) == len(axis):
                call.tie(known, axis)
            else:
                call.freeze(known, "stretches a dimension of size 1")
                call.freeze(axis, "stretches a dimension of size 1")
                letters[letter] = fixed([max(len(known), len(axis))])[0]
    return (tuple(call.produce(letters[letter]) for letter in result),)


def attention(call: Call) -> tuple[Axes, ...]:
    """Heads go along as batch dimensions do; the size of a head stays, since the scale depends on it."""
    query, key, value = call.axes("query"), call.axes("key"), call.axes("value")
    for axis in (query[-1], key[-1]):
        call.freeze(axis, "scales by the size of a head")
    call.tie(key[-2], value[-2])
    call.trace.beside.extend(query[:-2])
    if call.given("attn_mask"):
        mask = call.axes("attn_mask")
        broadcast(call, [(*query[:-1], key[-2]), mask])
    if len(query[:-2]) and len(query[-3]) != len(key[-3]):
        # Grouped queries: several heads share one key, and go with it.
        shared = np.repeat(key[-3], len(query[-3]) // len(key[-3]))
        call.tie(query[-3], shared)
        call.tie(key[-3], value[-3])
        return ((*broadcast(call, [query[:-3], key[:-3], value[:-3]]), shared, query[-2], value[-1]),)
    return ((*broadcast(call, [query[:-2], key[:-2], value[:-2]]), query[-2], value[-1]),)


def embedding(call: Call) -> tuple[Axes, ...]:
    """Rows are looked up by number and stay; the columns are channels."""
    rows, columns = call.axes("weight")
    call.freeze(rows, "looks its rows up by number")
    return ((*call.axes("indices"), call.produce(columns)),)


def bag(call: Call) -> tuple[Axes, ...]:
    """`embedding_bag`: as `embedding`, with the rows of a bag summed up, channel by channel."""
    rows, columns = call.axes("weight")
    call.freeze(rows, "looks its rows up by number")
    made, *others = call.shapes
    return ((*fixed(made[:1]), call.produce(columns)), *(fixed(shape) for shape in others))


def prelu(call: Call) -> tuple[Axes, ...]:
    """One slope per channel, or one for all."""
    x, slopes = call.axes("self"), call.axes("weight")[0]
    if len(slopes) > 1:
        call.tie(x[1], slopes)
    return (x,)


def broadcast(call: Call, operands: list[Axes]) -> Axes:
    """Ties operands dimension by dimension, aligned at the last; dimensions of size 1 stretch."""
    rank = max((len(axes) for axes in operands), default=0)
    made = []
    for place in range(-rank, 0):
        axes = [operand[place] for operand in operands if len(operand) >= -place]
        longest = max(axes, key=len)
        for axis in axes:
            if len(axis) == len(longest):
                call.tie(longest, axis)
            else:
                call.freeze(axis, "stretches a dimension of size 1")
        made.append(longest)
    return tuple(made)


def unknown(call: Call) -> tuple[Axes, ...]:
    """What no rule covers: every channel that reaches it stays."""
    for axes in call.tensors():
        for axis in axes:
            call.freeze(axis, "is an operator that ties all channels it reads")
    return tuple(fixed(shape) for shape in call.shapes)


LAYER_RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), transposed_convolution),
    "convolution": any_convolution,
    "linear": linear,
    **dict.fromkeys(("mm", "bmm", "matmul"), matrix_product),
    **dict.fromkeys(("addmm", "baddbmm"), added_product),
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    "embedding_bag": bag,
    "prelu": prelu,
}
