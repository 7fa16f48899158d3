"""The names of a program's outputs are read from the text that says how they are nested, whatever the containers."""

import json
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from burnish.errors import InvalidModel
from burnish.formats.trees import Leaves, read_leaves
from tests.burnish.formats.test_fuzz import JSON, quick
from tests.keywords import Answer

PLACE = ("model.json",)
LEAF = {"type": None, "context": None, "children_spec": []}
Point = namedtuple("Point", ["x", "y"])
pytree._register_namedtuple(Point, serialized_type_name="tests.Point")


def leaves_of(value: Any) -> Leaves:
    text = pytree.treespec_dumps(pytree.tree_structure(value))
    return read_leaves(text, {"tests.Point": {"field_names": ["x", "y"]}}, PLACE)


def container(kind: str, context: Any, *children: Any) -> dict[str, Any]:
    return {"type": kind, "context": context, "children_spec": list(children)}


def read(node: Any, fields: Any = None) -> Leaves:
    return read_leaves(json.dumps([1, node]), fields, PLACE)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"logits": 1}, ["logits"]),
        ({"b": 1, "a": (2, [3])}, ["b", "a_0", "a_1_0"]),
        (({"a": 1}, {"a": 2}, 3), ["0_a", "1_a", "2"]),
        (OrderedDict(first=1, second=2), ["first", "second"]),
        (Point(1, {"z": 2}), ["x", "y_z"]),
        (Answer(logits=torch.ones(1), states=(torch.ones(1), torch.ones(1))), ["logits", "states_0", "states_1"]),
        ({"up.left": 1, "Größe": 2}, ["up_left", "Gr__e"]),
    ],
)
def test_leaves_are_named_by_the_keys_and_positions_on_the_way_to_them(value: Any, names: list[str]) -> None:
    assert leaves_of(value) == Leaves(tuple(names), True)


@pytest.mark.parametrize(("value", "names"), [(1, [""]), ((1, [2, 3]), ["0", "1_0", "1_1"]), ((), [])])
def test_leaves_that_only_positions_lead_to_are_not_named(value: Any, names: list[str]) -> None:
    assert leaves_of(value) == Leaves(tuple(names), False)


def test_an_output_of_a_library_that_is_not_installed_is_named_by_its_keys() -> None:
    node = container("transformers.modeling_outputs.ModelOutput", '["logits", "states"]', LEAF, LEAF)
    assert read(node).names == ("logits", "states")


def test_names_that_would_be_alike_get_numbers() -> None:
    value = {"a_b": 1, "a": {"b": 2}, "a.b": 3, "a_b_1": 4}
    assert leaves_of(value).names == ("a_b", "a_b_1", "a_b_2", "a_b_1_1")


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("builtins.dict", json.dumps([{"__enum__": True, "fqn": "os:X", "name": "A"}])),
        ("builtins.dict", json.dumps([3])),
        ("builtins.dict", '["a", "b"]'),
        ("builtins.dict", "[" * 10_000),
        ("collections.defaultdict", {"default_factory_module": "os", "dict_context": ["a"]}),
        ("collections.namedtuple", "unknown.Type"),
        ("collections.namedtuple", ["a"]),
        ("mine.Type", None),
        ("mine.Type", "no JSON"),
    ],
)
def test_keys_that_are_no_texts_or_of_another_number_are_positions(kind: str, context: Any) -> None:
    assert read(container(kind, context, LEAF)) == Leaves(("0",), False)


@pytest.mark.parametrize(
    "fields", [None, [], {"T": None}, {"T": {"field_names": 3}}, {"T": {"field_names": ["a", "b"]}}]
)
def test_fields_of_a_named_tuple_that_do_not_fit_are_left_aside(fields: Any) -> None:
    assert read(container("collections.namedtuple", "T", LEAF), fields).names == ("0",)


def test_a_default_dict_is_read_without_its_factory() -> None:
    assert leaves_of(defaultdict(list, {"a": 1})) == Leaves(("0",), False)


@pytest.mark.parametrize(
    "text",
    [
        None, 3, "", "x", "[]", "{}", "[2, null]", '[1, null]', "[1, 3]", '[1, {"type": null}]',
        json.dumps([1, {**LEAF, "children_spec": [LEAF]}]), json.dumps([1, {**LEAF, "type": 3}]),
        json.dumps([1, {**LEAF, "type": "T", "children_spec": {}}]), "[" * 50_000,
        json.dumps([1, {**LEAF, "type": "T"}]) + " " * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_tree_is_refused(text: Any) -> None:
    with pytest.raises(InvalidModel):
        read_leaves(text, {}, PLACE)


def test_a_name_without_end_is_refused() -> None:
    node: Any = LEAF
    for _ in range(60):
        node = container("builtins.dict", '["ten_letters"]', node)
    with pytest.raises(InvalidModel, match="too long") as refused:
        read(node)
    assert "shorter keys" in refused.value.cure


@quick
@given(JSON, JSON)
def test_any_json_as_a_tree(value: Any, fields: Any) -> None:
    for node in (value, container("builtins.dict", json.dumps(value), LEAF), container("T", value, value, LEAF)):
        try:
            found = read(node, fields)
        except InvalidModel:
            continue
        assert len(set(found.names)) == len(found.names)


@quick
@given(
    st.recursive(st.just(1), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
)
def test_any_tree_of_torch_has_as_many_distinct_names_as_leaves(value: Any) -> None:
    names = leaves_of(value).names
    assert len(set(names)) == len(names) == len(pytree.tree_leaves(value))
