"""The mean error that rounding weights makes in a layer's outputs, taken off its bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.fx import GraphModule, Node

from workers.graphs.low_bit import constant_node
from workers.graphs.stored_values import stored_tensor

__all__ = ["correct_bias", "mean_error"]

aten = torch.ops.aten


def mean_error(weight: torch.Tensor, rounded: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """By how much the outputs of `rounded` are too large on average: E[(rounded - weight) x] = (rounded - weight) E[x].

    Args:
        mean: of the layer's inputs, of shape (parts, columns), as `input_moments` finds it.

    Nagel et al., 2019: Data-Free Quantization through Weight Equalization and Bias Correction, arXiv:1906.04721, 4.2;
    with the mean over data instead of that of the batch norms.
    """
    error = (rounded - weight).reshape(len(mean), -1, mean.shape[1])
    return torch.einsum("pok,pk->po", error, mean).flatten()


def correct_bias(module: GraphModule, calls: Sequence[Node], errors: Mapping[Node, torch.Tensor]) -> bool:
    """Takes the mean errors off the biases of the calls of one layer; a linear layer or a convolution without a bias
    gets one.

    Args:
        errors: mean error of shape (outputs,) by the weight's node, as the calls read it.

    Returns:
        False if nothing could be corrected: a table has no bias, and a recurrent layer may have none.
    """
    corrected = [_correct(module, call, errors) for call in calls]
    return any(corrected)


def _correct(module: GraphModule, call: Node, errors: Mapping[Node, torch.Tensor]) -> bool:
    if call.target is aten.embedding.default:
        return False
    if isinstance(call.args[2] if len(call.args) > 2 else None, list | tuple):
        return _correct_recurrent(module, call, errors)
    weight = call.args[1]
    assert isinstance(weight, Node)
    bias = call.args[2] if len(call.args) > 2 else None
    corrected = _bias(module, call, bias, errors[weight], f"{call.name}_bias_corrected")
    if corrected is None:
        return False
    call.args = (*call.args[:2], corrected, *call.args[3:])
    return True


def _correct_recurrent(module: GraphModule, call: Node, errors: Mapping[Node, torch.Tensor]) -> bool:
    """Both biases of every layer, each by the error of its own matrix: a GRU gates one of them."""
    parameters = list(call.args[2])  # type: ignore[arg-type]  # checked to be a list
    if not call.args[3]:
        return False
    for index, weight in enumerate(parameters):
        if isinstance(weight, Node) and weight in errors and index + 2 < len(parameters):
            bias = _bias(module, call, parameters[index + 2], errors[weight], f"{call.name}_bias_{index}_corrected")
            parameters[index + 2] = bias or parameters[index + 2]
    call.update_arg(2, parameters)
    return True


def _bias(module: GraphModule, call: Node, bias: object, error: torch.Tensor, name: str) -> Node | None:
    """The node of the corrected bias, in front of the call; `None` if the bias is computed."""
    if bias is None:
        value = torch.zeros_like(error)
    elif isinstance(bias, Node) and bias.op == "get_attr":
        value = stored_tensor(module, bias).detach()
    else:
        return None
    return constant_node(module, call.prev, name, value - error)
