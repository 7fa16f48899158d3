"""Which way each layer with few-bit weights is computed, by its kind, bits, groups and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import nn

from tests.workers.low_bit_programs import exported, low_bit
from tests.workers.quantized import THIRD_PARTY
from workers.graphs.onnx_low_bit import lower_low_bit, round_rows

pytestmark = [
    pytest.mark.filterwarnings(warning)
    for warning in (*THIRD_PARTY, "ignore:The tensor attributes self.rnn._flat_weights:UserWarning")
]


def ways(module: nn.Module, x: torch.Tensor, batch: int = 1, **options: object) -> Mapping[str, Sequence[str]]:
    program = low_bit(exported(module, x), x, **options)  # type: ignore[arg-type]
    return lower_low_bit(program, batch, [x])[1]


def linear(columns: int, outputs: int = 8) -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(nn.Linear(columns, outputs)), torch.randn(3, columns)


def test_a_float_program_stays_the_very_same() -> None:
    program = exported(*linear(8))
    assert lower_low_bit(program, 1, [torch.randn(3, 8)]) == (program, {})


def test_int8_rows_are_products_of_integers_from_eight_rows_on() -> None:
    few, many = (ways(*linear(64), batch=batch, bits=8) for batch in (7, 8))
    assert few == {"computed in 8 bits, block 64, inputs int8 per block (MatMulNBits)": ["0"]}
    assert many == {"computed in 8 bits, inputs int8 per row (MatMulIntegerToFloat)": ["0"]}


def test_the_rows_of_a_sequence_count() -> None:
    found = ways(nn.Sequential(nn.Linear(16, 8)), torch.randn(3, 9, 16), bits=8)
    assert found == {"computed in 8 bits, inputs int8 per row (MatMulIntegerToFloat)": ["0"]}


def test_int8_with_groups_has_a_scale_per_block() -> None:
    assert ways(*linear(64), batch=32, bits=8, group=32) == {
        "computed in 8 bits, block 32, inputs int8 per block (MatMulNBits)": ["0"]
    }


@pytest.mark.parametrize(
    ("bits", "group", "width", "block"),
    [(4, None, 4, 256), (4, 64, 4, 64), (3, 64, 4, 64), (2, None, 2, 128), (2, 32, 2, 32), (2, 16, 4, 16)],
)
def test_fewer_bits_are_computed_in_blocks(bits: int, group: int | None, width: int, block: int) -> None:
    assert ways(*linear(256), bits=bits, group=group) == {
        f"computed in {width} bits, block {block}, inputs int8 per block (MatMulNBits)": ["0"]
    }


def test_a_float_input_stays_float() -> None:
    found = ways(*linear(64), dynamic=False)
    assert found == {"stored in few bits, computed in float": ["0"]}


def test_a_large_matrix_with_a_float_input_is_read_in_few_bits_for_few_rows() -> None:
    large = linear(1024, 1024)
    assert ways(*large, batch=4, bits=2, dynamic=False) == {
        "computed in 4 bits, block 256, inputs float (MatMulNBits)": ["0"]
    }
    assert ways(*large, batch=5, bits=2, dynamic=False) == {"stored in few bits, computed in float": ["0"]}
    assert ways(*large, batch=1, bits=8, dynamic=False) == {"stored in few bits, computed in float": ["0"]}


class Convolutional(nn.Module):
    """A convolution with a linear layer behind it, whose rounded input says that the model computes in int8."""

    def __init__(self, outputs: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, outputs, kernel, groups=groups)
        self.head = nn.Linear(outputs, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("outputs", "kernel", "bits", "group", "computed"),
    [
        (256, 3, 4, None, True),
        (255, 3, 4, None, False),
        (256, 3, 4, 64, False),
        (512, 3, 4, 64, True),
        (256, 1, 4, 16, True),
        (256, 3, 2, None, False),
        (512, 3, 2, None, True),
        (512, 3, 2, 64, False),
    ],
)
def test_convolutions_are_products_where_many_outputs_share_the_patches(
    outputs: int, kernel: int, bits: int, group: int | None, computed: bool
) -> None:
    found = ways(Convolutional(outputs, kernel), torch.randn(2, 16, 5, 5), bits=bits, group=group)
    stored = found.get("stored in few bits, computed in float", [])
    assert ("conv" in stored) is not computed


def test_grouped_convolutions_are_only_stored() -> None:
    found = ways(Convolutional(512, groups=2), torch.randn(2, 16, 5, 5))
    assert found["stored in few bits, computed in float"] == ["conv"]


def test_a_convolution_computes_in_float_where_nothing_is_rounded() -> None:
    found = ways(Convolutional(512), torch.randn(2, 16, 5, 5), dynamic=False)
    assert found == {"stored in few bits, computed in float": ["conv", "head"]}


class Recurrent(nn.Module):
    def __init__(self, kind: str, hidden: int, **options: object) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(8, hidden, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "hidden", "bits", "way"),
    [
        ("LSTM", 8, 8, "computed in 8 bits, input and state int8 per call (DynamicQuantizeLSTM)"),
        ("LSTM", 8, 2, "stored in 2 bits, computed in 8 bits, input and state int8 per call (DynamicQuantizeLSTM)"),
        ("GRU", 256, 8, "computed in 8 bits, block 256, inputs int8 per block (MatMulNBits in a Scan)"),
        ("GRU", 256, 4, "stored in few bits, computed in float"),
        ("GRU", 512, 4, "computed in 4 bits, block 256, inputs int8 per block (MatMulNBits in a Scan)"),
        ("RNN", 128, 8, "stored in few bits, computed in float"),
    ],
)
def test_recurrent_layers_have_the_operator_that_is_fastest(kind: str, hidden: int, bits: int, way: str) -> None:
    assert ways(Recurrent(kind, hidden), torch.randn(2, 5, 8), bits=bits) == {way: ["rnn"]}


def test_an_lstm_with_a_projection_is_only_stored() -> None:
    found = ways(Recurrent("LSTM", 16, proj_size=4), torch.randn(2, 5, 8))
    assert found == {"stored in few bits, computed in float": ["rnn"]}


def test_rounding_that_no_kernel_takes_over_is_what_the_program_does() -> None:
    x = torch.randn(4, 3, 16) * torch.tensor([1.0, 100.0, 0.01]).reshape(3, 1)
    module = nn.Sequential(nn.Linear(16, 16, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(16))
    program = low_bit(exported(module, x), x, bits=8)
    torch.testing.assert_close(round_rows(x), program.module()(x), rtol=2e-2, atol=1e-6)
