from __future__ import annotations

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from workers.graphs.onnx_sharing import drop_unread_constants, share_constants


def scalar(name: str, value: float) -> TensorProto:
    return numpy_helper.from_array(np.array(value, np.float32), name)


def value(name: str) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [])


def branch(constant: str) -> GraphProto:
    """A body that reads a constant of the graph around it."""
    return helper.make_graph(
        [helper.make_node("Identity", [constant], [f"{constant}_out"])], constant, [], [value(f"{constant}_out")]
    )


def model() -> ModelProto:
    """Picks one of two equal constants in the bodies of an `If`; a third one equals them, a fourth nothing reads."""
    choose = helper.make_node("If", ["c"], ["picked"], then_branch=branch("one"), else_branch=branch("two"))
    add = helper.make_node("Add", ["picked", "three"], ["y"])
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    constants = [scalar("one", 1.0), scalar("two", 1.0), scalar("three", 1.0), scalar("unread", 4.0)]
    graph = helper.make_graph([choose, add], "test", [condition], [value("y")], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def names(made: ModelProto) -> list[str]:
    return [tensor.name for tensor in made.graph.initializer]


def test_equal_constants_are_kept_once_and_bodies_read_the_one_kept() -> None:
    made = model()
    assert share_constants(made) == 2
    assert names(made) == ["one", "unread"]
    bodies = [attribute.g for attribute in made.graph.node[0].attribute]
    assert [list(body.node[0].input) for body in bodies] == [["one"], ["one"]]
    assert list(made.graph.node[1].input) == ["picked", "one"]


def test_constants_that_nothing_reads_go_and_those_of_bodies_stay() -> None:
    made = model()
    drop_unread_constants(made)
    assert names(made) == ["one", "two", "three"]
