"""The step that profiles a program: time, size and sensitivity of each layer, for the report and for some passes."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

from workers.datasets import read_samples
from workers.graphs.device import Card, missing_device
from workers.graphs.stored_values import attribute
from workers.graphs.weighted_layers import WeightedLayer, weighted_layers
from workers.isa import isa, multiplies_bfloat16
from workers.measure.layers import time_calls
from workers.measure.sensitivity import sensitivities
from workers.passes.base import Samples
from workers.profile import LayerProfile, Profile
from workers.programs import batch_range, flop_counter, load_program
from workers.steps.base import Made, Step, StepContext

__all__ = ["ProfileStep"]

MOST_SAMPLES = 32
WORK = 4e10
"""Floating-point operations of one run over the samples: their number follows from it, so that it is no accident."""


class ProfileStep(Step):
    """Measures each layer of a program where it stands.

    Inputs: `program`, `calibration`. Output: `profile` (`workers.profile.Profile`, JSON), which is the report too.
    Passes that decide by time read it as one more input. So they stay functions of their inputs, and the same profile
    gives the same result; a second measurement would not.
    """

    name: ClassVar[str] = "profile"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy")
    depends_on_isa: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def run(self, context: StepContext) -> Made:
        torch.set_num_threads(context.target.threads)
        program = load_program(context.inputs["program"])
        context.progress(0.0, "timing each layer")
        profile = profile_of(program, read_samples(context.inputs["calibration"]), context)
        path = context.folder / "profile.json"
        profile.write(path)
        return Made(outputs={"profile": path}, report=profile.model_dump(mode="json"))


def profile_of(program: ExportedProgram, samples: Samples, context: StepContext) -> Profile:
    """Times and sensitivities of a float program's layers."""
    # A copy, because rounding changes the weights, which a program shares with its modules.
    module = copy.deepcopy(program.module(check_guards=False))
    layers = list(weighted_layers(module))
    low, high = batch_range(program)
    batch = max(low, context.target.batch if high is None else min(context.target.batch, high))
    times = time_calls(module, _first(samples, batch))
    work = _work(module, _first(samples, low))
    many = _samples_for(sum(work.values()) // low, low, high)
    errors = sensitivities(
        module, layers, _first(samples, many), lambda share: context.progress(0.2 + 0.8 * share, "rounding each layer")
    )
    return Profile(
        layers=tuple(
            LayerProfile(
                name=layer.name,
                op=layer.op,
                parameters=_parameters(module, layer),
                flops=work[layer.node] // low,
                seconds=times.calls[layer.node],
                errors=error,
            )
            for layer, error in zip(layers, errors, strict=True)
        ),
        seconds=times.total,
        batch=batch,
        threads=context.target.threads,
        bfloat16=_multiplies_bfloat16(context.target.device),
    )


def _multiplies_bfloat16(device: str) -> bool:
    if device == "cuda":
        return missing_device(device) is None and Card.here().tensor_cores
    return multiplies_bfloat16(isa())


def _samples_for(flops: int, low: int, high: int | None) -> int:
    wanted = max(2, min(MOST_SAMPLES, int(WORK / max(1, flops))))
    return max(low, wanted if high is None else min(wanted, high))


def _first(samples: Samples, count: int) -> list[torch.Tensor]:
    """The first samples, from the start again where there are too few."""
    rows = torch.arange(count) % len(samples)
    return [tensor[rows] for tensor in samples.inputs]


def _parameters(module: GraphModule, layer: WeightedLayer) -> int:
    inputs = (attribute(module, str(node.target)) for node in layer.node.all_input_nodes if node.op == "get_attr")
    return sum(value.numel() for value in inputs if isinstance(value, torch.Tensor))


def _work(module: GraphModule, inputs: list[torch.Tensor]) -> dict[Node, int]:
    """Floating-point operations of each call, at the batch of `inputs`."""
    counts: dict[Node, int] = {}

    class Counting(Interpreter):
        def run_node(self, n: Node) -> Any:
            with flop_counter() as counter:
                value = super().run_node(n)
            counts[n] = counter.get_total_flops()
            return value

    with torch.no_grad():
        Counting(module).run(*inputs)
    return counts
