"""The example of a call: by position or by name, in containers or not."""

import inspect
from collections import UserDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from burnish.errors import UserError
from burnish.example import as_example

X, Y = torch.zeros(2, 3), torch.ones(2, 1)


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        (X, (X,), {}),
        ((X, Y), (X, Y), {}),
        ([{"x": X}, None], ({"x": X}, None), {}),
        ({"x": X, "flag": True}, (), {"x": X, "flag": True}),
        (UserDict(x=X), (), {"x": X}),
    ],
    ids=["a tensor", "by position", "nested", "by name", "what a tokenizer gives"],
)
def test_an_example_is_given_by_position_or_by_name(given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    example = as_example(given)
    assert (example.args, example.kwargs) == (args, kwargs)
    assert example.tensors[0] is X


@pytest.mark.parametrize("given", [{"x": X, "how": SimpleNamespace(y=Y)}, (X, {1, 2})])
def test_what_is_neither_a_tensor_nor_a_constant_is_refused_by_its_type(given: Any) -> None:
    with pytest.raises(UserError, match=r"hold a (SimpleNamespace|set)") as refused:
        as_example(given)
    assert "by name" in refused.value.cure


def test_samples_are_repeated_in_turn_and_what_has_no_batch_stays() -> None:
    example = as_example({"x": torch.arange(2), "inner": [torch.arange(3), 7]}).resized(5)
    assert example.batch == 5
    assert example.kwargs["x"].tolist() == [0, 1, 0, 1, 0]
    assert example.kwargs["inner"][0].tolist() == [0, 1, 2]
    assert example.kwargs["inner"][1] == 7


def test_it_is_held_without_a_history_of_gradients() -> None:
    assert not as_example({"x": torch.ones(2, 3, requires_grad=True) * 2}).still().kwargs["x"].requires_grad


class Open(nn.Module):
    """Takes whatever it is given by name."""

    def forward(self, x: torch.Tensor, **others: Any) -> Any:
        return x, others


def test_other_names_are_spelled_out_for_a_block() -> None:
    module = Open()
    example = as_example({"z": Y, "x": X, "flag": True})
    with example.spelled_out(module):
        assert str(inspect.signature(module.forward)).count("z, flag") == 1
        assert example.run(module) == (X, {"z": Y, "flag": True})
    assert "**others" in str(inspect.signature(module.forward))


def test_a_forward_that_names_its_arguments_is_left_alone() -> None:
    module = nn.Linear(3, 2)
    with as_example({"input": X}).spelled_out(module):
        assert "forward" not in vars(module)
