"""The example that a module is exported with: what it is called with, by position or by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any
from unittest import mock

from burnish.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["Example", "as_example"]

_CONSTANTS = (bool, int, float, str, type(None))
"""What an export writes into the graph; all else that is no container has to be a tensor."""


@dataclass(frozen=True)
class Example:
    """`module(*args, **kwargs)`: tensors with the batch as dimension 0, in containers or not, and constants."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Its tensors, in the order of the call."""
        import torch

        return [leaf for leaf in _leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    @property
    def batch(self) -> int:
        """How many samples it holds: what does not have as many in dimension 0 is the same for all of them."""
        return self.tensors[0].shape[0]

    def run(self, module: Callable[..., Any]) -> Any:
        """What the module returns."""
        return module(*self.args, **self.kwargs)

    def still(self) -> Example:
        """On the CPU, without a history of gradients."""
        return self._mapped(lambda tensor: tensor.detach().cpu())

    def resized(self, wanted: int) -> Example:
        """With another number of samples, repeated in turn."""
        import torch

        batch = self.batch
        order = torch.arange(wanted) % batch
        return self._mapped(lambda tensor: tensor[order] if tensor.shape[0] == batch else tensor)

    def shapes(self, dim: Any) -> torch.export.ShapesCollection:
        """Its shapes for `torch.export`, with `dim` as the batch."""
        import torch

        shapes = torch.export.ShapesCollection()
        for tensor in self.tensors:
            if tensor.shape[0] == self.batch:
                shapes[tensor] = {0: dim}
        return shapes

    @contextmanager
    def spelled_out(self, module: torch.nn.Module) -> Iterator[None]:
        """A block in which a `forward(…, **kwargs)` has the names that the example gives in place of `**kwargs`.

        torch 2.13 exports no dynamic shapes with what lands there, and most models of `transformers` have such.
        """
        forward = module.forward
        parameters = inspect.signature(forward).parameters.values()
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters):
            yield
            return
        named = [parameter for parameter in parameters if parameter.kind is not Parameter.VAR_KEYWORD]
        others = self.kwargs.keys() - {parameter.name for parameter in named}
        named += [Parameter(name, Parameter.KEYWORD_ONLY) for name in self.kwargs if name in others]

        def spelled(*args: Any, **kwargs: Any) -> Any:
            return forward(*args, **kwargs)

        spelled.__signature__ = Signature(named)  # type: ignore[attr-defined]
        with mock.patch.object(module, "forward", spelled):
            yield

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Example:
        import torch
        from torch.utils import _pytree

        args, kwargs = _pytree.tree_map_only(torch.Tensor, change, (self.args, self.kwargs))
        return Example(args, kwargs)


def as_example(inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any]) -> Example:
    """A tensor alone, arguments by position, or by name.

    Raises:
        UserError: torch is not installed, or it holds what is neither a tensor with a batch nor a constant.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("burnish.capture needs torch, which is not installed.", cure="Install torch 2.13.") from error
    if isinstance(inputs, Mapping):
        example = Example((), dict(inputs))
    else:
        example = Example((inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs), {})
    leaves = _leaves((example.args, example.kwargs))
    strange = [leaf for leaf in leaves if not isinstance(leaf, (torch.Tensor, *_CONSTANTS))]
    if strange or not example.tensors or not all(tensor.dim() for tensor in example.tensors):
        held = f"hold a {type(strange[0]).__qualname__}" if strange else "are not all tensors with a batch dimension"
        raise UserError(
            f"The example inputs {held}.",
            cure="Give what the module takes, by position (a sequence) or by name (a mapping): tensors, batch first, "
            "in tuples, lists and dicts if it takes such, and `None`, numbers, flags and texts as they are to stay.",
        )
    return example


def _leaves(tree: Any) -> list[Any]:
    from torch.utils import _pytree

    return _pytree.tree_leaves(tree)
