"""Unstructured pruning: single weights become zero, all at once or step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from burnish.passes import Distill, Prune
from burnish.passes.prune import PruneSchedule
from workers.graphs.own_weights import load_state, state, with_own_weights, with_state
from workers.passes.base import Applied, PassContext
from workers.passes.chosen_zeros import ChosenZeros
from workers.passes.distill_data import Inputs, chunks
from workers.passes.distill_lesson import Lesson
from workers.passes.frozen_training import freeze, thaw
from workers.passes.layer_inputs import hessian, walk
from workers.passes.movement import Movement
from workers.passes.prunable_weights import PrunableWeight, columns_last, prunable_weights, restored
from workers.passes.prune_gradients import gradients
from workers.passes.prune_names import unknown_patterns
from workers.passes.prune_weights_report import report
from workers.passes.sparsegpt import without
from workers.passes.weight_masks import least, ratio_for, two_of_four
from workers.programs import batch_range

__all__ = ["prune_weights", "why_not_weights"]

BATCH = 32
MOST_SAMPLES = 128
"""Of those that SparseGPT fits to, as many as in its paper."""


def why_not_weights(program: ExportedProgram, settings: Prune) -> Sequence[str]:
    """Why no weight of the program can become zero; empty if some can."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    weights = prunable_weights(module, settings)
    if reasons := unknown_patterns(settings, [weight.name for weight in weights]):
        return reasons
    if any(weight.reason is None for weight in weights):
        return []
    reasons = list(dict.fromkeys(f"{weight.layer}: {weight.reason}" for weight in weights))[:3]
    found = "; ".join(reasons) or "it has no layer with weights"
    return [f"No weight of this model can be pruned: {found}. Leave `prune` out of the recipe."]


def prune_weights(program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
    """Sets the weights that matter least to zero.

    1. Weights are the matrices and kernels of layers. Those that several calls share are pruned as one.
    2. `unstructured` takes the share `ratio` of each tensor, or of all together (`scope: global`); `2:4` takes two of
       each four neighbours along the inputs, of kernels along the input channels of one pixel.
    3. SparseGPT goes through the layers in order and changes the weights that stay, too. Each layer is fitted to what
       it reads once the layers before it are pruned (`workers.passes.sparsegpt`).
    4. With a schedule the share grows, and the model is trained after each step, against the original's outputs and the
       labels as asked for, with the zeros held (`workers.passes.distill_lesson`).
    5. Each step chooses anew: by magnitude or the effect on the loss those of the steps before stay zero, by movement
       they may return (`workers.passes.movement`).
    6. After an epoch of a schedule it may leave a checkpoint. An attempt that finds one goes on from there, to the same
       result.
    """
    module = with_own_weights(program)
    weights = prunable_weights(module, settings)
    chosen = [w for w in weights if w.reason is None and ratio_for(w, settings) > 0.0]
    before = {name: tensor.detach().clone() for name, tensor in state(module).items()}
    more = dict[str, float]()
    if settings.method == "sparsegpt":
        _fit(module, program, chosen, settings, context)
    elif settings.schedule is None:
        zeros = ChosenZeros(_parameters(module, chosen))
        zeros.prune(_masks(module, chosen, settings, context, 1.0))
    else:
        more = _gradually(module, chosen, settings, settings.schedule, context)
    layers, figures = report(before, state(module), weights, settings)
    figures |= more
    context.progress(1.0, "pruned")
    if all(torch.equal(before[name], tensor) for name, tensor in state(module).items()):
        already = "As many weights as asked for are zero already." if chosen else ""
        return Applied(program, changed=False, layers=layers, figures=figures, reason=already)
    made = with_state(state(module), program)
    return Applied(made, changed=True, layers=layers, figures=figures)


def _masks(
    module: GraphModule,
    chosen: Sequence[PrunableWeight],
    settings: Prune,
    context: PassContext,
    share: float,
) -> dict[PrunableWeight, torch.Tensor]:
    tensors = state(module)
    scores = {weight: tensors[weight.name].detach().abs() for weight in chosen}
    if settings.method == "taylor":
        scores = _effects(tensors, chosen, gradients(module, context))
    for weight, score in scores.items():
        score.masked_fill_(tensors[weight.name] == 0, -1.0)  # zeros of earlier steps go before others that score 0
    return two_of_four(scores) if settings.kind == "2:4" else least(scores, settings, share)


def _effects(
    tensors: Mapping[str, torch.Tensor], chosen: Sequence[PrunableWeight], batches: Iterable[Mapping[str, torch.Tensor]]
) -> dict[PrunableWeight, torch.Tensor]:
    """|w · dL/dw|, summed over the batches (Molchanov et al. 2019, arXiv:1906.10771, for single weights)."""
    scores = {weight: torch.zeros_like(tensors[weight.name]) for weight in chosen}
    for batch in batches:
        for weight, score in scores.items():
            score += (tensors[weight.name].detach() * batch[weight.name]).abs()
    return scores


def _parameters(module: GraphModule, chosen: Sequence[PrunableWeight]) -> dict[PrunableWeight, torch.Tensor]:
    tensors = state(module)
    return {weight: tensors[weight.name] for weight in chosen}


def _gradually(
    module: GraphModule,
    chosen: Sequence[PrunableWeight],
    settings: Prune,
    schedule: PruneSchedule,
    context: PassContext,
) -> dict[str, float]:
    taught = Distill(epochs=schedule.epochs, learning_rate=schedule.learning_rate, labels=schedule.labels)
    lesson = Lesson(context, taught)
    parameters = _parameters(module, chosen)
    zeros = Movement(parameters) if settings.method == "movement" else ChosenZeros(parameters)
    first, resumed = _resume(context.checkpoint.read(), module, zeros)
    for step in range(first, schedule.steps + 1):
        share = 1.0 - (1.0 - step / schedule.steps) ** 3
        if resumed is None and isinstance(zeros, Movement):
            zeros.prune(least(zeros.importance(), settings, share))
        elif resumed is None:
            zeros.prune(_masks(module, chosen, settings, context, share))
        for epoch, loss in lesson.teach(module, resumed, zeros):
            context.progress(step / schedule.steps, f"{share:.0%} of the zeros, recovered to a loss of {loss:.4g}")
            if context.checkpoint.due:
                context.checkpoint.write(_frozen(step, module, zeros, lesson.state(epoch)))
        resumed = None
    return {"returned": float(zeros.returned)} if isinstance(zeros, Movement) else {}


def _frozen(step: int, module: GraphModule, zeros: ChosenZeros, training: dict[str, Any]) -> bytes:
    """All that `_resume` needs."""
    return freeze({"step": step, "weights": state(module), "zeros": zeros.state(), "training": training})


def _resume(left: bytes | None, module: GraphModule, zeros: ChosenZeros) -> tuple[int, dict[str, Any] | None]:
    """Gives `module` and `zeros` what they had; returns the step of the schedule and the state of its training.

    Without anything left it changes nothing, and the first step is yet to begin.
    """
    if left is None:
        return 1, None
    found = thaw(left)
    load_state(module, found["weights"])
    zeros.load_state(found["zeros"])
    return found["step"], found["training"]


def _fit(
    module: GraphModule,
    program: ExportedProgram,
    chosen: Sequence[PrunableWeight],
    settings: Prune,
    context: PassContext,
) -> None:
    tensors = state(module)
    waiting = {weight.calls[0]: weight for weight in chosen}
    total = max(len(waiting), 1)

    def before(node: Node, inputs: list[Any]) -> None:
        weight = waiting.pop(node, None)
        if weight is not None:
            ratio = None if settings.kind == "2:4" else ratio_for(weight, settings)
            _fit_one(tensors[weight.name], hessian(node, inputs), ratio)
            context.progress(1.0 - len(waiting) / total, f"fitted {weight.layer}")

    walk(module, _batches(program, context), before)


def _fit_one(tensor: torch.Tensor, moments: torch.Tensor, ratio: float | None) -> None:
    matrix = columns_last(tensor.detach())
    groups = moments.shape[0]
    fitted = without(matrix.reshape(groups, -1, matrix.shape[1]), moments, ratio)
    with torch.no_grad():
        tensor.copy_(restored(fitted.reshape(matrix.shape), tensor.shape))


def _batches(program: ExportedProgram, context: PassContext) -> Iterable[Inputs]:
    least_batch, most = batch_range(program)
    count = min(len(context.calibration), MOST_SAMPLES)
    size = max(least_batch, min(BATCH, most or BATCH))
    return chunks(tuple(x[:count] for x in context.calibration.inputs), size, least_batch)
