"""Few-bit weights in ONNX Runtime: every kind passes the checks of an artifact, and computes as it says."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.recipe import Target
from tests.workers.low_bit_programs import exported, low_bit
from tests.workers.quantized import THIRD_PARTY, calibration
from workers.backends.onnxruntime import OnnxRuntime
from workers.graphs.half_precision import make_half
from workers.graphs.low_bit_floats import write_fp8, write_nf4
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import stored_tensor
from workers.measure.reproduction import Precision, cases, check_cases, tolerance_of
from workers.passes.quantize_layers import find_layers
from workers.passes.round_floats import round_fp8, round_nf4
from workers.standalone.load_onnxruntime import Runner, load

pytestmark = [
    pytest.mark.filterwarnings(warning)
    for warning in (*THIRD_PARTY, "ignore:The tensor attributes self.recurrent._flat_weights:UserWarning")
]

Array = np.ndarray[Any, Any]


class Stack(nn.Module):
    """A table that is also the last layer's weight, a convolution, a recurrent layer in both directions, and a linear
    layer: the logits, and the recurrent layer's outputs."""

    def __init__(self, kind: str = "LSTM", hidden: int = 16, outputs: int = 512, layers: int = 1) -> None:
        super().__init__()
        self.table = nn.Embedding(60, 48)
        self.conv = nn.Conv1d(48, outputs, 3, stride=2, padding=1)
        self.recurrent = getattr(nn, kind)(outputs, hidden, layers, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, 48)
        self.logits = nn.Linear(48, 60, bias=False)
        self.logits.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.conv(self.table(x).transpose(1, 2))).transpose(1, 2)
        y, _ = self.recurrent(y)
        return self.logits(torch.relu(self.linear(y))), y


class InProcess:
    """Checks a session in this process; the service does it in one of its own."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def check(self, inputs: Sequence[Array], calls: int, limit: float) -> tuple[list[Array], list[Mapping[str, Any]]]:
        kept = [each.copy() for each in inputs]
        every = [self.runner.arrays(self.runner.run(self.runner.prepare(list(inputs)))) for _ in range(calls)]
        unchanged = all(np.array_equal(one, other) for one, other in zip(kept, inputs, strict=True))
        same = [all(np.array_equal(a, b) for a, b in zip(every[0], each, strict=True)) for each in every]
        return every[0], [{"inputs_unchanged": unchanged, "identical": one, "sqnr_db": None} for one in same]


def lowered(program: ExportedProgram, folder: Path, *inputs: torch.Tensor, batch: int = 1) -> tuple[Path, str]:
    found = OnnxRuntime().lower(program, Target(batch=batch), calibration(*inputs), folder)
    return found.path, "\n".join(found.notes)


def check(program: ExportedProgram, path: Path, inputs: torch.Tensor, precision: Precision) -> None:
    """Raises if the artifact fails any check of the service."""

    def reference(arrays: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            outputs = program.module()(*(torch.from_numpy(array) for array in arrays))
        return [each.numpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,))]

    every = cases([inputs.numpy()], (1, 64), 8)
    check_cases(InProcess(load(str(path), 1)), every, reference, tolerance_of(precision, 40.0), 60.0)


def operators(path: Path, folder: Path | None = None) -> Counter[str]:
    """In the file; with a folder to write to, those that ONNX Runtime has after it optimized the file."""
    if folder is not None:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        path = folder / "optimized.onnx"
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def tokens(batch: int = 8, length: int = 10) -> torch.Tensor:
    return torch.randint(0, 60, (batch, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("bits", "group", "symmetric", "batch"),
    [(8, None, True, 8), (4, 32, False, 1), (2, None, False, 1)],
)
def test_few_bits_agree_with_the_program_at_every_batch(
    bits: int, group: int | None, symmetric: bool, batch: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    stack = Stack(layers=2 if bits == 4 else 1)
    program = low_bit(exported(stack, tokens()), tokens(), bits=bits, group=group, symmetric=symmetric)
    path, notes = lowered(program, tmp_path, tokens(), batch=batch)
    check(program, path, tokens(), "int8")
    count = operators(path, tmp_path)
    assert count["GatherBlockQuantized"] == 1
    assert count["DynamicQuantizeLSTM"] == (2 if bits == 4 else 1)
    assert count["MatMulNBits"] == (1 if bits == 8 else 3)
    assert count["MatMulIntegerToFloat"] == (2 if bits == 8 else 0)
    assert not count.keys() & {"Conv", "Gemm", "MatMul", "LSTM", "BitShift", "Mul"} - ({"Mul"} if bits == 8 else set())
    assert "conv" in notes
    if bits == 4:  # the table is also the weight of the last layer, and in the file once
        assert [tuple(each.dims) for each in onnx.load(path).graph.initializer].count((60, 2, 16)) == 1


def test_a_gru_runs_step_by_step_on_eight_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = low_bit(exported(Stack("GRU", 256, 16), tokens()), tokens(), bits=8)
    path, _ = lowered(program, tmp_path, tokens())
    check(program, path, tokens(), "int8")
    assert operators(path)["Scan"] == 2
    assert all(opset.domain in ("", "com.microsoft") for opset in onnx.load(path).opset_import)


def test_a_plain_rnn_runs_step_by_step_on_eight_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = low_bit(exported(Stack("RNN", 256, 16), tokens()), tokens(), bits=8)
    path, _ = lowered(program, tmp_path, tokens())
    check(program, path, tokens(), "int8")
    assert operators(path)["Scan"] == 2


def test_weights_alone_in_few_bits_are_computed_in_float_and_unpacked_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = low_bit(exported(Stack(outputs=32), tokens()), tokens(), bits=2, group=16, symmetric=False, dynamic=False)
    path, notes = lowered(program, tmp_path, tokens())
    check(program, path, tokens(), "weights")
    assert "Stored in few bits, computed in float: conv, recurrent, linear, logits." in notes
    assert operators(path)["BitShift"] > 0
    assert not operators(path, tmp_path).keys() & {"BitShift", "BitwiseAnd", "Cast"}


@pytest.mark.parametrize("kind", ["fp8", "nf4"])
def test_few_bit_floats_agree_with_the_program_and_are_stored_as_such(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = exported(Stack(outputs=32), tokens())
    module = copy.deepcopy(base.module(check_guards=False))
    assert isinstance(module, GraphModule)
    for layer in find_layers(module):
        for node in layer.weights:
            weight = stored_tensor(module, node).detach()
            if kind == "fp8":
                write_fp8(module, node, round_fp8(weight))
            else:
                write_nf4(module, node, round_nf4(weight, 32))
    module.graph.eliminate_dead_code()
    module.recompile()
    program = reexport(module, base, [tokens()])
    path, notes = lowered(program, tmp_path, tokens())
    check(program, path, tokens(), "weights")
    assert "Stored as fp8 or nf4, computed in float" in notes
    weights = sum(each.numel() for each in Stack(outputs=32).parameters())
    constants = sum(each.ByteSize() for each in onnx.load(path).graph.initializer)
    assert constants < weights * {"fp8": 1.5, "nf4": 1.0}[kind]


class FromZeros(nn.Module):
    """A state that starts from zeros made in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.cell = nn.Embedding(60, 48), nn.GRUCell(48, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.table(x)
        state = steps.new_zeros(x.shape[0], 32)
        for step in range(3):
            state = self.cell(steps[:, step], state)
        return state


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("from_zeros", [False, True], ids=["layers", "a state from zeros"])
def test_half_precision_is_stored_and_computed_in_float(kind: Precision, from_zeros: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(60, 48), nn.Conv1d(10, 8, 3), nn.ReLU(), nn.Linear(46, 5))
    base = exported(FromZeros() if from_zeros else net, tokens())
    module = copy.deepcopy(base.module(check_guards=False))
    assert isinstance(module, GraphModule)
    make_half(module, getattr(torch, kind))
    program = reexport(module, base, [tokens()])
    path, notes = lowered(program, tmp_path, tokens())
    check(program, path, tokens(), kind)
    assert f"{kind} is stored as such and computed with in float32" in notes


def test_the_same_program_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(60, 48), nn.Linear(48, 64), nn.Flatten(), nn.Linear(640, 16))
    program = low_bit(exported(module, tokens()), tokens(), bits=4, group=32)
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(lowered(program, tmp_path / name, tokens())[0])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_dynamic_length_stays_dynamic(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(60, 48), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 5))
    program = low_bit(exported(module, tokens(), dynamic=(0, 1)), tokens(), bits=4, group=16)
    path, _ = lowered(program, tmp_path, tokens())
    runner = load(str(path), 1)
    for batch, length in ((1, 2), (3, 10), (2, 33)):
        outputs = runner.run(runner.prepare([tokens(batch, length).numpy()]))
        assert outputs[0].shape == (batch, length, 5)


def test_the_result_of_a_sample_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 64)
    program = low_bit(exported(nn.Sequential(nn.Linear(64, 32)), x), x, bits=8)
    path, _ = lowered(program, tmp_path, x, batch=16)
    assert operators(path)["MatMulIntegerToFloat"] == 1
    runner = load(str(path), 1)
    alone = runner.run(runner.prepare([x[:1].numpy()]))[0]
    together = runner.run(runner.prepare([torch.cat([x[:1], 1000 * x[1:]]).numpy()]))[0]
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-4, atol=1e-5)


def test_four_bits_take_a_seventh_of_the_file(tmp_path: Path) -> None:
    x = torch.randn(8, 512)
    program = low_bit(exported(nn.Sequential(nn.Linear(512, 512), nn.ReLU()), x), x, bits=4, group=128)
    assert lowered(program, tmp_path, x)[0].stat().st_size < 4 * 512 * 512 / 7
