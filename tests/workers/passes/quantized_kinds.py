"""Programs of the test models with weights of every kind, made once."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node

from tests import models
from tests.workers.quantized import quantize
from workers.graphs.low_bit import LowBitWeight, read_weight
from workers.passes.base import Applied

__all__ = ["KINDS", "OWN_WEIGHTS", "calls", "layer_weights", "made"]

OWN_WEIGHTS = "ignore:The tensor attributes self.*_flat_weights:UserWarning"
"""torch says this of its own recurrent layers, whose weights are parameters all the same."""
KINDS: dict[str, tuple[dict[str, Any], float]] = {
    "int8": ({"weights": "int8", "activations": "dynamic"}, 34),
    "int8 weights alone": ({"weights": "int8", "activations": "float32"}, 36),
    "int4": ({"weights": "int4"}, 13),
    "int4 with zero points": ({"weights": "int4", "symmetric": False, "group": 32}, 15),
    "int4 by gptq": ({"weights": "int4", "rounding": "gptq"}, 15),
    "int3 by hqq": ({"weights": "int3", "rounding": "hqq", "activations": "float32"}, 8),
    "int2": ({"weights": "int2", "rounding": "gptq", "bias_correction": True}, 6),
    "fp8": ({"weights": "fp8"}, 25),
    "nf4": ({"weights": "nf4"}, 14),
    "bfloat16": ({"weights": "bfloat16"}, 35),
    "float16": ({"weights": "float16"}, 55),
}
"""Settings, and the least SQNR of the outputs, in dB: the models have random weights."""


@cache
def made(model: str, kind: str) -> Applied:
    return quantize(models.program(model), *models.example(model, batch=40, seed=1), **KINDS[kind][0])


def layer_weights(program: ExportedProgram) -> dict[str, LowBitWeight]:
    """The low-bit forms that linear layers and convolutions read, by the name of the call."""
    module = program.module(check_guards=False)
    found = {}
    for node in module.graph.nodes:
        weight = read_weight(module, node.args[1]) if len(node.args) > 1 else None
        if weight is not None:
            found[node.name] = weight
    return found


def calls(program: ExportedProgram, name: str) -> list[Node]:
    return [node for node in program.graph.nodes if str(node.target).startswith(f"aten.{name}.")]
