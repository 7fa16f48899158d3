"""Programs on disk: checked before they are loaded, written as the same bytes for the same program."""

from __future__ import annotations

import math
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument
from torch.utils.flop_counter import FlopCounterMode

from burnish.errors import InternalError, InvalidModel, UnsupportedModel
from burnish.formats.canonical import write_canonical
from burnish.formats.pt2 import checked_model

__all__ = [
    "batch_range",
    "clean_archive",
    "example_inputs",
    "flop_counter",
    "input_names",
    "load_program",
    "output_names",
    "save_program",
    "summary",
    "tracing_inputs",
]


_MOST_ELEMENTS = 2**32


def clean_archive(source: Path, destination: Path) -> None:
    """Checks an archive and rewrites it without sample inputs, guards and metadata, called by flat tensors.

    Raises:
        InvalidModel: the archive is not clean; nothing of it was loaded.
    """
    with source.open("rb") as file, checked_model(file) as model, destination.open("xb") as written:
        write_canonical(model, written)


def load_program(path: Path) -> ExportedProgram:
    """Checks the archive, and loads what is left of it after the rewrite: the graph and the weights.

    The program takes tensors by position; `burnish/formats/flat_call.py` says what it gives.

    Raises:
        InvalidModel: the archive is not clean, or torch can't read the graph in it.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
        clean = Path(folder) / "model.pt2"
        clean_archive(path, clean)
        _register_operators(clean)
        try:
            return torch.export.load(clean)
        # A boundary: torch reports a malformed graph by whatever exception it runs into.
        except Exception as error:
            raise InvalidModel(
                f"torch {torch.__version__} can't load this program: {type(error).__name__}: {str(error)[:500]}",
                cure="Export it again with this version of torch, by `burnish.capture` or `torch.export.save`.",
            ) from error


def _register_operators(archive: Path) -> None:
    """Quantized programs use operators that exist only once torchao was imported."""
    with zipfile.ZipFile(archive) as opened:
        if b"torch.ops.quantized_decomposed." in opened.read("model/models/model.json"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torchao warns of its GPU extensions, which are not used
                import torchao.quantization.pt2e  # noqa: F401


def save_program(program: ExportedProgram, path: Path) -> None:
    """Writes a program in its canonical form: same program, same bytes; no sample inputs, no paths.

    Raises:
        InternalError: torch can't serialize it, or it holds what `load_program` would refuse.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
        raw = Path(folder) / "model.pt2"
        try:
            torch.export.save(program, raw)
        # A boundary: torch reports what it can't serialize by whatever exception it runs into.
        except Exception as error:
            raise InternalError(
                f"torch can't save this program: {type(error).__name__}: {error}",
                cure="Report it with the recipe that led here.",
            ) from error
        try:
            clean_archive(raw, path)
        except InvalidModel as error:
            raise InternalError(
                f"This program could not be loaded again: {error.message}",
                cure="Report it with the recipe that led here.",
                where=error.where,
            ) from error


def _inputs(program: ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and fake tensor of every input that the user gives."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            if not isinstance(spec.arg, TensorArgument):
                raise UnsupportedModel(
                    "It takes an input that is no tensor.",
                    cure="Export it with tensors as inputs.",
                    where=spec.arg.name,
                )
            yield spec.arg.name, values[spec.arg.name]


def input_names(program: ExportedProgram) -> tuple[str, ...]:
    """Names of the inputs, in the order they are given in."""
    return tuple(name for name, _ in _inputs(program))


def output_names(program: ExportedProgram) -> tuple[str, ...]:
    """Names of the outputs, the keys of the dict that it gives, in order. None if it gives a tensor or a tuple."""
    tree = program.call_spec.out_spec
    return tuple(tree.context) if tree.type is not None and issubclass(tree.type, dict) else ()


def batch_range(program: ExportedProgram) -> tuple[int, int | None]:
    """The least and largest batch it runs at (`None`: no upper bound); both are the same for a static export."""
    for _, value in _inputs(program):
        first: int | torch.SymInt = value.shape[0]
        if type(first) is int:
            return first, first
        bounds = program.range_constraints.get(cast(torch.SymInt, first).node.expr)
        if bounds is None:
            return 1, None
        return max(1, int(bounds.lower)), int(bounds.upper) if bounds.upper.is_Integer else None
    raise UnsupportedModel("It takes no inputs.", cure="Export it with at least one tensor as input.")


def example_inputs(program: ExportedProgram, batch: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Random inputs of the right shapes: normal floats, integers 0 and 1 in ascending order along the last dimension.

    Such integers are valid as almost anything: indices, masks, offsets, the corners of boxes.

    Args:
        batch: ignored where the export fixed the batch. Other dynamic dimensions get the size seen at export.

    Raises:
        UnsupportedModel: an input is no tensor, or of a size that no machine holds.
    """
    generator = torch.Generator().manual_seed(seed)
    return tuple(_random(value, batch, generator) for _, value in _inputs(program))


def tracing_inputs(program: ExportedProgram) -> tuple[torch.Tensor, ...]:
    """Inputs to export an edited graph of the program with, always the same.

    They are of two samples, or as many as the program takes at least: tracing takes 0 and 1 for constants. Raises as
    `example_inputs`.
    """
    return example_inputs(program, max(2, batch_range(program)[0]), seed=0)


def _random(value: torch.Tensor, batch: int, generator: torch.Generator) -> torch.Tensor:
    shape = [
        side if isinstance(side, int) else batch if dimension == 0 else _hint(side)
        for dimension, side in enumerate(value.shape)
    ]
    if math.prod(shape) > _MOST_ELEMENTS:
        raise UnsupportedModel(
            f"An input of shape {shape} is too large to make up.", cure="Export it with inputs of a realistic size."
        )
    if value.dtype.is_floating_point or value.dtype.is_complex:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(value.dtype)
    return torch.randint(0, 2, shape, generator=generator).sort(-1).values.to(value.dtype)


def _hint(side: torch.SymInt) -> int:
    hint = side.node.hint
    return int(hint) if hint is not None else 2


def summary(program: ExportedProgram) -> tuple[int, int, dict[str, int]]:
    """Size of a program.

    Returns:
        number of weights (elements of parameters and buffers); floating-point operations for one sample
        (multiply-adds times two, of convolutions, matrix products, attention and recurrent layers); and how often each
        operator is called.
    """
    parameters = sum(tensor.numel() for tensor in program.state_dict.values())
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    calls = Counter(str(target) if isinstance(target, OpOverload) else target.__name__ for target in targets)
    return parameters, _flops(program), dict(sorted(calls.items()))


def _flops(program: ExportedProgram) -> int:
    low, _ = batch_range(program)
    inputs = example_inputs(program, low, seed=0)
    with flop_counter() as counter, torch.no_grad():
        program.module()(*inputs)
    return int(counter.get_total_flops()) // low


def flop_counter() -> FlopCounterMode:
    """Counts what runs in its block: multiply-adds times two, of convolutions, matrix products, attention and RNNs."""
    return FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)


def _rnn_flops(x: torch.Size, input_weights: torch.Size, hidden_weights: torch.Size, *_: object, **__: object) -> int:
    """One layer and direction of an LSTM over `x` (steps, batch, features): both matrix products of every step."""
    return 2 * x[0] * x[1] * (input_weights.numel() + hidden_weights.numel())


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    """Both products of attention over (batch, heads, length, features)."""
    batch, heads, length, features = query
    return 2 * batch * heads * length * key[2] * (features + value[3])


_UNCOUNTED: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: _rnn_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
"""What torch's own counter leaves out on the CPU."""
