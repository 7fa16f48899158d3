"""Graph clean-up: the same outputs from fewer calls."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch.export import ExportedProgram

from burnish.passes import Cache, Simplify
from burnish.results import LayerTreatment
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.reexport import reexport
from workers.graphs.tidying import merge_repeated, remove_idle
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.cache_constants import precompute
from workers.programs import tracing_inputs

__all__ = ["SimplifyPass"]


class SimplifyPass(Pass[Simplify]):
    """Takes out of the graph what computes nothing new.

    1. Calls that hand their input on (dropout at rest, detach, whole slices), and repeated calls.
    2. Batch norms, into the convolutions before them where nothing else reads what is between the two.
    3. Parts that depend on weights alone, where the result takes no more bytes than they do. (`cache` of kind
       `constants` stores larger ones, too.)
    4. What nobody reads.

    Compilers do most of it themselves. It pays for what they are not allowed to do with a program that comes after
    (folding before rounding), and for artifacts that run without one.
    """

    settings: ClassVar[type[Simplify]] = Simplify

    def requires(self, program: ExportedProgram, settings: Simplify) -> Sequence[str]:
        return ()

    def apply(self, program: ExportedProgram, settings: Simplify, context: PassContext) -> Applied:
        module = copy.deepcopy(program.module(check_guards=False))
        before = _calls(program)
        idle = remove_idle(module)
        repeated = merge_repeated(module) if settings.merge_repeated else []
        norms = fold_batch_norms(module) if settings.fold_batch_norms else 0
        module.graph.eliminate_dead_code()
        module.recompile()
        context.progress(0.5, "exporting")
        tidied = reexport(module, program, tracing_inputs(program))
        layers = list(_treatments(idle, repeated))
        if settings.fold_constants:
            folded = precompute(tidied, Cache(max_bytes=0), context)
            tidied = folded.program
            layers += [layer for layer in folded.layers if layer.treatment != "left alone"]
        after = _calls(tidied)
        if after == before and not norms:
            return Applied(program, changed=False, reason=_nothing(settings))
        figures = {
            "calls_before": float(before),
            "calls_after": float(after),
            "batch_norms_folded": float(norms),
            "idle_calls": float(len(idle)),
            "repeated_calls": float(len(repeated)),
        }
        return Applied(tidied, changed=True, layers=tuple(layers), figures=figures)


def _calls(program: ExportedProgram) -> int:
    return sum(node.op == "call_function" for node in program.graph.nodes)


def _nothing(settings: Simplify) -> str:
    """Why a graph stays as it is, of what was looked for."""
    looked_for = {
        "no idle call": True,
        "no repeated call": settings.merge_repeated,
        "no batch norm of its own behind a convolution": settings.fold_batch_norms,
        "nothing to compute from weights alone that takes no more bytes than they do": settings.fold_constants,
    }
    *others, last = [what for what, looked in looked_for.items() if looked]
    return f"The graph has {', '.join(others)}{', and ' if others else ''}{last}."


def _treatments(idle: Sequence[str], repeated: Sequence[str]) -> Iterator[LayerTreatment]:
    for name in idle:
        yield LayerTreatment(layer=name, treatment="removed", reason="it hands its input on as it is")
    for name in repeated:
        yield LayerTreatment(
            layer=name, treatment="merged", reason="the same call on the same arguments is made before"
        )
