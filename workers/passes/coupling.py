"""Which channels of a program must stay or go together, and which can't go at all."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from workers.graphs.calls import Sizes, Split, Trace
from workers.graphs.channel_fills import unshare_fills
from workers.graphs.channels import label_channels
from workers.graphs.labels import FIXED, LabelArray
from workers.graphs.stored_values import attribute

__all__ = ["Coupling", "Group", "Slot", "couple", "layer_of", "weights"]

NOT_ALL = "its layers and directions keep one size, and some of them stay or are tied to other layers"


@dataclass(frozen=True)
class Slot:
    """One dimension of one parameter or buffer."""

    name: str
    """Of the tensor in the module, such as `body.0.conv.weight`."""
    dim: int
    classes: LabelArray
    """The class of each index along the dimension."""
    produces: bool
    """True where a layer makes new channels: the output dimension of a convolution or a linear layer."""
    scales: bool
    """True for the scale of a batch norm."""


@dataclass(frozen=True)
class Group:
    """Classes that are made by the same layers, so that it makes sense to compare them and to count them together."""

    classes: LabelArray
    """Sorted."""
    width: int
    """Each dimension the classes live in has a multiple of this many channels per class (a head has its size)."""


@dataclass(frozen=True)
class Coupling:
    """The channels of a module, as classes. Removing a class leaves a module whose shapes all fit.

    A class is a set of channels in several tensors, tied by the operators between them: with a residual sum, output
    channel i of both branches, its batch-norm entries, and input channel i of all layers that read the sum.
    """

    module: GraphModule
    trace: Trace
    slots: tuple[Slot, ...]
    groups: tuple[Group, ...]
    """Free classes only, in the order of the graph."""
    level: tuple[tuple[int, ...], ...]
    """Numbers of groups that must keep the same number of classes, such as the layers of one stacked LSTM."""

    def reason(self, classes: LabelArray) -> str | None:
        """Why not all of `classes` are free; `None` if one is."""
        reasons = [self.trace.labels.reason(int(label)) for label in np.unique(classes)]
        found = Counter(reason for reason in reasons if reason is not None)
        return found.most_common(1)[0][0] if found and None not in reasons else None

    def axes(self) -> list[LabelArray]:
        """The classes along each dimension in the graph that has channels."""
        arrays = [axis for outputs in self.trace.axes.values() for axes in outputs for axis in axes]
        return [self.trace.labels.roots(axis) for axis in arrays if len(axis) and (axis != FIXED).any()]


def couple(program: ExportedProgram, *, rescale: bool = False) -> Coupling:
    """Finds the channels of `program`.

    Reshapes that split channels into several dimensions (heads and their size) leave a choice which of them carries
    the channels. All are tried alike, then each in turn, and what has the most removable weights is kept.

    Args:
        rescale: lets channels go that a layer norm takes its statistics over.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    unshare_fills(module.graph)
    sizes = Sizes(module.graph)

    def attempt(chosen: dict[Split, int]) -> Coupling:
        return _assemble(module, label_channels(module, sizes, chosen, rescale=rescale))

    chosen: dict[Split, int] = {}
    best = attempt(chosen)
    worth = _worth(best)
    for changes in _trials(best.trace.choices):
        trial = attempt({**chosen, **changes})
        if (found := _worth(trial)) > worth:
            best, worth, chosen = trial, found, {**chosen, **changes}
    return best


def _trials(choices: Mapping[Split, tuple[int, ...]]) -> Iterator[dict[Split, int]]:
    """Changes that may let more channels go: of all splits at once, then of one.

    Query, key and value may be split by different numbers, (heads, size) beside (2, heads, size), and only fit each
    other if all are split alike. So places are counted from either end; a split that has no choice there stays.
    """
    alike: list[dict[Split, int]] = []
    for number in range(1, 1 + max((len(sizes) for _, sizes in choices), default=0)):
        for from_end in (True, False):
            found = {
                split: place
                for split, places in choices.items()
                if (place := len(split[1]) - number if from_end else number - 1) in places
            }
            alike += [found] if found and found not in alike else []
    yield from alike
    yield from ({split: place} for split, places in choices.items() for place in places)


def _assemble(module: GraphModule, trace: Trace) -> Coupling:
    while True:
        slots = tuple(_slots(module, trace))
        groups = tuple(_groups(slots, trace))
        uneven = [arrays for arrays in trace.level if not _even(arrays, groups, trace)]
        if not uneven:
            return Coupling(module, trace, slots, groups, _level(groups, trace))
        for array in uneven[0]:
            trace.labels.freeze(array, NOT_ALL)
        trace.level.remove(uneven[0])


def _even(arrays: tuple[LabelArray, ...], groups: tuple[Group, ...], trace: Trace) -> bool:
    """True if each array is exactly one group, so that layers keep the same number if their groups do."""
    wanted = {tuple(group.classes.tolist()) for group in groups}
    return all(tuple(np.unique(trace.labels.roots(array)).tolist()) in wanted for array in arrays)


def _level(groups: tuple[Group, ...], trace: Trace) -> tuple[tuple[int, ...], ...]:
    """Sets of groups, joined where one group is in two."""
    numbers = {int(group.classes[0]): number for number, group in enumerate(groups)}
    joined: list[set[int]] = []
    for arrays in trace.level:
        found = {numbers[int(trace.labels.roots(array).min())] for array in arrays}
        for other in [each for each in joined if each & found]:
            joined.remove(other)
            found |= other
        joined.append(found)
    return tuple(tuple(sorted(each)) for each in joined if len(each) > 1)


def _slots(module: GraphModule, trace: Trace) -> Iterable[Slot]:
    produced, scales = _as_set(trace.produced), _as_set(trace.scales)
    seen: set[int] = set()
    for node in module.graph.find_nodes(op="get_attr"):
        tensor = attribute(module, node.target)
        if id(tensor) in seen or not trace.axes[node] or not node.users:
            continue  # of a tensor with two names the export reads one
        seen.add(id(tensor))
        for dim, axis in enumerate(trace.axes[node][0]):
            if (axis != FIXED).any():
                yield Slot(
                    node.target,
                    dim,
                    trace.labels.roots(axis),
                    produces=not produced.isdisjoint(axis.tolist()),
                    scales=not scales.isdisjoint(axis.tolist()),
                )


def _as_set(arrays: list[LabelArray]) -> set[int]:
    return {label for array in arrays for label in array.tolist() if label != FIXED}


def _groups(slots: tuple[Slot, ...], trace: Trace) -> Iterable[Group]:
    """Classes with the same producers, each as often, form a group."""
    producers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    widths: dict[int, int] = defaultdict(int)
    for index, slot in enumerate(slots):
        found, counts = np.unique(slot.classes, return_counts=True)
        free = trace.labels.free(found)
        for label, count in zip(found[free].tolist(), counts[free].tolist(), strict=True):
            widths[label] = math.gcd(widths[label], count)
            if slot.produces:
                producers[label].append((index, count))
    members: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for label in sorted(producers):
        members[tuple(producers[label])].append(label)
    for labels in members.values():
        if len(labels) > 1:
            yield Group(np.array(labels, dtype=np.int64), math.gcd(*(widths[label] for label in labels)))


def _worth(coupling: Coupling) -> tuple[int, int]:
    """Weights that belong to some class of some group, counted once per dimension they lie along.

    Of two ways that are worth the same, the one that takes whole heads: they leave the work in them as it is.
    """
    free = np.zeros(len(coupling.trace.labels), dtype=np.bool_)
    for group in coupling.groups:
        free[group.classes] = True
    total = 0
    for slot in coupling.slots:
        tensor = attribute(coupling.module, slot.name)
        assert isinstance(tensor, torch.Tensor)
        total += int(free[slot.classes].sum()) * tensor.numel() // len(slot.classes)
    roots = [coupling.trace.labels.roots(axis) for axis in coupling.trace.beside]
    return total, sum(int(free[axis].sum()) for axis in roots)


def weights(coupling: Coupling) -> Iterable[tuple[str, torch.nn.Parameter]]:
    """The trained tensors with channels, by name, each once."""
    for name in dict.fromkeys(slot.name for slot in coupling.slots):
        tensor = attribute(coupling.module, name)
        if isinstance(tensor, torch.nn.Parameter) and tensor.is_floating_point():
            yield name, tensor


def layer_of(name: str) -> str:
    """The layer that owns a tensor: `body.0` for `body.0.weight`."""
    owner, _, _ = name.rpartition(".")
    return owner or name
