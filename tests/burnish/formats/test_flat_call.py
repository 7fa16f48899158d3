"""However a program is called, what is read of it takes tensors by position and gives tensors."""

import io
import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from burnish.errors import InvalidModel
from burnish.formats import inspect_model
from burnish.formats.canonical import write_canonical
from burnish.formats.pt2 import checked_model
from tests import keywords, models
from tests.burnish.formats.archives import MODEL, edited, graph_of, honest, honest_bytes, pack, unpack
from tests.burnish.formats.test_canonical import canonical


def saved(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, shapes: Any = None) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(module.eval(), args, kwargs, dynamic_shapes=shapes), buffer)
    return buffer.getvalue()


def loaded(data: bytes) -> ExportedProgram:
    return torch.export.load(io.BytesIO(canonical(data)))


class Returning(nn.Module):
    """Gives what `make` makes of its input."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(x)


def test_a_model_called_by_keyword_is_called_by_position_in_the_order_that_it_tells() -> None:
    signature = inspect_model(io.BytesIO(keywords.archive()))
    assert tuple(spec.name for spec in signature.inputs) == keywords.INPUTS
    assert [spec.shape for spec in signature.inputs] == [(None, 10), (None, 10), (None, 1, 1)]
    assert signature.max_batch == 64
    given = keywords.example(7, seed=1)
    wanted = keywords.module()(**given)
    found = loaded(keywords.archive()).module()(given["input_ids"], given["attention_mask"], given["extra"]["scale"])
    assert tuple(found) == keywords.OUTPUTS
    for one, other in zip(found.values(), (wanted.logits, *wanted.states), strict=True):
        assert torch.equal(one, other)


def test_constants_are_no_inputs() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor, times: int, name: str, *, factor: float, flag: bool, none: None) -> Any:
            return x * times * factor if flag and name == "yes" and none is None else x

    kwargs = {"factor": 0.5, "flag": True, "none": None}
    data = saved(Model(), (torch.ones(2, 3), 3, "yes"), kwargs)
    assert [spec.name for spec in inspect_model(io.BytesIO(data)).inputs] == ["x"]
    assert loaded(data).module()(torch.ones(2, 3))[0, 0] == 1.5


def test_nested_inputs_are_named_after_the_way_to_them() -> None:
    class Model(nn.Module):
        def forward(self, batch: dict[str, Any], *rest: torch.Tensor) -> torch.Tensor:
            return batch["ids"] + batch["pair"][0] - batch["pair"][1] + sum(rest)

    x = torch.arange(6.0).reshape(2, 3)
    data = saved(Model(), ({"ids": x, "pair": [x * 2, x * 3]}, x * 4, x * 5))
    assert [spec.name for spec in inspect_model(io.BytesIO(data)).inputs] == [
        "batch_ids", "batch_pair_0", "batch_pair_1", "rest_0", "rest_1",
    ]  # fmt: skip
    assert torch.equal(loaded(data).module()(x, x * 2, x * 3, x * 4, x * 5), x * 9)


@pytest.mark.parametrize(
    ("make", "kind", "names"),
    [
        (lambda x: x + 1, torch.Tensor, ["add"]),
        (lambda x: (x + 1,), torch.Tensor, ["add"]),
        (lambda x: [x + 1, None, (x * 2,)], tuple, ["add", "mul"]),
        (lambda x: {"a": x + 1, "none": None, "b": [x * 2, x + 1]}, dict, ["a", "b_0", "b_1"]),
        (lambda x: {"x": x, "again": x}, dict, ["x", "again"]),
    ],
)
def test_outputs_come_as_a_tensor_a_tuple_or_a_dict(make: Any, kind: type, names: list[str]) -> None:
    data = saved(Returning(make), (torch.ones(2, 3),))
    assert [spec.name for spec in inspect_model(io.BytesIO(data)).outputs] == names
    found = loaded(data).module()(torch.ones(2, 3))
    assert type(found) is kind
    if kind is dict:
        assert list(found) == names


def test_the_flat_program_stays_as_it_is() -> None:
    once = canonical(keywords.archive())
    assert canonical(once) == once
    assert inspect_model(io.BytesIO(once)) == inspect_model(io.BytesIO(keywords.archive()))


def test_what_torch_says_of_a_plain_call_is_said_in_the_same_words() -> None:
    call = json.loads(honest()[MODEL])["graph_module"]["module_call_graph"][0]
    assert json.loads(unpack(canonical(honest_bytes()))[MODEL])["graph_module"]["module_call_graph"][0] == call


def test_how_parts_of_the_model_were_called_is_left_out() -> None:
    program = torch.export.export(
        models.module("mlp"), models.example("mlp"), preserve_module_call_signature=("layers",)
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    calls = json.loads(unpack(canonical(buffer.getvalue()))[MODEL])["graph_module"]["module_call_graph"]
    assert "layers" in [call["fqn"] for call in calls]
    assert [call["fqn"] for call in calls if call["signature"]] == [""]


@pytest.mark.parametrize("value", [3, 0.5, True])
def test_an_output_that_is_a_number_is_refused_with_the_cure(value: Any) -> None:
    with pytest.raises(InvalidModel, match="no tensor") as refused:
        inspect_model(io.BytesIO(saved(Returning(lambda x: (x + 1, value)), (torch.ones(2, 3),))))
    assert "torch.tensor(x)" in refused.value.cure


def test_a_number_that_may_change_is_refused_with_the_cure() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor, times: int) -> torch.Tensor:
            return x * times

    data = saved(Model(), (torch.ones(2, 3), 3), shapes=({0: Dim.AUTO}, Dim.DYNAMIC))
    with pytest.raises(InvalidModel, match="may change") as refused:
        inspect_model(io.BytesIO(data))
    assert "without a `Dim`" in refused.value.cure


def test_a_model_that_returns_nothing_is_refused() -> None:
    with pytest.raises(InvalidModel, match="gives no output"):
        inspect_model(io.BytesIO(saved(Returning(lambda x: {"a": None}), (torch.ones(2, 3),))))


def _root(program: Any) -> Any:
    return program["graph_module"]["module_call_graph"][0]


def _signature(program: Any) -> Any:
    return program["graph_module"]["signature"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda program: program["graph_module"]["module_call_graph"].clear(), "how the model is called"),
        (lambda program: _root(program).update(signature=None), "how the model is called"),
        (lambda program: _root(program).update(fqn="layers"), "how the model is called"),
        (lambda program: _root(program)["signature"].update(out_spec="[1, 3]"), "malformed"),
        (
            lambda program: _root(program)["signature"].update(
                out_spec='[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'
            ),
            "1 values in a container of 0",
        ),
        (lambda program: _signature(program)["output_specs"].clear(), "speaks of 0 values where the graph has 1"),
        (lambda program: graph_of(program)["outputs"].clear(), "speaks of 1 values where the graph has 0"),
        (lambda program: graph_of(program)["inputs"].pop(), "speaks of 7 values where the graph has 6"),
        (
            lambda program: (
                _signature(program)["input_specs"].append(_signature(program)["input_specs"][-1]),
                graph_of(program)["inputs"].append(graph_of(program)["inputs"][-1]),
            ),
            "the same name",
        ),
    ],
)
def test_a_call_that_does_not_fit_its_graph_is_refused(edit: Any, said: str) -> None:
    with pytest.raises(InvalidModel, match=said):
        inspect_model(io.BytesIO(pack(edited(honest(), MODEL, edit))))


@pytest.mark.parametrize("spec", [None, 3, "[" * 50_000, '[1, {"type": "collections.defaultdict"}]'])
def test_how_the_inputs_were_nested_is_never_read(spec: Any) -> None:
    members = edited(honest(), MODEL, lambda program: _root(program)["signature"].update(in_spec=spec))
    written = io.BytesIO()
    with checked_model(io.BytesIO(pack(members))) as model:
        write_canonical(model, written)
    assert written.getvalue() == canonical(honest_bytes())
