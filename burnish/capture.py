"""From an `nn.Module` to the archive that Burnish takes: with `example`, all of the client that needs torch."""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from burnish.errors import UnsupportedModel
from burnish.example import Example, as_example
from burnish.formats.canonical import write_canonical
from burnish.formats.pt2 import checked_model
from burnish.results import Signature

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

__all__ = ["Captured", "capture"]

Batch = Literal["dynamic", "inferred", "static"]
_TOLERANCE = 1e-3
"""Largest difference from the module, as a share of the largest output: another batch size may use other kernels."""


@dataclass(frozen=True)
class Captured:
    """What was captured."""

    program: ExportedProgram
    path: Path | None
    """The archive to upload, if a path was asked for."""
    signature: Signature
    batch: Batch
    """`dynamic`: any batch up to the bound asked for. `inferred`: dynamic, within bounds that torch found by itself.
    `static`: only the batch of the example."""
    notes: tuple[str, ...]
    """Why the batch is not as dynamic as asked for, in torch's words."""


def capture(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any],
    path: str | os.PathLike[str] | None = None,
    *,
    dynamic_batch: bool = True,
    max_batch: int = 4096,
) -> Captured:
    """Exports a module for inference, checks the result against the module, and saves it without paths or samples.

    The module is exported in eval mode, and left as it was. Dimension 0 of the inputs is the batch: exported first
    as dynamic, then as torch infers it, then as fixed; the first that gives the module's outputs at other batch sizes
    wins.

    Args:
        module: on any device; a copy is exported from the CPU.
        example_inputs: what `module(*example_inputs)` takes, or by name what `module(**example_inputs)` takes; tensors
            have the batch first. They may lie in containers. `None`, numbers, flags and texts are written into the
            program, which then has no such input. A batch of 1 is doubled for the export, since torch fixes sizes of 1.
        path: where the archive goes (replaced atomically), conventionally `….pt2`.
        dynamic_batch: False exports exactly the example's batch.
        max_batch: upper bound of a dynamic batch.

    Raises:
        UnsupportedModel: torch can't export it, or the export gives other outputs than the module.
        InvalidModel: the export holds something that Burnish does not take; it says what.
        UserError: torch is not installed, or the example inputs are no tensors.
    """
    example = as_example(example_inputs)
    with _inference(module) as still, example.spelled_out(still):
        program, batch, notes = _first_that_agrees(still, example.still(), dynamic_batch, max_batch)
    signature = _save(program, Path(path) if path is not None else None)
    return Captured(program, Path(path) if path is not None else None, signature, batch, tuple(notes))


@contextmanager
def _inference(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The module in eval mode on the CPU; afterwards every part is in the mode it was in."""
    if any(tensor.device.type != "cpu" for tensor in (*module.parameters(), *module.buffers())):
        module = copy.deepcopy(module).cpu()
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, training in modes:
            part.training = training


def _first_that_agrees(
    module: torch.nn.Module, example: Example, dynamic_batch: bool, max_batch: int
) -> tuple[ExportedProgram, Batch, list[str]]:
    from torch.export import Dim

    notes: list[str] = []
    if dynamic_batch:
        several = example if example.batch > 1 else example.resized(2)
        dims: tuple[tuple[Batch, Any], ...] = (
            ("dynamic", Dim("batch", min=1, max=max(2, max_batch))),
            ("inferred", Dim.AUTO),
        )
        for batch, dim in dims:
            try:
                program = _export(module, several, several.shapes(dim))
                for other in (several.batch + 1, 1):
                    _check_agreement(program, module, several.resized(other))
            except UnsupportedModel as error:
                notes.append(f"{batch} batch: {error.message}")
            else:
                return program, batch, notes
    program = _export(module, example, None)
    _check_agreement(program, module, example)
    return program, "static", notes


def _export(module: torch.nn.Module, example: Example, shapes: Any) -> ExportedProgram:
    import torch

    try:
        with warnings.catch_warnings():
            # torch says this of its own recurrent layers, whose weights are parameters all the same.
            warnings.filterwarnings("ignore", message=r"The tensor attributes .*_flat_weights", category=UserWarning)
            return torch.export.export(module, example.args, example.kwargs, dynamic_shapes=shapes)
    # A boundary: the module's own code runs in here, and torch reports what it can't trace in many ways.
    except Exception as error:
        raise UnsupportedModel(
            f"torch.export can't export it: {type(error).__name__}: {_first_lines(error)}",
            cure="Make `torch.export.export(module.eval(), example_inputs)` work; "
            "https://docs.pytorch.org/docs/stable/export.html explains its messages.",
        ) from error


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:600]


def _check_agreement(program: ExportedProgram, module: torch.nn.Module, example: Example) -> None:
    """Compares both on the example, and on it again: what is random or keeps state shows at the second call."""
    import torch

    try:
        with torch.no_grad():
            exported = program.module()
            pairs = [(_tensors(example.run(exported)), _tensors(example.run(module))) for _ in range(2)]
    # The exported program's guards and operators refuse a batch size by these.
    except (RuntimeError, AssertionError, ValueError, IndexError, TypeError) as error:
        raise UnsupportedModel(
            f"It fails at a batch of {example.batch}: {_first_lines(error)}",
            cure="Export it with a fixed batch (`dynamic_batch=False`).",
        ) from error
    expected = pairs[0][1]
    for given in (*(side for pair in pairs for side in pair),):
        if not _close(given, expected):
            raise UnsupportedModel(
                f"The exported program gives other outputs than the module at a batch of {example.batch}.",
                cure="Remove what is random or keeps state, and branches on the values or sizes of the inputs.",
            )


def _tensors(outputs: Any) -> list[torch.Tensor]:
    import torch
    from torch.utils import _pytree

    return [leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _close(given: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return len(given) == len(expected) and all(
        a.shape == b.shape and a.dtype == b.dtype and _near(a, b) for a, b in zip(given, expected, strict=True)
    )


def _near(given: torch.Tensor, expected: torch.Tensor) -> bool:
    if not expected.dtype.is_floating_point or not expected.numel():
        return bool((given == expected).all())
    given, expected = given.double().nan_to_num(), expected.double().nan_to_num()
    scale = float(expected.abs().max()) or 1.0
    return float((given - expected).abs().max()) <= _TOLERANCE * scale


def _save(program: ExportedProgram, path: Path | None) -> Signature:
    """Writes the canonical archive beside `path` and moves it there; without a path it is only checked."""
    import torch

    with tempfile.TemporaryDirectory(prefix="burnish-", dir=path.parent if path else None) as folder:
        raw, clean = Path(folder) / "raw.pt2", Path(folder) / "clean.pt2"
        try:
            torch.export.save(program, raw)
        # A boundary: torch reports what it can't serialize in many ways.
        except Exception as error:
            raise UnsupportedModel(
                f"torch can't save it: {type(error).__name__}: {_first_lines(error)}",
                cure="Let the model take and return tensors, tuples, lists and dicts of them. A dataclass of your own "
                "needs a name: `torch.export.register_dataclass(Type, serialized_type_name='Type')`.",
            ) from error
        with raw.open("rb") as file, checked_model(file) as model:
            if path is not None:
                with clean.open("xb") as written:
                    write_canonical(model, written)
                os.replace(clean, path)
            return model.signature
