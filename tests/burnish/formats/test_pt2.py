"""Honest archives are accepted, with the signature they have."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from burnish.errors import InvalidModel
from burnish.formats import inspect_model
from burnish.results import Signature, TensorSpec
from tests import models
from tests.burnish.formats.archives import CONSTANTS, MODEL, WEIGHTS, edited, graph_of, honest, honest_bytes, pack


def inspected(module: nn.Module, *inputs: torch.Tensor, shapes: object = None) -> Signature:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=shapes), buffer)
    return inspect_model(buffer)


@pytest.mark.parametrize("name", models.NAMES)
def test_an_archive_of_every_shared_model_is_accepted(name: str) -> None:
    signature = inspect_model(io.BytesIO(honest_bytes(name)))
    (given,) = models.example(name)
    (wanted,) = signature.inputs
    assert wanted.shape == (None, *given.shape[1:])
    assert wanted.dtype == str(given.dtype).removeprefix("torch.")
    assert signature.max_batch == models.MAX_BATCH
    assert signature.parameters == sum(tensor.numel() for tensor in models.module(name).state_dict().values())


def test_the_signature_names_inputs_and_outputs() -> None:
    assert inspect_model(io.BytesIO(honest_bytes("mlp"))) == Signature(
        inputs=(TensorSpec(name="features", dtype="float32", shape=(None, 20)),),
        outputs=(TensorSpec(name="linear_2", dtype="float32", shape=(None, 4)),),
        max_batch=256,
        parameters=5764,
    )


def test_a_static_export_has_its_batch_as_the_bound() -> None:
    signature = inspected(nn.Linear(3, 2), torch.zeros(4, 3))
    assert signature.inputs[0].shape == (4, 3)
    assert signature.max_batch == 4


def test_several_inputs_outputs_in_a_dict_buffers_and_dynamic_sides_are_accepted() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"a-b": nn.Conv2d(3, 4, 3, 2)})
            self.register_buffer("scale", torch.ones(4), persistent=False)
            self.bias = torch.ones(4)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, object]:
            z = self.parts["a-b"](x).mean((2, 3)) * self.scale + self.bias
            return {"o": z + y.mean(), "p": (x.reshape(x.shape[0], -1).sum(1)[: x.shape[0] // 2], z * float("inf"))}

    auto = Dim.AUTO
    signature = inspected(
        Model(), torch.zeros(4, 3, 16, 20), torch.zeros(4, 3), shapes=({0: auto, 2: auto, 3: auto}, {0: auto})
    )
    assert [spec.shape for spec in signature.inputs] == [(None, 3, None, None), (None, 3)]
    assert len(signature.outputs) == 3
    assert signature.max_batch is None


def test_control_flow_and_autocast_are_accepted() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = x @ x.T
            return torch.cond(x.sum() > 0, lambda a: a.sin(), lambda a: a.cos(), (y.float(),))

    assert inspected(Model(), torch.zeros(4, 4)).outputs[0].shape == (4, 4)


def test_a_quantized_program_is_accepted(quantized: Path) -> None:
    with quantized.open("rb") as file:
        assert inspect_model(file).outputs[0].shape == (None, 4)


def test_extra_files_are_accepted() -> None:
    assert inspect_model(io.BytesIO(pack({**honest(), "extra/notes.txt": b"hello"}))).parameters == 5764


def test_the_check_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, burnish.formats; assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def refused(members: dict[str, bytes]) -> InvalidModel:
    with pytest.raises(InvalidModel) as caught:
        inspect_model(io.BytesIO(pack(members)))
    return caught.value


def test_a_model_exported_in_training_mode_that_changes_buffers_is_refused_with_the_cure() -> None:
    members = edited(
        honest(),
        MODEL,
        lambda program: program["graph_module"]["signature"]["output_specs"].append(
            {"buffer_mutation": {"arg": {"name": "relu"}, "buffer_name": "x"}}
        ),
    )
    assert "module.eval()" in refused(members).cure


def test_a_weight_that_is_larger_than_its_bytes_is_refused() -> None:
    def edit(config: dict[str, object]) -> None:
        config["config"]["layers.0.weight"]["tensor_meta"]["sizes"][0]["as_int"] = 10**9  # type: ignore[index]

    assert "needs more than the 5120 bytes" in refused(edited(honest(), WEIGHTS, edit)).message


def test_a_weight_that_repeats_its_bytes_without_end_is_refused() -> None:
    def edit(config: dict[str, object]) -> None:
        meta = config["config"]["layers.0.weight"]["tensor_meta"]  # type: ignore[index]
        meta["sizes"][0]["as_int"], meta["strides"][0]["as_int"] = 10**12, 0

    assert "needs more" in refused(edited(honest(), WEIGHTS, edit)).message


def test_a_weight_without_bytes_is_refused() -> None:
    assert "were not saved" in refused({**honest(), "data/weights/weight_0": b""}).cure


def test_a_weight_whose_member_is_missing_is_refused() -> None:
    members = honest()
    del members["data/weights/weight_0"]
    assert "'weight_0' is missing" in refused(members).message


def test_a_parameter_that_the_archive_lacks_is_refused() -> None:
    error = refused(edited(honest(), WEIGHTS, lambda config: config["config"].pop("layers.0.weight")))
    assert "'layers.0.weight' is not in the archive" in error.message


def test_a_weight_on_another_device_is_refused() -> None:
    def edit(config: dict[str, object]) -> None:
        config["config"]["layers.0.weight"]["tensor_meta"]["device"] = {"type": "cuda", "index": 0}  # type: ignore[index]

    assert "module.cpu()" in refused(edited(honest(), WEIGHTS, edit)).cure


def test_a_schema_of_another_generation_is_refused() -> None:
    members = edited(honest(), MODEL, lambda program: program["schema_version"].update(major=9))
    assert refused(members).where == "models/model.json#/schema_version/major"


def test_an_unknown_key_is_refused() -> None:
    assert "surprise" in refused(edited(honest(), MODEL, lambda program: program.update(surprise=1))).message


def test_a_missing_key_is_refused() -> None:
    assert "'graph' is missing" in refused(edited(honest(), MODEL, lambda p: p["graph_module"].pop("graph"))).message


def test_a_custom_operator_is_refused() -> None:
    def edit(program: dict[str, object]) -> None:
        graph_of(program)["nodes"][0]["target"] = "torch.ops.mine.secret.default"

    assert "custom operators" in refused(edited(honest(), MODEL, edit)).cure


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, CONSTANTS])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"graph_module": 1' + b"0" * 5000]
)
def test_a_member_that_is_no_json_object_is_refused(member: str, content: bytes) -> None:
    assert refused({**honest(), member: content}).where == member


def test_a_graph_that_is_nested_too_deep_is_refused() -> None:
    def edit(program: dict[str, object]) -> None:
        graph = graph_of(program)
        argument: object = {"as_none": True}
        for _ in range(120):
            inner = {**graph, "nodes": [{**graph["nodes"][0], "inputs": [{"name": "", "arg": argument}]}]}
            argument = {"as_graph": {"name": "g", "graph": inner}}
        graph["nodes"][0]["inputs"][0]["arg"] = argument

    members = edited({**honest()}, MODEL, edit)
    assert "deep" in refused(members).message
