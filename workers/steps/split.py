"""Splits a dataset in two: one half for the search, and one that only the verdict sees."""

from __future__ import annotations

from typing import ClassVar

import torch

from burnish.errors import InvalidDataset
from burnish.formats import faults, inspect_dataset, inspect_model
from burnish.results import Signature
from workers.datasets import read_samples, write_samples
from workers.passes.base import Samples
from workers.steps.base import Made, Step, StepContext

__all__ = ["Split"]


class Split(Step):
    """Half calibrates, half is held out; the same halves for the same seed.

    With class labels, every class is split in half (one sample more or less), so that neither half lacks a rare class.
    """

    name: ClassVar[str] = "split"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy", "safetensors")

    def run(self, context: StepContext) -> Made:
        """Raises `InvalidDataset`: it does not fit the model, or has values that are no numbers, or too few samples."""
        context.progress(0.0, "reading the dataset")
        with context.inputs["program"].open("rb") as file:
            signature = inspect_model(file)
        with context.inputs["dataset"].open("rb") as file:
            found = faults(inspect_dataset(file), signature, context.target.batch)
        if found:
            raise InvalidDataset(
                " ".join(f"{fault.where}: {fault.message}" for fault in found),
                cure=" ".join(dict.fromkeys(fault.cure for fault in found)),
            )
        samples = read_samples(context.inputs["dataset"], [spec.name for spec in signature.inputs])
        context.progress(0.3, "checking every value")
        _check_values(samples, signature)
        calibration, heldout = halves(samples.targets, len(samples), context.seed)
        paths = {role: context.folder / f"{role}.safetensors" for role in ("calibration", "heldout")}
        write_samples(_take(samples, calibration), paths["calibration"])
        context.progress(0.7, "writing both halves")
        write_samples(_take(samples, heldout), paths["heldout"])
        report = {
            "samples": len(samples),
            "calibration": len(calibration),
            "heldout": len(heldout),
            "labelled": samples.targets is not None,
        }
        return Made(outputs=paths, report=report)


def halves(targets: torch.Tensor | None, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the calibration half (one more, if the count is odd) and of the held-out half, both in random order.

    Samples are shuffled, sorted by class without disturbing that order, and dealt out in turn.
    """
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    dealt = shuffled
    if targets is not None and _are_classes(targets):
        dealt = shuffled[torch.argsort(targets[shuffled], stable=True)]
    mine = torch.zeros(count, dtype=torch.bool)
    mine[dealt[::2]] = True
    return shuffled[mine[shuffled]], shuffled[~mine[shuffled]]


def _are_classes(targets: torch.Tensor) -> bool:
    return targets.dim() == 1 and not targets.dtype.is_floating_point and not targets.dtype.is_complex


def _take(samples: Samples, indices: torch.Tensor) -> Samples:
    inputs = tuple(tensor[indices] for tensor in samples.inputs)
    return Samples(inputs, None if samples.targets is None else samples.targets[indices])


def _check_values(samples: Samples, signature: Signature) -> None:
    for spec, tensor in zip(signature.inputs, samples.inputs, strict=True):
        _check_finite(spec.name, tensor)
    if samples.targets is None:
        return
    _check_finite("targets", samples.targets)
    output = signature.outputs[0].shape
    classes = output[1] if len(output) == 2 else None
    if classes is not None and classes > 1 and _are_classes(samples.targets):
        _check_labels(samples.targets, classes)


def _check_finite(name: str, tensor: torch.Tensor) -> None:
    if not tensor.dtype.is_floating_point:
        return
    bad = (~torch.isfinite(tensor)).flatten(1).any(1) if tensor.dim() > 1 else ~torch.isfinite(tensor)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise InvalidDataset(
            f"{int(bad.sum())} of {len(tensor)} samples hold NaN or infinity, the first is sample {first}.",
            cure="Remove these samples, or repair their values.",
            where=f"{name}[{first}]",
        )


def _check_labels(targets: torch.Tensor, classes: int) -> None:
    bad = (targets < 0) | (targets >= classes)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise InvalidDataset(
            f"The label {int(targets[first])} is none of the model's {classes} classes (0 to {classes - 1}).",
            cure="Number the classes as the model's outputs are.",
            where=f"targets[{first}]",
        )
