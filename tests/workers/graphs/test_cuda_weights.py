"""Quantized programs rewritten for CUDA: which layer goes which way, and that the program still means the same.

No card is needed: where a card's kernel lays weights out or multiplies, its definition stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from tests import models
from tests.workers.quantized import THIRD_PARTY, export, quantize, quantized, sqnr
from workers.graphs import cuda_packing, cuda_products
from workers.graphs.cuda_weights import ForCuda, cuda_refusals, for_cuda
from workers.graphs.device import Card, moved_to
from workers.programs import load_program, save_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

HOPPER, AMPERE, TURING = Card((9, 0), True), Card((8, 0), True), Card((7, 5), False)
INT8, INT4 = "aten._int_mm.default", "aten._weight_int4pack_mm.default"
HALF = "weights stay packed and are unpacked for a bfloat16 product"
WIDE = "weights stay packed and are unpacked for float32 arithmetic"
TILES = "4-bit weights on tensor cores"
BFLOAT16_DB = 40.0
"""Least SQNR of three layers in bfloat16, whose inputs the program rounds to int8."""


class Mixed(nn.Module):
    """One layer of each kind over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(50, 48), nn.Conv1d(48, 48, 3, padding=1)
        self.lstm = nn.LSTM(48, 40, batch_first=True)
        self.up, self.down = nn.Linear(40, 100), nn.Linear(100, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.mix(self.table(tokens).transpose(1, 2)).transpose(1, 2)
        return self.down(torch.relu(self.up(self.lstm(x)[0])))  # type: ignore[no-any-return]


class Scores(nn.Module):
    """An embedding whose table is also the last layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.middle = nn.Embedding(48, 32), nn.Linear(32, 32)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.middle(self.table(tokens)), self.table.weight)


def tokens(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 48, (batch, 7), generator=torch.Generator().manual_seed(seed))


@cache
def exported(kind: Callable[[], nn.Module]) -> ExportedProgram:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return export(kind(), tokens(4))


@cache
def low_bit(kind: Callable[[], nn.Module] = Mixed, **settings: Any) -> ExportedProgram:
    return quantize(exported(kind), tokens(16, seed=1), **settings).program


def operators(program: ExportedProgram) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def ways(made: ForCuda) -> dict[str, list[str]]:
    """Layers by the first word or two of how they compute."""
    return {way.split(",")[0].split(" (")[0]: names for way, names in made.ways.items()}


@pytest.fixture
def shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights for the card's kernels are of the right form, and empty."""

    def tiles(pairs: torch.Tensor, inner: int, device: str) -> torch.Tensor:
        rows, columns = pairs.shape[0], pairs.shape[1] * 2
        return torch.zeros(rows // 8, columns // (16 * inner), 32, inner // 2, dtype=torch.int32)

    def compressed(weight: torch.Tensor, device: str) -> torch.Tensor:
        return weight.new_zeros(weight.shape[0], weight.shape[1] * 9 // 16)

    monkeypatch.setattr(cuda_packing, "_tiles", tiles)
    monkeypatch.setattr(cuda_packing, "_compressed", compressed)


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's kernels by what they are defined to compute."""

    def tiles(pairs: torch.Tensor, inner: int, device: str) -> torch.Tensor:
        return torch.stack([pairs >> 4, pairs & 15], -1).flatten(1).to(torch.int32)

    def product(x: torch.Tensor, codes: torch.Tensor, group: int, both: torch.Tensor) -> torch.Tensor:
        scales, zeros = (part.t().repeat_interleave(group, 1) for part in both.unbind(-1))
        return x @ ((codes - 8).to(torch.bfloat16) * scales + zeros).t()

    monkeypatch.setattr(cuda_packing, "_tiles", tiles)
    monkeypatch.setattr(cuda_packing, "_compressed", lambda weight, device: weight)
    monkeypatch.setattr(cuda_products, "_int4_product", product)
    monkeypatch.setattr(cuda_products, "_sparse_product", lambda compressed, x: x @ compressed.t())


def compare(program: ExportedProgram, made: ForCuda, *inputs: torch.Tensor) -> float:
    with torch.no_grad():
        return sqnr(program.module()(*inputs), made.program.module()(*inputs))


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"weights": "int4", "embeddings": True, "group": 32}, BFLOAT16_DB),
        ({"weights": "int3", "symmetric": False}, BFLOAT16_DB),
        ({"weights": "int2", "embeddings": True}, BFLOAT16_DB),
        ({"weights": "int8", "activations": "dynamic", "embeddings": True}, BFLOAT16_DB),
        ({"weights": "int4", "activations": "float32"}, 120.0),
        ({"weights": "nf4", "embeddings": True}, 120.0),
        ({"weights": "fp8"}, 120.0),
    ],
    ids=lambda value: "-".join(str(each) for each in value.values()) if isinstance(value, dict) else "",
)
def test_a_rewritten_program_means_the_same_at_every_batch(settings: dict[str, Any], least: float) -> None:
    program = low_bit(**settings)
    made = for_cuda(program, HOPPER, [tokens(4)])
    for batch in (1, 5):
        assert compare(program, made, tokens(batch, seed=batch)) > least


@pytest.mark.usefixtures("shapes_alone")
def test_each_kind_of_layer_goes_its_way_and_is_named() -> None:
    made = for_cuda(low_bit(weights="int4", embeddings=True, group=32), HOPPER, [tokens(4)])
    assert ways(made) == {
        "rows stay packed until they are looked up": ["table"],
        WIDE: ["mix", "lstm"],
        TILES: ["up", "down"],
    }
    assert any(note.startswith(TILES) and note.endswith(": up, down.") for note in made.notes)
    assert INT4 in operators(made.program)


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize(
    ("settings", "way"),
    [
        ({"weights": "int8", "activations": "dynamic"}, "int8 products"),
        ({"weights": "int8", "activations": "dynamic", "group": 32}, HALF),
        ({"weights": "int2"}, HALF),
        ({"weights": "int4", "group": 16}, HALF),
        ({"weights": "int3"}, TILES),
        ({"weights": "int4", "activations": "float32"}, WIDE),
        ({"weights": "fp8"}, WIDE),
    ],
)
def test_linear_layers_go_by_bits_group_and_input(settings: dict[str, Any], way: str) -> None:
    made = for_cuda(low_bit(**settings), HOPPER, [tokens(4)])
    assert {"up", "down"} <= set(ways(made)[way])


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize("weights", ["int4", "int2"])
def test_a_card_without_bfloat16_computes_in_float32(weights: str) -> None:
    made = for_cuda(low_bit(weights=weights), TURING, [tokens(4)])
    assert list(ways(made)) == [WIDE]
    assert compare(low_bit(weights=weights, activations="float32"), made, tokens(3)) > 100.0


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize("settings", [{"weights": "int4", "embeddings": True}, {"weights": "nf4", "embeddings": True}])
def test_no_float_copy_of_a_weight_and_no_byte_per_code_is_left(settings: dict[str, Any]) -> None:
    made = for_cuda(low_bit(**settings), HOPPER, [tokens(4)])
    held = [*made.program.state_dict.values(), *made.program.constants.values()]
    sizes = sum(tensor.numel() * tensor.element_size() for tensor in held if isinstance(tensor, torch.Tensor))
    codes = 50 * 48 + 48 * 48 * 3 + 4 * 40 * (48 + 40) + 40 * 100 + 100 * 20
    assert not any("quantized_decomposed" in name for name in operators(made.program))
    assert sizes < 1.2 * codes  # 0.5 bytes a weight, scales, biases, and columns that fill up tiles
    assert made.options["freezing"] is False


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("weights", ["int4", "int8"])
def test_a_table_that_is_also_a_linear_weight_is_packed_for_both(weights: str) -> None:
    program = low_bit(Scores, weights=weights, activations="dynamic", embeddings=True)
    made = for_cuda(program, HOPPER, [tokens(4)])
    assert sum("table" in names for names in made.ways.values()) == 2
    assert compare(program, made, tokens(5)) > BFLOAT16_DB


def test_linear_layers_under_static_int8_keep_their_ranges() -> None:
    program = quantized("mlp").program
    made = for_cuda(program, AMPERE, models.example("mlp"))
    assert INT8 in operators(made.program)
    assert list(ways(made)) == ["int8 products"]
    assert "calibrated ranges" in made.notes[0]
    assert compare(program, made, *models.example("mlp", batch=5, seed=3)) > 60.0


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("weights", ["bfloat16", "float16"])
def test_two_zeros_in_four_in_half_precision_run_on_sparse_cores(weights: str) -> None:
    program = quantize(pruned("mlp"), *models.example("mlp", batch=16), weights=weights).program
    made = for_cuda(program, HOPPER, models.example("mlp"))
    assert list(ways(made)) == ["2:4 sparse tensor cores"]
    assert compare(program, made, *models.example("mlp", batch=5, seed=3)) > BFLOAT16_DB
    assert compare(program, made, *models.example("mlp", batch=1, seed=3)) > BFLOAT16_DB


@pytest.mark.usefixtures("shapes_alone")
def test_the_sparse_product_is_torchs() -> None:
    program = quantize(pruned("mlp"), *models.example("mlp", batch=16), weights="bfloat16").program
    assert "aten._cslt_sparse_mm.default" in operators(for_cuda(program, HOPPER, models.example("mlp")).program)


def test_two_zeros_in_four_that_gain_nothing_are_noted_with_what_helps() -> None:
    made = for_cuda(pruned("mlp"), HOPPER, models.example("mlp"))
    assert made.program is pruned("mlp")
    assert made.options == {}
    assert "`quantize: {weights: bfloat16}` after `prune`" in made.notes[0]
    half = quantize(pruned("mlp"), *models.example("mlp", batch=16), weights="bfloat16").program
    assert "lacks sparse tensor cores" in for_cuda(half, Card((9, 0), False), models.example("mlp")).notes[0]


def test_a_program_with_nothing_to_rewrite_stays_as_it_is() -> None:
    program = models.program("encoder")
    made = for_cuda(program, HOPPER, models.example("encoder"))
    assert made.program is program
    assert (made.notes, made.options) == ([], {})


def test_static_int8_convolutions_are_refused_by_name_with_what_to_use_instead() -> None:
    (reason,) = cuda_refusals(quantized("residual_cnn").program, HOPPER)
    assert "stem.0, blocks.0.conv1" in reason
    assert "and 4 more" in reason
    assert "bfloat16" in reason
    assert cuda_refusals(quantized("mlp").program, HOPPER) == []


def test_fp8_is_refused_on_a_card_without_it() -> None:
    (reason,) = cuda_refusals(low_bit(weights="fp8"), AMPERE)
    assert "8.9, and this one has 8.0" in reason
    assert "mix, lstm, up, down" in reason
    assert "int8 or int4" in reason
    assert cuda_refusals(low_bit(weights="fp8"), HOPPER) == []


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize("weights", ["int4", "int8", "nf4"])
def test_a_rewritten_program_can_be_moved_and_saved(weights: str, tmp_path: Any) -> None:
    settings = {"activations": "dynamic"} if weights == "int8" else {}
    made = for_cuda(low_bit(weights=weights, **settings), HOPPER, [tokens(4)]).program
    moved = moved_to(made, "meta")
    assert {str(tensor.device) for tensor in (*moved.state_dict.values(), *moved.constants.values())} == {"meta"}
    save_program(made, tmp_path / "model.pt2")
    assert operators(load_program(tmp_path / "model.pt2")) == operators(made)


@cache
def pruned(name: str) -> ExportedProgram:
    """The model with two of each four inputs zero in its linear layers."""
    module = models.module(name)
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.Linear):
                each.weight.unflatten(1, (-1, 4))[..., ::2] = 0
    return export(module, *models.example(name))
