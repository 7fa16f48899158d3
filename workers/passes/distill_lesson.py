"""The training loop of distillation: teacher, student, samples, and the judgement after each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.fx import GraphModule
from torch.optim.lr_scheduler import OneCycleLR

from burnish.passes import Distill
from workers.measure.quality import sqnr_db
from workers.passes.base import PassContext
from workers.passes.distill_data import Inputs, Mixture, augmented, chunks, held_back, noisy, shuffled
from workers.passes.distill_features import Tapped, points, similarity_loss
from workers.passes.distill_loss import distance, floating, label_loss
from workers.passes.kept_zeros import KeptZeros
from workers.programs import batch_range

__all__ = ["Lesson"]

HELD_BACK = 0.125
"""Share of the calibration samples to judge by."""
LARGEST_BATCH = 128
"""Of the runs without gradients: bounds their memory."""
NOISE_DB = 10.0
"""Signal-to-noise ratio of the teacher's answers below which noise makes other samples of its inputs: what is learned
from them is of no use for those that come."""


class Lesson:
    """One teacher and its samples. Random numbers come from the job's seed alone.

    A row of samples is the model's inputs, and its target behind them where labels count.

    Attributes:
        noise: whether inputs get noise: they are augmented, and the teacher's answers bear it.
    """

    def __init__(self, context: PassContext, settings: Distill) -> None:
        self._settings = settings
        teacher = context.original.module(check_guards=False)
        assert isinstance(teacher, GraphModule)
        self._teacher = teacher
        self._least, most = batch_range(context.original)
        self._size = min(settings.batch_size, most or settings.batch_size)
        self._judging_size = min(LARGEST_BATCH, most or LARGEST_BATCH)
        samples = context.calibration
        self._class_scores = samples.targets is None or not samples.targets.is_floating_point()
        self._inputs = len(samples.inputs)
        self._generator = torch.Generator().manual_seed(context.seed)
        targets = () if samples.targets is None or not settings.labels else (samples.targets,)
        self._train, self._judged = held_back((*samples.inputs, *targets), HELD_BACK, self._generator)
        self._answers = self._run(self._teacher, self._judged)
        self._parts_of_state: dict[str, Any] = {}
        self.noise = settings.augment and self._bears_noise(context.seed)

    def batches(self) -> Iterator[Inputs]:
        """The training samples as they are, for measuring statistics."""
        return (rows[: self._inputs] for rows in chunks(self._train, self._judging_size, self._least))

    def judge(self, student: torch.nn.Module) -> float:
        """The loss on the samples held back."""
        given = self._run(student, self._judged)
        return float(self._loss(given, self._answers, self._judged[self._inputs :], None))

    def teach(
        self, student: GraphModule, resumed: Mapping[str, Any] | None = None, zeros: KeptZeros | None = None
    ) -> Iterator[tuple[int, float]]:
        """Trains `student` in place. Yields the number of each epoch, from 1, and the judged loss after it.

        Args:
            resumed: what `state` gave after an epoch: what follows is the same as if it had gone on then.
            zeros: weights to hold at zero; by default those that pruning left in the student.
        """
        settings = self._settings
        zeros = KeptZeros.of(student) if zeros is None else zeros
        weights = [weight.requires_grad_() for weight in student.parameters() if weight.is_floating_point()]
        # No weight decay: the aim is the teacher's function, and the student has less room than it already.
        optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
        steps = settings.epochs * -(-len(self._train[0]) // self._size)
        schedule = OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
        inner = points(self._teacher, student) if settings.features else ([], [])
        pupil, master = Tapped(student, inner[1]), Tapped(self._teacher, inner[0])
        self._parts_of_state = {"optimizer": optimizer, "schedule": schedule}
        first = 1
        if resumed is not None:
            first += resumed["epoch"]
            for name, part in self._parts_of_state.items():
                part.load_state_dict(resumed[name])
            self._generator.set_state(resumed["generator"])
        epochs = self._epochs()
        for epoch in range(first, settings.epochs + 1):
            exercises = next(epochs)
            for rows, mixture in exercises:
                inputs, targets, answers = self._parts(rows)
                optimizer.zero_grad()
                if not inner[0]:
                    given = floating(student(*inputs))
                    loss = self._loss(given, answers or self._answer(inputs), targets, mixture)
                else:
                    given, found = pupil(*inputs)
                    with torch.no_grad():
                        wanted, theirs = master(*inputs)
                    loss = self._loss(given, wanted, targets, mixture)
                    loss = loss + settings.features * similarity_loss(found, theirs)
                loss.backward()
                optimizer.step()
                zeros.restore()
                schedule.step()
            yield epoch, self.judge(student)

    def state(self, epoch: int) -> dict[str, Any]:
        """All of the training but the weights, after an epoch that `teach` yielded."""
        parts = {name: part.state_dict() for name, part in self._parts_of_state.items()}
        return {"epoch": epoch, "generator": self._generator.get_state(), **parts}

    def _epochs(self) -> Iterator[Iterator[tuple[Inputs, Mixture | None]]]:
        """Endless epochs of batches. Where inputs stay, the teacher answers once, and the answers go with the rows."""
        if self._settings.augment and any(x.is_floating_point() for x in self._train[: self._inputs]):
            while True:
                batches = chunks(shuffled(self._train, self._generator), self._size, self._least)
                yield (self._augmented(rows) for rows in batches)
        known = self._train
        if not self._settings.features:
            known = (*known, *self._run(self._teacher, self._train))
        while True:
            batches = chunks(shuffled(known, self._generator), self._size, self._least)
            yield ((rows, None) for rows in batches)

    def _bears_noise(self, seed: int) -> bool:
        """True if the teacher's answers stay what they are, by `NOISE_DB`, with noise on the samples held back."""
        inputs = self._judged[: self._inputs]
        if not any(x.is_floating_point() for x in inputs):
            return False
        answers = self._run(self._teacher, noisy(inputs, torch.Generator().manual_seed(seed)))
        exact, given = ([each.float().numpy() for each in outputs] for outputs in (self._answers, answers))
        return sqnr_db(exact, given) >= NOISE_DB

    def _augmented(self, rows: Inputs) -> tuple[Inputs, Mixture | None]:
        inputs, mixture = augmented(rows[: self._inputs], self._generator, self.noise)
        return (*inputs, *rows[self._inputs :]), mixture

    def _parts(self, rows: Inputs) -> tuple[Inputs, Inputs, Inputs]:
        """Inputs, targets (none or one), and the teacher's answers if they are known."""
        inputs, targets = self._inputs, len(self._train)
        return rows[:inputs], rows[inputs:targets], rows[targets:]

    def _answer(self, inputs: Inputs) -> list[torch.Tensor]:
        with torch.no_grad():
            return floating(self._teacher(*inputs))

    def _run(self, model: torch.nn.Module, rows: Inputs) -> Inputs:
        """All floating-point outputs for `rows`, without gradients."""
        inputs = rows[: self._inputs]
        with torch.no_grad():
            parts = [floating(model(*chunk)) for chunk in chunks(inputs, self._judging_size, self._least)]
        return tuple(torch.cat(outputs)[: len(inputs[0])] for outputs in zip(*parts, strict=True))

    def _loss(
        self,
        given: Inputs | list[torch.Tensor],
        answers: Inputs | list[torch.Tensor],
        targets: Inputs,
        mix: Mixture | None,
    ) -> torch.Tensor:
        share = self._settings.labels
        loss = (1.0 - share) * distance(given, answers, self._settings.temperature, self._class_scores)
        return loss + share * label_loss(given[0], targets[0], mix) if targets else loss
