"""Half precision: what is refused, and what stays float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from burnish.passes import Quantize
from tests.models import MAX_BATCH
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, export, quantize, sqnr
from workers.passes.quantize import QuantizePass
from workers.programs import batch_range

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


def test_a_model_without_weights_is_refused_for_half_precision_too() -> None:
    (reason,) = QuantizePass().requires(export(nn.ReLU(), torch.randn(3, 4)), Quantize(weights="bfloat16"))
    assert "Leave `quantize` out" in reason


@pytest.mark.parametrize(
    ("settings", "cure"),
    [(Quantize(weights="float16"), "Use integer weights"), (Quantize(rest="bfloat16"), "Leave `rest` out")],
)
def test_control_flow_is_refused_for_half_precision_with_a_cure(settings: Quantize, cure: str) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return torch.cond(y.sum() > 0, lambda z: z.sin(), lambda z: z.cos(), (y,))  # type: ignore[no-any-return]

    with torch.no_grad():
        program = torch.export.export(Branching(), (torch.randn(3, 4),))
    (reason,) = QuantizePass().requires(program, settings)
    assert cure in reason


def test_a_weight_beyond_float16_stays_float32() -> None:
    large = nn.Linear(4, 4)
    nn.init.constant_(large.weight, 1e5)
    applied = quantize(
        export(nn.Sequential(large, nn.Linear(4, 4)), torch.randn(3, 4)), torch.randn(8, 4), weights="float16"
    )
    assert [layer.treatment for layer in applied.layers] == ["left alone", "float16"]
    assert "beyond 65504" in applied.layers[0].reason
    assert applied.program.state_dict["0.weight"].dtype is torch.float32


class Told(nn.Module):
    """Layers that have no form in few bits."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.normed = nn.ConvTranspose1d(2, 4, 2), nn.utils.parametrizations.weight_norm(nn.Linear(9, 8))
        self.flat, self.table = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(5, 8))
        self.free = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.free(self.normed(self.up(x)) @ self.flat)
        return y @ y.mT + self.table[torch.arange(x.shape[0]) % 5].sum()  # type: ignore[no-any-return]


def test_the_report_says_of_each_layer_what_became_of_it() -> None:
    program, inputs = export(Told(), torch.randn(4, 2, 8)), torch.randn(8, 2, 8)
    applied = quantize(program, inputs, weights="bfloat16", layers={"free": "float32"})
    layers = {layer.layer: layer for layer in applied.layers}
    assert {name: (layer.treatment, layer.bytes_after) for name, layer in layers.items()} == {
        "up": ("bfloat16", 2 * 16),
        "linear": ("bfloat16", None),
        "flat": ("bfloat16", 2 * 64),
        "free": ("left alone", None),
        "matmul_1": ("left alone", None),
        "table": ("left alone", None),
    }
    assert layers["up"].reason == layers["flat"].reason == "weights and arithmetic in bfloat16"
    assert layers["linear"].reason.startswith("arithmetic in bfloat16; its weights are computed")
    assert layers["matmul_1"].reason == "it has no weights; it computes in bfloat16"
    assert layers["table"].reason == "it stays float32 until it meets what computes in bfloat16"
    assert applied.program.state_dict["up.weight_bfloat16"].dtype is torch.bfloat16
    assert "flat" not in applied.program.state_dict


def test_a_model_without_a_linear_layer_is_taken_if_it_multiplies_by_stored_matrices() -> None:
    program = export(Cells(), torch.randn(4, 2, 3, 8))
    applied = quantize(program, torch.randn(8, 2, 3, 8), weights="bfloat16")
    assert {layer.layer: layer.treatment for layer in applied.layers} == {"lstm": "bfloat16", "gru": "bfloat16"}


class Upsampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.conv(x), scale_factor=2, mode="bilinear")


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.pad(x.flatten(2), (2, 0)))  # type: ignore[no-any-return]


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(8, 16), nn.GRUCell(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = cell = other = torch.zeros(x.shape[0], 16)
        for step in range(2):
            hidden, cell = self.lstm(x[:, 0, step], (hidden, cell))
            other = self.gru(hidden, other)
        return other


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Bilinear(8, 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.both(x[:, 0], x[:, 0].flip(1))  # type: ignore[no-any-return]


class Spectrum(nn.Module):
    """Complex numbers, which no half precision has, in the middle of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(8, 16), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(torch.fft.rfft(self.before(x)).abs())  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(Upsampled, (1, 6, 6)), (Causal, (8, 2, 3)), (Cells, (2, 3, 8)), (Bilinear, (2, 8)), (Spectrum, (3, 8))],
)
def test_the_range_of_the_batch_stays_whole_here_and_in_the_incoming_program(
    kind: type[nn.Module], shape: tuple[int, ...], dtype: str
) -> None:
    program = export(kind(), torch.randn(4, *shape))
    half = quantize(program, torch.randn(8, *shape), weights=dtype).program
    assert batch_range(half) == batch_range(program) == (1, MAX_BATCH)
    for batch in (1, 5):
        x = torch.randn(batch, *shape)
        with torch.no_grad():
            assert sqnr(program.module()(x), half.module()(x)) > 35
