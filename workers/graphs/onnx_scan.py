"""GRU and RNN layers as an ONNX `Scan` whose body multiplies the state by low-bit codes.

Traced, a layer is `MatMulNBits` over the whole sequence and a placeholder for the recurrence, since torch can't say a
graph inside a graph; `expand_recurrences` puts the `Scan` in its place when the model is ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from workers.graphs.onnx_matmul_nbits import matmul_nbits
from workers.graphs.onnx_sites import MARKS

__all__ = ["expand_recurrences", "scan_layers"]

_PRODUCT = ("K", "N", "bits", "block_size", "accuracy_level")


def scan_layers(
    x: torch.Tensor,
    state: torch.Tensor,
    cells: Sequence[Sequence[Any]],
    products: Sequence[Sequence[dict[str, int]]],
    options: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `aten.gru.input` and `aten.rnn_tanh.input`: the outputs, the last states.

    Args:
        cells: per layer and direction codes, scales and zeros of both matrices, and the two biases (or `None`).
        products: per layer and direction the attributes of both matrices' `MatMulNBits`.
    """
    count = options["directions"]
    x = x.transpose(0, 1) if options["batch_first"] else x
    last = []
    for start in range(0, len(cells), count):
        outputs = []
        for index in range(start, start + count):
            (codes, scales, zeros, *recurrent), biases = cells[index][:6], cells[index][6:8]
            gates = matmul_nbits(x, codes, scales, zeros, biases[0], products[index][0])
            y, end = _recurrence(gates, state[index], [*recurrent, biases[1]], products[index][1], options, index)
            outputs.append(y)
            last.append(end)
        x = torch.cat(outputs, dim=-1) if count == 2 else outputs[0]
    return x.transpose(0, 1) if options["batch_first"] else x, torch.stack(last)


def _recurrence(
    gates: torch.Tensor,
    state: torch.Tensor,
    constants: Sequence[torch.Tensor | None],
    product: dict[str, int],
    options: dict[str, Any],
    index: int,
) -> Sequence[torch.Tensor]:
    return torch.onnx.ops.symbolic_multi_out(
        f"{MARKS}::Recurrence",
        (gates, state, *constants),
        {**product, "kind": options["kind"], "reverse": index % options["directions"]},
        dtypes=[gates.dtype] * 2,
        shapes=[(gates.shape[0], gates.shape[1], options["hidden"]), state.shape],
        version=1,
    )


def expand_recurrences(model: ModelProto) -> int:
    """Replaces the placeholders of `scan_layers` by `Scan`, in place; returns how many there were."""
    count = 0
    for index, node in enumerate(list(model.graph.node)):
        if node.domain == MARKS:
            model.graph.node.remove(node)
            model.graph.node.insert(index, _scan(model.graph, node))
            count += 1
    kept = [opset for opset in model.opset_import if opset.domain != MARKS]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return count


def _scan(graph: GraphProto, node: NodeProto) -> NodeProto:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    gates, state = node.input[:2]
    outputs, last = node.output
    kind, reverse, prefix = attributes["kind"].decode(), int(attributes["reverse"]), outputs
    body = _body(graph, node, {name: attributes[name] for name in _PRODUCT}, kind, prefix)
    return helper.make_node(
        "Scan",
        [state, gates],
        [last, outputs],
        f"{prefix}_scan",
        body=body,
        num_scan_inputs=1,
        scan_input_directions=[reverse],
        scan_output_directions=[reverse],
    )


def _body(graph: GraphProto, node: NodeProto, product: dict[str, Any], kind: str, prefix: str) -> GraphProto:
    """One step: the state and the gates that the inputs give → the state, twice."""
    codes, scales, zeros, bias = [*node.input[2:], "", ""][:4]
    nodes = [
        helper.make_node(
            "MatMulNBits", ["state", codes, scales, zeros, "", bias], ["product"], domain="com.microsoft", **product
        ),
        *(_gru(graph, product["K"], prefix) if kind == "gru" else _rnn(kind)),
        helper.make_node("Identity", ["next"], ["output"]),
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("state", product["K"]), ("gates", product["N"]), ("next", product["K"]))
    }
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", product["K"]])
    return helper.make_graph(nodes, f"{prefix}_step", [values["state"], values["gates"]], [values["next"], output])


def _rnn(kind: str) -> list[NodeProto]:
    return [
        helper.make_node("Add", ["gates", "product"], ["sum"]),
        helper.make_node("Relu" if kind == "rnn_relu" else "Tanh", ["sum"], ["next"]),
    ]


def _gru(graph: GraphProto, hidden: int, prefix: str) -> list[NodeProto]:
    """r, z = σ(…); n = tanh(…); next = n + z (state - n), as `torch.nn.GRU` defines it; its gates are r, z, n."""
    sizes = f"{prefix}_sizes"
    graph.initializer.append(numpy_helper.from_array(np.array([2 * hidden, hidden], dtype=np.int64), sizes))
    make = helper.make_node
    return [
        make("Split", ["gates", sizes], ["gates_rz", "gates_n"], axis=-1),
        make("Split", ["product", sizes], ["product_rz", "product_n"], axis=-1),
        make("Add", ["gates_rz", "product_rz"], ["sum_rz"]),
        make("Sigmoid", ["sum_rz"], ["rz"]),
        make("Split", ["rz"], ["r", "z"], axis=-1, num_outputs=2),
        make("Mul", ["r", "product_n"], ["reset"]),
        make("Add", ["gates_n", "reset"], ["sum_n"]),
        make("Tanh", ["sum_n"], ["n"]),
        make("Sub", ["state", "n"], ["change"]),
        make("Mul", ["z", "change"], ["kept"]),
        make("Add", ["n", "kept"], ["next"]),
    ]
