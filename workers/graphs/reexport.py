"""Turning an edited module back into a program with the signature it came from."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch._decomp.decompositions
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule
from torch.utils._pytree import tree_unflatten

from burnish.errors import BurnishError, UnsupportedModel

__all__ = ["dimensions", "drop_unused_state", "exported_again", "reexport", "user_inputs"]

_CURE = "Leave this pass out, and report the model with the recipe: the pass should have told why it can't treat it."


def user_inputs(program: ExportedProgram) -> list[torch.Tensor]:
    """The fake tensors of the program's inputs, in order: shapes (with symbols where dynamic), dtypes, devices."""
    kinds = {spec.arg.name: spec.kind for spec in program.graph_signature.input_specs}
    return [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and kinds[node.name] == InputKind.USER_INPUT
    ]


def dimensions(value: torch.Tensor) -> tuple[int | torch.SymInt, ...]:
    """The shape of a fake tensor; torch's types don't tell that a dimension may be a symbol."""
    return tuple(value.shape)


@contextmanager
def exported_again(cure: str) -> Iterator[None]:
    """A block in which torch traces a graph that was edited, or edits one itself.

    Raises:
        UnsupportedModel: it can't, in its own words.
    """
    try:
        yield
    except (BurnishError, MemoryError):
        raise
    # A boundary: torch reports what it can't trace by whatever exception it runs into.
    except Exception as error:
        raise UnsupportedModel(
            f"torch {torch.__version__} can't trace the rewritten program: {type(error).__name__}: {str(error)[:500]}",
            cure=cure,
        ) from error


def reexport(
    module: GraphModule, like: ExportedProgram, example: Sequence[torch.Tensor], *, cure: str = _CURE
) -> ExportedProgram:
    """Exports `module`, an edited copy of `like.module()`, with the dynamic dimensions of `like`.

    Args:
        module: loses the parameters and buffers that its graph does not read; it is compiled again.
        example: one tensor per input of the program; dynamic dimensions have at least 2 elements where they may,
            since `torch.export` takes 0 and 1 for constants.
        cure: what to do if torch refuses.

    Raises:
        UnsupportedModel: torch can't trace it, or only for fewer sizes than those of `like`.
    """
    drop_unused_state(module)
    structure = like.call_spec.in_spec
    args, kwargs = tree_unflatten(list(example), structure)
    shapes, named_shapes = tree_unflatten(_dynamic_shapes(like), structure)
    names = list(inspect.signature(module.forward).parameters)
    with exported_again(cure), _products_folded(), torch.no_grad():
        return torch.export.export(
            module, tuple(args), kwargs, dynamic_shapes={**dict(zip(names, shapes, strict=False)), **named_shapes}
        )


@contextmanager
def _products_folded() -> Iterator[None]:
    """A block in which torch merges the leading dimensions of a product with a matrix whatever its memory layout.

    That is what it does for weights that need a gradient, as those of an upload do. For others, which passes make, it
    compares strides first and takes the answer for a promise: after a slice and a transposition the program would be
    bound to all batches but one, `16 * batch != 32`, and export refuses it (torch 2.13). The product stays one call of
    the graph either way.
    """
    with mock.patch.object(torch._decomp.decompositions, "should_fold", _has_leading_dimensions):
        yield


def _has_leading_dimensions(first: torch.Tensor, second: torch.Tensor, is_out: bool = False) -> bool:
    return (first.dim() > 2 and second.dim() <= 2) or (first.dim() == 1 and second.dim() > 2)


def _dynamic_shapes(like: ExportedProgram) -> list[dict[int, Any]]:
    symbols: dict[Any, Any] = {}
    return [
        {
            axis: _dimension(like, size.node.expr, symbols)
            for axis, size in enumerate(dimensions(value))
            if isinstance(size, torch.SymInt)
        }
        for value in user_inputs(like)
    ]


def _dimension(like: ExportedProgram, expression: Any, symbols: dict[Any, Any]) -> Any:
    """The dimension as `torch.export` takes it; one that depends on others is left to it to work out."""
    if expression not in like.range_constraints:
        return Dim.AUTO
    if expression not in symbols:
        bounds = like.range_constraints[expression]
        symbols[expression] = Dim(f"dim_{len(symbols)}", min=_finite(bounds.lower), max=_finite(bounds.upper))
    return symbols[expression]


def _finite(bound: Any) -> int | None:
    """The bound as a number; `None` for the infinities, which torch also writes as the largest integers."""
    return int(bound) if bound.is_finite and abs(int(bound)) < 2**62 else None


def drop_unused_state(module: GraphModule) -> None:
    """Deletes parameters and buffers that no call reads, so that they don't travel in the program's file."""
    for node in module.graph.find_nodes(op="get_attr"):
        if not node.users:
            module.graph.erase_node(node)  # such as a batch norm's count of batches
    module.recompile()
    used = {node.target for node in module.graph.find_nodes(op="get_attr")}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
    module.delete_all_unused_submodules()
