"""An ONNX file is fed and read by the names that users know."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from workers.graphs.onnx_ends import name_ends

# torch's ONNX exporter warns of its own internals.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Doubling(nn.Module):
    """What is given out is an inner value, given out twice, and the input itself."""

    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> Any:
        y = x * 2
        return y + 1, y, y, x


def session(outputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
    program = torch.export.export(Doubling(), (torch.ones(2, 3), torch.ones(2, 3)))
    exported = torch.onnx.export(program, dynamo=True, verbose=False)
    assert exported is not None
    name_ends(exported.model, ("x", "unused"), outputs)
    return onnxruntime.InferenceSession(exported.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (("sum", "twice", "again", "same"), ["sum", "twice", "again", "same"]),
        (("mul", "add", "x", "unused"), ["mul", "add", "x_output", "unused_output"]),
        (("scalar_tensor_default", "a", "b", "c"), ["scalar_tensor_default_output", "a", "b", "c"]),
    ],
    ids=["free", "those of others", "that of a constant"],
)
def test_ends_get_their_names_or_one_like_it(wanted: tuple[str, ...], given: list[str]) -> None:
    found = session(wanted)
    assert [each.name for each in found.get_inputs()] == ["x", "unused"]
    assert [each.name for each in found.get_outputs()] == given
    x = np.full((2, 3), 5, np.float32)
    assert [each[0, 0] for each in found.run(given, {"x": x, "unused": x})] == [11, 10, 10, 5]


def test_outputs_without_names_keep_those_of_their_operators() -> None:
    first, second, *_ = session(()).get_outputs()
    assert (first.name, second.name) == ("add", "mul")
