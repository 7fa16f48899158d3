"""Whether a dataset fits a model and a target, told from their headers: every fault at once, each with its path."""

from __future__ import annotations

from burnish.errors import Fault, InvalidDataset
from burnish.formats.arrays import ITEM_SIZES
from burnish.formats.layout import arrange
from burnish.formats.tensors import DatasetSchema
from burnish.results import Signature, TensorSpec

__all__ = ["FEWEST_SAMPLES", "faults", "type_faults"]

FEWEST_SAMPLES = 20
"""Half of the samples calibrate, the other half judges: fewer than ten tell nothing of a drop."""


def faults(schema: DatasetSchema, signature: Signature, target_batch: int, at: str = "") -> list[Fault]:
    """What keeps a dataset from being used with a model.

    Args:
        schema: of the dataset.
        signature: of the model.
        target_batch: samples per call at which the model will be measured.
        at: JSON pointer of the job's spec inside the request.
    """
    return [
        *type_faults(signature, f"{at}/model"),
        *_batch_faults(schema, signature, target_batch, at),
        *_sample_faults(schema, f"{at}/dataset"),
        *_input_faults(schema, signature, f"{at}/dataset"),
    ]


def type_faults(signature: Signature, at: str = "") -> list[Fault]:
    """The inputs and outputs of a type that NumPy's arrays, in which samples and results travel, don't have."""
    return [
        Fault(
            where=f"{at}/{tensor.name}",
            message=f"The model's {what} {tensor.name!r} is {tensor.dtype}, which no NumPy array can hold: samples and "
            "results travel as such.",
            cure=f"Export it with float32 at its ends and {tensor.dtype} between: "
            f"`model(x.to(torch.{tensor.dtype})).float()`. Its weights stay as they are.",
        )
        for what, tensors in (("input", signature.inputs), ("output", signature.outputs))
        for tensor in tensors
        if tensor.dtype == "bfloat16" or tensor.dtype not in ITEM_SIZES
    ]


def _batch_faults(schema: DatasetSchema, signature: Signature, batch: int, at: str) -> list[Fault]:
    where = f"{at}/recipe/target/batch"
    static = signature.inputs[0].shape[0]
    if static is not None and batch != static:
        return [
            Fault(
                where=where,
                message=f"The model was exported for batches of exactly {static}, the target asks for {batch}.",
                cure=f"Set the batch to {static}, or export the model with a dynamic batch (`burnish.capture` does).",
            )
        ]
    if signature.max_batch is not None and batch > signature.max_batch:
        return [
            Fault(
                where=where,
                message=f"The model was exported for batches up to {signature.max_batch}, the target asks for {batch}.",
                cure=f"Set the batch to {signature.max_batch} or less, or export the model with a larger bound.",
            )
        ]
    if schema.samples >= FEWEST_SAMPLES and batch > schema.samples // 2:
        return [
            Fault(
                where=where,
                message=f"{schema.samples} samples make no whole batch of {batch} for each half of the split.",
                cure=f"Set the batch to {schema.samples // 2} or less, or send at least {2 * batch} samples.",
            )
        ]
    return []


def _sample_faults(schema: DatasetSchema, where: str) -> list[Fault]:
    if schema.samples >= FEWEST_SAMPLES:
        return []
    return [
        Fault(
            where=where,
            message=f"{schema.samples} samples are too few: half of them calibrate, the other half judges.",
            cure=f"Send at least {FEWEST_SAMPLES}, better some hundreds.",
        )
    ]


def _input_faults(schema: DatasetSchema, signature: Signature, where: str) -> list[Fault]:
    given = {spec.name: spec for spec in schema.inputs}
    wanted = signature.inputs
    try:
        order = arrange(tuple(given), tuple(spec.name for spec in wanted))
    except InvalidDataset as error:
        return [Fault(where=where, message=error.message, cure=error.cure)]
    if len(order) != len(wanted):
        names = ", ".join(spec.name for spec in wanted)
        return [
            Fault(
                where=where,
                message=f"It has {len(order)} inputs ({', '.join(order)}), the model takes {len(wanted)} ({names}).",
                cure="Send one array per input of the model.",
            )
        ]
    return [
        fault
        for name, spec in zip(order, wanted, strict=True)
        for fault in _array_faults(given[name], spec, f"{where}/{name}")
    ]


def _array_faults(given: TensorSpec, wanted: TensorSpec, where: str) -> list[Fault]:
    found: list[Fault] = []
    if given.dtype != wanted.dtype:
        found.append(
            Fault(
                where=where,
                message=f"Its elements are {given.dtype}, the model's input {wanted.name!r} takes {wanted.dtype}.",
                cure=f"Convert it (`array.astype('{wanted.dtype}')`).",
            )
        )
    if len(given.shape) != len(wanted.shape) or any(
        side is not None and side != have for have, side in zip(given.shape[1:], wanted.shape[1:], strict=False)
    ):
        found.append(
            Fault(
                where=where,
                message=f"Its shape is {_shown(given.shape)}, the model's input {wanted.name!r} takes "
                f"{_shown((None, *wanted.shape[1:]))} (the first dimension counts the samples).",
                cure="Reshape or crop the samples to that shape.",
            )
        )
    return found


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"
