"""The training loop of distillation: teacher, student, samples, and the judgement after each epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch.fx import GraphModule
from torch.optim.lr_scheduler import OneCycleLR

from burnish.passes import Distill
from workers.passes.base import PassContext
from workers.passes.distill_data import Inputs, augmented, chunks, held_back, shuffled
from workers.passes.distill_loss import distance, floating
from workers.programs import batch_range

__all__ = ["Lesson"]

HELD_BACK = 0.125
"""Share of the calibration samples to judge by."""
LARGEST_BATCH = 128
"""Of the runs without gradients: bounds their memory."""


class Lesson:
    """One teacher and its samples. Random numbers come from the job's seed alone."""

    def __init__(self, context: PassContext, settings: Distill) -> None:
        self._settings = settings
        self._teacher = context.original.module(check_guards=False)
        self._least, most = batch_range(context.original)
        self._size = min(settings.batch_size, most or settings.batch_size)
        self._judging_size = min(LARGEST_BATCH, most or LARGEST_BATCH)
        targets = context.calibration.targets
        self._class_scores = targets is None or not targets.is_floating_point()
        self._generator = torch.Generator().manual_seed(context.seed)
        self._train, self._judged = held_back(context.calibration, HELD_BACK, self._generator)
        self._answers = self._run(self._teacher, self._judged)

    def batches(self) -> Iterator[Inputs]:
        """The training samples as they are, for measuring statistics."""
        return chunks(self._train, self._judging_size, self._least)

    def judge(self, student: torch.nn.Module) -> float:
        """The loss on the samples held back."""
        return float(self._loss(self._run(student, self._judged), self._answers))

    def teach(self, student: GraphModule) -> Iterator[float]:
        """Trains `student` in place. Yields the judged loss after each epoch."""
        settings = self._settings
        weights = [weight.requires_grad_() for weight in student.parameters() if weight.is_floating_point()]
        # No weight decay: the aim is the teacher's function, and the student has less room than it already.
        optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
        steps = settings.epochs * -(-len(self._train[0]) // self._size)
        schedule = OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
        for exercises in itertools.islice(self._epochs(), settings.epochs):
            for inputs, answers in exercises:
                optimizer.zero_grad()
                self._loss(floating(student(*inputs)), answers).backward()
                optimizer.step()
                schedule.step()
            yield self.judge(student)

    def _epochs(self) -> Iterator[Iterator[tuple[Inputs, Inputs]]]:
        """Endless epochs of pairs of inputs and the teacher's answers, which are computed once if inputs stay."""
        if self._settings.augment and any(x.is_floating_point() for x in self._train):
            while True:
                batches = chunks(shuffled(self._train, self._generator), self._size, self._least)
                yield ((inputs, self._answer(inputs)) for inputs in (augmented(b, self._generator) for b in batches))
        known = (*self._train, *(x[: len(self._train[0])] for x in self._run(self._teacher, self._train)))
        count = len(self._train)
        while True:
            batches = chunks(shuffled(known, self._generator), self._size, self._least)
            yield ((batch[:count], batch[count:]) for batch in batches)

    def _answer(self, inputs: Inputs) -> Inputs:
        with torch.no_grad():
            return tuple(floating(self._teacher(*inputs)))

    def _run(self, model: torch.nn.Module, inputs: Inputs) -> Inputs:
        """All floating-point outputs for `inputs`, without gradients."""
        with torch.no_grad():
            parts = [floating(model(*chunk)) for chunk in chunks(inputs, self._judging_size, self._least)]
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    def _loss(self, student: Inputs | list[torch.Tensor], teacher: Inputs) -> torch.Tensor:
        return distance(student, teacher, self._settings.temperature, self._class_scores)
