"""Which kernel of ONNX Runtime is fastest for few-bit weights: linear layers, convolutions, recurrent layers, nf4.

What `workers/graphs/onnx_*.py` choose rests on these figures. Every kernel of a line is called in turn, in one process
without spinning threads; a line shows milliseconds (median) and how many times as fast as float32 it is.

    python -m benchmarks.onnx_low_bit [linear] [convolution] [lstm] [gru] [nf4]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = Any
"""A numpy array or scalar."""
BATCHES = (1, 8, 32)
ROUNDS = 9
CONTRIB = "com.microsoft"
_RANDOM = np.random.default_rng(0)


def main() -> None:
    """Prints all tables, or those named on the command line."""
    tables: dict[str, Callable[[], Iterator[tuple[str, Mapping[str, ModelProto], Array]]]] = {
        "linear": linear, "convolution": convolution, "lstm": lstm, "gru": gru, "nf4": nf4,
    }  # fmt: skip
    for name in [each for each in sys.argv[1:] if each in tables] or list(tables):
        print(f"\n{name}: ms (times as fast as float32)")
        for title, kernels, x in tables[name]():
            times = race({kernel: session(model) for kernel, model in kernels.items()}, x)
            row = "  ".join(f"{kernel} {ms:.3f} ({times['float32'] / ms:.2f})" for kernel, ms in times.items())
            print(f"{title}: {row}", flush=True)


def race(sessions: Mapping[str, onnxruntime.InferenceSession], x: Array) -> dict[str, float]:
    """Median milliseconds of each, called in turn: once untimed, once timed."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, one in sessions.items():
            one.run(None, {"x": x})
            start = time.perf_counter()
            one.run(None, {"x": x})
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(each)) for name, each in times.items()}


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """On one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def model(nodes: list[NodeProto], constants: Mapping[str, Array], rank: int = 2) -> ModelProto:
    """x → y, float32, all dimensions free."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def nbits(
    rows: int, columns: int, bits: int, block: int, level: int = 4, name: str = "w"
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Random constants of a `MatMulNBits` and its attributes."""
    blocks = -(-columns // block)
    constants = {
        f"{name}_codes": _RANDOM.integers(0, 256, (rows, blocks, block * bits // 8), dtype=np.uint8),
        f"{name}_scales": _RANDOM.random(rows * blocks, dtype=np.float32) / columns,
    }
    attributes = {"K": columns, "N": rows, "bits": bits, "block_size": block, "accuracy_level": level}
    return constants, attributes


def product(x: str, y: str, attributes: dict[str, Any], name: str = "w") -> NodeProto:
    return helper.make_node("MatMulNBits", [x, f"{name}_codes", f"{name}_scales"], [y], domain=CONTRIB, **attributes)


_KINDS = (
    (8, 256, 4),
    (8, 256, 0),
    (4, 64, 4),
    (4, 256, 4),
    (4, 256, 0),
    (2, 32, 4),
    (2, 64, 4),
    (2, 128, 4),
    (2, 128, 0),
)
"""Bits, block and accuracy level."""


def linear() -> Iterator[tuple[str, Mapping[str, ModelProto], Array]]:
    """Products of several sizes. `batch`: one range of inputs for the whole batch; `rows`: one for each row."""
    for columns, rows in ((256, 256), (440, 2048), (768, 3072), (2048, 2048)):
        weight = normal(columns, rows)
        scale = (np.abs(weight).max(0) / 127).astype(np.float32)
        codes = np.rint(weight / scale).astype(np.int8)
        kernels = {
            "float32": model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight}),
            "int8 batch": model(_batch_range(), {"codes": codes, "scale": scale}),
            "int8 rows": model(_row_ranges(), {"codes": codes, "scale": scale, **_ROW_CONSTANTS, "sums": scale}),
        }
        for bits, block, level in _KINDS:
            constants, attributes = nbits(rows, columns, bits, block, level)
            kernels[f"nbits{bits}/{block}/{level}"] = model([product("x", "y", attributes)], constants)
        for batch in BATCHES:
            yield f"{columns} → {rows}, batch {batch}", kernels, normal(batch, columns)


_ROW_CONSTANTS: dict[str, Array] = {
    "axis": np.array([-1]), "levels": np.float32(1 / 255), "tiny": np.float32(1e-12), "one": np.float32(1),
    "zero": np.uint8(0),
}  # fmt: skip


def _batch_range() -> list[NodeProto]:
    return [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["u", "step", "least"]),
        helper.make_node("MatMulIntegerToFloat", ["u", "codes", "step", "scale", "least"], ["y"], domain=CONTRIB),
    ]


def _row_ranges() -> list[NodeProto]:
    make = helper.make_node
    return [
        make("ReduceMax", ["x", "axis"], ["most"]),
        make("ReduceMin", ["x", "axis"], ["least"]),
        make("Sub", ["most", "least"], ["range"]),
        make("Mul", ["range", "levels"], ["raw_step"]),
        make("Max", ["raw_step", "tiny"], ["step"]),
        make("Sub", ["x", "least"], ["above"]),
        make("Div", ["above", "step"], ["level"]),
        make("QuantizeLinear", ["level", "one", "zero"], ["u"]),
        make("MatMulIntegerToFloat", ["u", "codes", "one", "scale"], ["sum"], domain=CONTRIB),
        make("Mul", ["sum", "step"], ["scaled"]),
        make("Mul", ["least", "sums"], ["rest"]),
        make("Add", ["scaled", "rest"], ["y"]),
    ]


def convolution() -> Iterator[tuple[str, Mapping[str, ModelProto], Array]]:
    """Three in a row. `free`: patches (kernel, channels); `bound`: (channels, kernel), as groups of weights need it."""
    for channels, side, kernel in ((64, 56, 3), (128, 28, 3), (256, 14, 3), (512, 7, 3), (128, 28, 1), (256, 14, 1),
                                   (1024, 7, 1)):  # fmt: skip
        weight = normal(channels, channels, kernel, kernel) / channels
        pads = [kernel // 2] * 4
        floats = [
            node
            for number in range(3)
            for node in (
                helper.make_node("Conv", [_name(number), "w"], [f"c{number}"], pads=pads),
                helper.make_node("Relu", [f"c{number}"], [_name(number + 1)]),
            )
        ]
        kernels = {"float32": model(floats, {"w": weight}, 4)}
        for bits, block, free in ((8, 256, True), (4, 256, True), (4, 64, False), (2, 128, True), (2, 64, False)):
            if channels * kernel * kernel >= block:
                name = f"nbits{bits}/{block} {'free' if free else 'bound'}"
                kernels[name] = _patches(channels, side, kernel, bits, block, free)
        for batch in (1, 8):
            yield f"{channels} × {side}², kernel {kernel}, batch {batch}", kernels, normal(batch, channels, side, side)


def _name(number: int) -> str:
    return {0: "x", 3: "y"}.get(number, f"r{number}")


def _patches(channels: int, side: int, kernel: int, bits: int, block: int, free: bool) -> ModelProto:
    constants, attributes = nbits(channels, channels * kernel * kernel, bits, block)
    axes = [1, 2] if free else [2, 3]
    constants["axes"] = np.array(axes)
    constants["pads"] = np.array([int(axis in axes) * (kernel // 2) for axis in range(4)] * 2)
    constants["joined"] = np.array([0, -1, side, side])
    constants["apart"] = np.array([2])
    nodes: list[NodeProto] = []

    def add(operator: str, inputs: list[str], output: str, **options: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **options))
        return output

    for number in range(3):
        source = _name(number)
        if free:
            source = add("Transpose", [source], f"last{number}", perm=[0, 2, 3, 1])
        if kernel > 1:
            padded = add("Pad", [source, "pads"], f"padded{number}")
            parts = []
            for row in range(kernel):
                for column in range(kernel):
                    place = f"{row}{column}"
                    constants[f"from{place}"] = np.array([row, column])
                    constants[f"to{place}"] = np.array([row + side, column + side])
                    part = add("Slice", [padded, f"from{place}", f"to{place}", "axes"], f"part{place}_{number}")
                    parts.append(part if free else add("Unsqueeze", [part, "apart"], f"{part}_apart"))
            source = add("Concat", parts, f"patches{number}", axis=3 if free else 2)
            if not free:
                source = add("Reshape", [source, "joined"], f"flat{number}")
        if not free:
            source = add("Transpose", [source], f"last{number}", perm=[0, 2, 3, 1])
        nodes.append(product(source, f"product{number}", attributes))
        first = add("Transpose", [f"product{number}"], f"first{number}", perm=[0, 3, 1, 2])
        add("Relu", [first], _name(number + 1))
    return model(nodes, constants, 4)


def lstm() -> Iterator[tuple[str, Mapping[str, ModelProto], Array]]:
    """One direction, 60 steps. `dynamic`: DynamicQuantizeLSTM; `scan`: a loop over `MatMulNBits`."""
    for size in (128, 256, 512, 1024):
        gates = {"W": normal(1, 4 * size, size) / size**0.5, "R": normal(1, 4 * size, size) / size**0.5}
        floats = helper.make_node("LSTM", ["x", "W", "R"], ["y4"], hidden_size=size)
        quantized: dict[str, Array] = {"one": np.array([1])}
        for name, weight in gates.items():
            scale = (np.abs(weight).max(2) / 127).astype(np.float32)
            quantized[name] = np.rint(weight / scale[..., None]).astype(np.int8).transpose(0, 2, 1).copy()
            quantized[f"{name}_scale"], quantized[f"{name}_zero"] = scale, np.zeros(scale.shape, np.int8)
        inputs = ["x", "W", "R", "", "", "", "", "", "W_scale", "W_zero", "R_scale", "R_zero"]
        dynamic = helper.make_node("DynamicQuantizeLSTM", inputs, ["y4"], domain=CONTRIB, hidden_size=size)
        squeeze = helper.make_node("Squeeze", ["y4", "one"], ["y"])
        kernels = {
            "float32": model([floats, squeeze], {**gates, "one": np.array([1])}, 3),
            "dynamic": model([dynamic, squeeze], quantized, 3),
            **{f"scan{bits}/{block}": _scan(size, bits, block, "lstm") for bits, block in ((8, 128), (4, 64), (2, 64))},
        }
        for batch in BATCHES:
            yield f"{size} units, batch {batch}", kernels, normal(60, batch, size)


def gru() -> Iterator[tuple[str, Mapping[str, ModelProto], Array]]:
    """One direction, 60 steps."""
    for size in (128, 256, 512, 1024):
        gates = {"W": normal(1, 3 * size, size) / size**0.5, "R": normal(1, 3 * size, size) / size**0.5}
        nodes = [
            helper.make_node("GRU", ["x", "W", "R"], ["y4"], hidden_size=size, linear_before_reset=1),
            helper.make_node("Squeeze", ["y4", "one"], ["y"]),
        ]
        kernels = {
            "float32": model(nodes, {**gates, "one": np.array([1])}, 3),
            **{f"scan{bits}/{block}": _scan(size, bits, block, "gru") for bits, block in ((8, 128), (4, 64), (2, 64))},
        }
        for batch in BATCHES:
            yield f"{size} units, batch {batch}", kernels, normal(60, batch, size)


def _scan(size: int, bits: int, block: int, kind: str) -> ModelProto:
    count = {"lstm": 4, "gru": 3}[kind]
    constants, attributes = nbits(count * size, size, bits, block)
    recurrent, _ = nbits(count * size, size, bits, block, name="r")
    constants |= recurrent | {"size": np.array([size]), "parts": np.array([(count - 1) * size, size])}
    make = helper.make_node
    step = [product("h", "hr", attributes, "r"), *(_lstm_step() if kind == "lstm" else _gru_step())]
    step.append(make("Identity", ["h_next"], ["out"]))
    states = ["h", "c"] if kind == "lstm" else ["h"]

    def value(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])

    body = helper.make_graph(
        step,
        "step",
        [*(value(name, size) for name in states), value("gates", count * size)],
        [*(value(f"{name}_next", size) for name in states), value("out", size)],
    )
    nodes = [
        product("x", "gx", attributes),
        make("Shape", ["x"], ["batch"], start=1, end=2),
        make("Concat", ["batch", "size"], ["shape"], axis=0),
        make("ConstantOfShape", ["shape"], ["start"]),
        make("Scan", ["start"] * len(states) + ["gx"], [f"{name}_last" for name in states] + ["y"], body=body,
             num_scan_inputs=1),
    ]  # fmt: skip
    return model(nodes, constants, 3)


def _lstm_step() -> list[NodeProto]:
    make = helper.make_node
    return [
        make("Add", ["gates", "hr"], ["sum"]),
        make("Split", ["sum", "parts"], ["iof", "g"], axis=-1),
        make("Sigmoid", ["iof"], ["open"]),
        make("Split", ["open"], ["i", "o", "f"], axis=-1, num_outputs=3),
        make("Tanh", ["g"], ["new"]),
        make("Mul", ["f", "c"], ["old"]),
        make("Mul", ["i", "new"], ["added"]),
        make("Add", ["old", "added"], ["c_next"]),
        make("Tanh", ["c_next"], ["shown"]),
        make("Mul", ["o", "shown"], ["h_next"]),
    ]


def _gru_step() -> list[NodeProto]:
    make = helper.make_node
    return [
        make("Split", ["gates", "parts"], ["gx_rz", "gx_n"], axis=-1),
        make("Split", ["hr", "parts"], ["hr_rz", "hr_n"], axis=-1),
        make("Add", ["gx_rz", "hr_rz"], ["sum"]),
        make("Sigmoid", ["sum"], ["open"]),
        make("Split", ["open"], ["r", "z"], axis=-1, num_outputs=2),
        make("Mul", ["r", "hr_n"], ["reset"]),
        make("Add", ["gx_n", "reset"], ["sum_n"]),
        make("Tanh", ["sum_n"], ["n"]),
        make("Sub", ["h", "n"], ["change"]),
        make("Mul", ["z", "change"], ["kept"]),
        make("Add", ["n", "kept"], ["h_next"]),
    ]


def nf4() -> Iterator[tuple[str, Mapping[str, ModelProto], Array]]:
    """The product that ONNX Runtime has for nf4."""
    for columns, rows in ((256, 256), (768, 3072), (2048, 2048)):
        codes = _RANDOM.integers(0, 256, rows * columns // 2, dtype=np.uint8)
        scales = _RANDOM.random(rows * columns // 64, dtype=np.float32)
        attributes: dict[str, Any] = {"K": columns, "N": rows, "block_size": 64, "quant_type": 1}
        node = helper.make_node("MatMulBnb4", ["x", "codes", "scales"], ["y"], domain=CONTRIB, **attributes)
        kernels = {
            "float32": model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": normal(columns, rows)}),
            "bnb4/64": model([node], {"codes": codes, "scales": scales}),
        }
        for batch in BATCHES:
            yield f"{columns} → {rows}, batch {batch}", kernels, normal(batch, columns)


def normal(*shape: int) -> Array:
    return _RANDOM.standard_normal(shape, dtype=np.float32)


if __name__ == "__main__":
    main()
