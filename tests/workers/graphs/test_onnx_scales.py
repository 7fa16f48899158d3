from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from workers.graphs.onnx_scales import unify_scales

WEIGHT = np.array([[10, -20, 30], [1, 2, 3]], dtype=np.int8)


def model(scales: Sequence[float], zeros: Sequence[int], weight: str = "w") -> ModelProto:
    """A constant that is dequantized by rows, and added to the input; the integers may be an input instead."""
    constants = {"w": WEIGHT, "s": np.array(scales, np.float32), "z": np.array(zeros, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", [weight, "s", "z"], ["dw"], axis=0),
        helper.make_node("Add", ["x", "dw"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    if weight != "w":
        inputs.append(helper.make_tensor_value_info(weight, TensorProto.INT8, [2, 3]))
    graph = helper.make_graph(
        nodes,
        "test",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(made: ModelProto) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: npt.NDArray[np.float32] = session.run(None, {"x": np.zeros((2, 3), np.float32)})[0]
    return outputs


def test_equal_scales_and_zero_points_become_one_of_each_and_the_values_stay() -> None:
    made = model([0.25, 0.25], [3, 3])
    before = run(made)
    assert unify_scales(made) == 1
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    weight, scale, zero = (constants[name] for name in made.graph.node[0].input)
    assert np.array_equal(weight, WEIGHT)
    assert (scale.shape, zero.shape) == ((), ())
    assert np.array_equal(run(made), before)


@pytest.mark.parametrize(
    ("scales", "zeros", "weight"),
    [([0.25, 0.5], [0, 0], "w"), ([0.25, 0.25], [0, 1], "w"), ([0.25, 0.25], [0, 0], "given")],
    ids=["scales differ", "zero points differ", "the integers are no constant"],
)
def test_other_scales_are_left_alone(scales: Sequence[float], zeros: Sequence[int], weight: str) -> None:
    made = model(scales, zeros, weight)
    text = made.SerializeToString()
    assert unify_scales(made) == 0
    assert made.SerializeToString() == text


def test_a_second_run_changes_nothing() -> None:
    made = model([0.25, 0.25], [0, 0])
    unify_scales(made)
    text = made.SerializeToString()
    assert unify_scales(made) == 0
    assert made.SerializeToString() == text
