"""Do our coupled channels agree with those of Torch-Pruning's dependency graph, and how long does each take to find?

Not part of the tests, since the project does not depend on torch-pruning. Run it with the library beside the project:

    pip install --no-deps --target SOMEWHERE torch-pruning
    PYTHONPATH=.:SOMEWHERE python benchmarks/prune_vs_torch_pruning.py

For every channel of every layer of the test models the two sets of (tensor, dimension, index) are compared: weights of
convolutions, linear layers and batch norms.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
import torch_pruning
from torch import nn

from tests import models
from workers.passes.coupling import Coupling, couple

MODELS = ("residual_cnn", "depthwise_cnn", "concat_cnn", "mlp")
Places = frozenset[tuple[str, int, int]]


def ours(coupling: Coupling) -> dict[tuple[str, int], Places]:
    """The places of each class, by layer and output channel."""
    free = {label for group in coupling.groups for label in group.classes.tolist()}
    found: dict[int, set[tuple[str, int, int]]] = {label: set() for label in free}
    for slot in coupling.slots:
        for index, label in enumerate(slot.classes.tolist()):
            if label in free and slot.name.endswith(".weight"):
                found[label].add((slot.name, slot.dim, index))
    return {
        (slot.name, index): frozenset(found[label])
        for slot in coupling.slots
        if slot.produces
        for index, label in enumerate(slot.classes.tolist())
        if label in free
    }


def theirs(module: nn.Module, graph: torch_pruning.DependencyGraph, layer: str, channel: int) -> Places:
    """The places of the group that Torch-Pruning finds for one output channel."""
    target = module.get_submodule(layer)
    prune = torch_pruning.prune_linear_out_channels if isinstance(target, nn.Linear) else (
        torch_pruning.prune_depthwise_conv_out_channels
        if isinstance(target, nn.Conv2d) and target.groups > 1
        else torch_pruning.prune_conv_out_channels
    )  # fmt: skip
    group = graph.get_pruning_group(target, prune, idxs=[channel])
    return frozenset(_places(module, group))


def _places(module: nn.Module, group: torch_pruning.Group) -> Iterator[tuple[str, int, int]]:
    names = {part: name for name, part in module.named_modules()}
    for item, indices in group:
        part = item.target.module
        if isinstance(part, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            depthwise = isinstance(part, nn.Conv2d) and part.groups > 1
            inputs = "in_channels" in item.handler.__name__ and not isinstance(part, nn.BatchNorm2d) and not depthwise
            yield from ((f"{names[part]}.weight", int(inputs), int(index)) for index in indices)


def main() -> None:
    for name in MODELS:
        program = models.program(name)
        start = time.perf_counter()
        coupling = couple(program)
        our_seconds = time.perf_counter() - start
        expected = ours(coupling)
        module = models.module(name)
        start = time.perf_counter()
        graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=models.example(name)[0])
        their_seconds = time.perf_counter() - start
        same = sum(
            theirs(module, graph, tensor.removesuffix(".weight"), channel) == places
            for (tensor, channel), places in expected.items()
        )
        print(
            f"{name}: {same} of {len(expected)} channels coupled alike; "
            f"found in {our_seconds * 1e3:.0f} ms (all channels) and {their_seconds * 1e3:.0f} ms (before any group)"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
