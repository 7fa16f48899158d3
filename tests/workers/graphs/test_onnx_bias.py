from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from workers.graphs.onnx_bias import quantize_biases
from workers.graphs.onnx_sharing import drop_unread_constants

WEIGHT = np.array([[10, -20, 30], [1, 2, 3]], dtype=np.int8)


def model(scales: Sequence[float] | float, bias: Sequence[float], alpha: float = 1.0) -> ModelProto:
    """A quantized Gemm of three inputs and two outputs, activation scale 0.02."""
    constants: dict[str, npt.NDArray[np.generic]] = {
        "sx": np.array(0.02, np.float32),
        "zx": np.array(128, np.uint8),
        "w": WEIGHT,
        "sw": np.array(scales, np.float32),
        "zw": np.zeros_like(scales, np.int8),
        "b": np.array(bias, np.float32),
    }
    nodes: list[NodeProto] = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["qx"]),
        helper.make_node("DequantizeLinear", ["qx", "sx", "zx"], ["dx"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["dw"], axis=0),
        helper.make_node("Gemm", ["dx", "dw", "b"], ["y"], transB=1, alpha=alpha),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(made: ModelProto) -> npt.NDArray[np.float32]:
    inputs = np.array([[0.5, -1.0, 2.0], [0.0, 0.3, -2.5]], np.float32)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: npt.NDArray[np.float32] = session.run(None, {"x": inputs})[0]
    return outputs


def initializers(made: ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}


def test_a_bias_becomes_int32_and_the_outputs_stay() -> None:
    made = model([0.01, 0.05], [0.7, -3.0])
    before = run(made)
    assert quantize_biases(made) == 1
    assert initializers(made)["y_bias"].dtype == np.int32
    drop_unread_constants(made)
    assert "b" not in initializers(made)
    np.testing.assert_allclose(run(made), before, atol=1e-3)


def test_a_bias_too_large_for_the_scale_of_its_channel_raises_the_scale() -> None:
    made = model([1e-12, 0.05], [5.0, -3.0])
    before = run(made)
    quantize_biases(made)
    values = initializers(made)
    assert abs(int(values["y_bias"][0])) <= 2**30
    assert np.array_equal(values["dw_rescaled"][1], WEIGHT[1])
    np.testing.assert_allclose(run(made), before, atol=1e-3)


def test_on_one_scale_of_the_weights_the_bias_has_one_too() -> None:
    made = model(0.01, [0.7, -3.0])
    before = run(made)
    assert quantize_biases(made) == 1
    assert initializers(made)["y_bias_scale"].shape == initializers(made)["y_bias_zero"].shape == ()
    np.testing.assert_allclose(run(made), before, atol=1e-3)


def test_where_one_scale_is_too_small_for_a_bias_each_channel_gets_its_own() -> None:
    made = model(1e-9, [5.0, 1e-9])
    quantize_biases(made)
    values = initializers(made)
    assert values["dw_scale"].shape == values["dw_zeros"].shape == (2,)
    assert np.array_equal(values["dw_rescaled"][1], WEIGHT[1])
    assert abs(int(values["y_bias"][0])) <= 2**30
    np.testing.assert_allclose(run(made)[:, 0], 5.0)


def test_a_scaled_product_is_left_as_it_is() -> None:
    made = model([0.01, 0.05], [0.7, -3.0], alpha=2.0)
    text = made.SerializeToString()
    assert quantize_biases(made) == 0
    assert made.SerializeToString() == text


def test_a_second_run_changes_nothing() -> None:
    made = model([0.01, 0.05], [0.7, -3.0])
    quantize_biases(made)
    text = made.SerializeToString()
    assert quantize_biases(made) == 0
    assert made.SerializeToString() == text
