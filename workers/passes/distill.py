"""Recovery by distillation: the changed program learns to give the original's outputs again."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.passes import Distill
from workers.graphs.batch_norms import recalibrate
from workers.graphs.fake_quantization import FakeQuantized
from workers.graphs.own_weights import load_state, state, with_own_weights, with_state
from workers.graphs.rounded_forms import find_rounded
from workers.graphs.type_checks import drop_type_checks
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.distill_data import NOISE
from workers.passes.distill_lesson import Lesson
from workers.passes.distill_loss import floating
from workers.passes.distill_report import trained_layers
from workers.passes.frozen_training import freeze, thaw
from workers.passes.kept_zeros import KeptZeros

__all__ = ["DistillPass"]

_NOTHING_BETTER = "No epoch did better, on the samples held back, than the weights that came in."


class DistillPass(Pass[Distill]):
    """Trains the program on the calibration data to match the original (Hinton et al. 2015, arXiv:1503.02531).

    1. An eighth of the samples is held back to judge by; it is never trained on.
    2. The stored statistics of batch norms are measured anew on the rest, and stay so during training. If that made
       the judged loss worse, training starts from the incoming ones.
    3. AdamW without weight decay, one cycle of the learning rate, over all floating-point parameters.
    4. With `labels`, a share of the loss comes from the targets; with `features`, inner layers are compared, too.
    5. After each epoch the judged loss decides whether its weights are the best so far. The incoming weights take part:
       if nothing beats them, the incoming program is handed back and `changed` is False.
    6. In a quantized program, weights stay rounded and activations integers while it is trained: the gradient passes
       straight through (`workers/graphs/fake_quantization.py`). What is judged is what the result computes.
    7. After an epoch it may leave a checkpoint. An attempt that finds one goes on from there, to the same result.

    Rule 2 was measured on a digits CNN with half, and with 0.3, of its channels: statistics that follow the mixed
    batches ended with 1.5 to 5 times the judged loss of those that stay, and without measuring anew nothing works.
    """

    settings: ClassVar[type[Distill]] = Distill

    def requires(self, program: ExportedProgram, settings: Distill) -> Sequence[str]:
        if half := _half(program):
            return [
                f"The program has weights in {half}, whose steps are too coarse to train. Put `distill` before "
                "`quantize`; a model that was uploaded so, upload with float32 weights."
            ]
        reasons = []
        if not any(parameter.is_floating_point() for parameter in program.parameters()) and not _is_rounded(program):
            reasons.append("The program has no floating-point weights to train. Leave `distill` out of the recipe.")
        if not floating([node.meta.get("val") for node in program.graph.output_node().all_input_nodes]):
            reasons.append("The model has no floating-point output to learn from. Leave `distill` out of the recipe.")
        return reasons

    def apply(self, program: ExportedProgram, settings: Distill, context: PassContext) -> Applied:
        if settings.student is not None:
            assert context.student is not None  # the planner gives it where the settings name one
            program = context.student
        student = FakeQuantized(with_own_weights(program))
        zeros = KeptZeros.of(student.module)
        lesson = Lesson(context, settings)
        left = context.checkpoint.read()
        if left is None:
            best, resumed = _first(student, lesson), None
        else:
            best, resumed = _resume(left, student.module)
        for epoch, loss in lesson.teach(student.module, resumed, zeros):
            best.offer(student, loss, epoch)
            context.progress(epoch / settings.epochs, f"epoch {epoch} of {settings.epochs}: loss {loss:.4g}")
            if context.checkpoint.due:
                context.checkpoint.write(_frozen(best, student.module, lesson.state(epoch)))
        figures = {
            "loss_before": best.before,
            "loss_recalibrated": best.recalibrated,
            "loss_after": best.loss,
            "best_epoch": float(best.epoch),
            "input_noise": NOISE if lesson.noise else 0.0,
        }
        layers = trained_layers(student, program, best.weights, zeros)
        if best.weights is None:
            return Applied(
                program, changed=settings.student is not None, layers=layers, figures=figures, reason=_NOTHING_BETTER
            )
        made = with_state(best.weights, program)
        if layers:
            drop_type_checks(made.graph)  # backends don't know them between codes and weights
        return Applied(made, changed=True, layers=layers, figures=figures)


def _is_rounded(program: ExportedProgram) -> bool:
    """True if it has rounded weights to train."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return bool(find_rounded(module))


def _half(program: ExportedProgram) -> str | None:
    """`bfloat16` or `float16`, if it has weights of that type."""
    names = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    return next((names[each.dtype] for each in program.state_dict.values() if each.dtype in names), None)


@dataclass
class _Best:
    """The best weights so far; `None` are the incoming ones."""

    before: float
    recalibrated: float
    loss: float
    epoch: int = 0
    weights: dict[str, torch.Tensor] | None = None

    def offer(self, student: FakeQuantized, loss: float, epoch: int) -> None:
        """Keeps the student's weights, rounded, if its loss is lower. One that is no number never is."""
        if loss < self.loss or (math.isnan(self.loss) and not math.isnan(loss)):
            self.loss, self.epoch = loss, epoch
            self.weights = copy.deepcopy(student.settled())


def _first(student: FakeQuantized, lesson: Lesson) -> _Best:
    """The incoming weights, or those with statistics measured anew if that is better; `student` has the better ones."""
    incoming = copy.deepcopy(state(student.module))
    before = lesson.judge(student.module)
    recalibrate(student.module, lesson.batches())
    recalibrated = lesson.judge(student.module)
    best = _Best(before, recalibrated, before)
    best.offer(student, recalibrated, epoch=0)
    if best.weights is None:
        load_state(student.module, incoming)
    return best


def _frozen(best: _Best, student: GraphModule, training: dict[str, Any]) -> bytes:
    """All that `_resume` needs."""
    return freeze({"best": asdict(best), "student": state(student), "training": training})


def _resume(left: bytes, student: GraphModule) -> tuple[_Best, dict[str, Any]]:
    """Gives `student` the weights it had, and returns the best so far and the state of the training."""
    found = thaw(left)
    load_state(student, found["student"])
    return _Best(**found["best"]), found["training"]
