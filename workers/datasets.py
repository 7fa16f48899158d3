"""Samples on disk: read from a dataset in either format, written as safetensors."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from burnish.errors import InvalidDataset
from burnish.formats.layout import TARGETS, arrange
from burnish.formats.tensors import inspect_dataset
from workers.passes.base import Samples

__all__ = ["read_samples", "write_samples"]

_STORED_ONLY = (torch.uint16, torch.uint32, torch.uint64)


def read_samples(path: Path, names: Sequence[str] = ()) -> Samples:
    """Reads a dataset, which is checked again first. Nothing in it is unpickled.

    Args:
        path: a `.safetensors` or `.npz` file; told apart by content, not by name.
        names: the program's input names, for datasets whose arrays are named after them.

    Raises:
        InvalidDataset: the file is damaged, or its arrays are not laid out as inputs and targets.
    """
    with path.open("rb") as file:
        schema = inspect_dataset(file)
    arrays = load_file(path) if schema.format == "safetensors" else _read_npz(path)
    order = arrange(tuple(arrays), names)
    return Samples(tuple(arrays[name] for name in order), _labels(arrays.get(TARGETS)))


def _labels(targets: torch.Tensor | None) -> torch.Tensor | None:
    """Labels of the unsigned types that torch can hold but not compute with become int64; NumPy has no bfloat16."""
    if targets is not None and targets.dtype is torch.bfloat16:
        return targets.float()
    return targets.long() if targets is not None and targets.dtype in _STORED_ONLY else targets


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: Mapping[str, np.ndarray] = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidDataset(
            f"The arrays of this .npz can't be read: {error}.", cure="Write it again with `numpy.savez`."
        ) from error
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def write_samples(samples: Samples, path: Path) -> None:
    """Writes `inputs` (or `inputs.0`, `inputs.1`, …) and `targets` as safetensors; same samples, same bytes."""
    tensors = {input_name(index, len(samples.inputs)): tensor for index, tensor in enumerate(samples.inputs)}
    if samples.targets is not None:
        tensors[TARGETS] = samples.targets
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def input_name(index: int, count: int) -> str:
    """The array name of one input: `inputs` if it is the only one, else `inputs.<index>`."""
    return "inputs" if count == 1 else f"inputs.{index}"
