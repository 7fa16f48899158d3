"""Our kernels of few-bit weights against ONNX Runtime's and against compiled float32.

    python -m benchmarks.low_bit_kernels [--threads 1] [--batches 1,32] [--seconds 12] [--rounds 20] [--all-sizes]
                                         [--models linear-1024,linear-4096,lstm-256,gru-256,conv-512,point-512]

Each model (random weights, which change no latency) is lowered in float32 by Inductor, and with weights of 4 and 2 bits
in groups of 64 and rounded inputs by Inductor (our kernels inside its package) and by ONNX Runtime (`MatMulNBits`; its
LSTM computes in 8 bits, its GRU of this size and its narrower convolutions in float). Convolutions that our package
would compute in float, since they are small (`workers/graphs/inductor_low_bit_convolutions.py`), get the kernel with
`--all-sizes`. All of them are measured in one run of the protocol, in turn, each in its own process. Printed per
contender: the size of its file, the median of a call with its 95 % interval, and the ratio over float32 with its. Run
it on an idle host.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from burnish.passes import Quantize
from burnish.recipe import Target
from burnish.recipe.target import Backend
from workers.backends import BACKENDS_BY_NAME
from workers.graphs import inductor_low_bit_convolutions as convolutions
from workers.measure.contender import Contender, loader_of
from workers.measure.protocol import Plan, measure
from workers.passes.base import PassContext, Samples
from workers.passes.quantize import QuantizePass
from workers.programs import example_inputs
from workers.steps.measure import SETTLE_SECONDS, cores_for

__all__ = ["main"]

BASELINE = "float32 inductor"
LARGEST_BATCH = 64
STEPS = 60
PIXELS = 14
"""Height and width that a convolution reads."""
LIMIT = 600.0
"""Seconds that any one thing may take."""


class Pooled(nn.Module):
    """A convolution, and a linear layer of ten outputs: convolutions round their input where another layer does."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.layer(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """The outputs of a recurrent layer alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Made:
    """A contender: what made it, and its file."""

    name: str
    backend: Backend
    path: Path


def model(name: str) -> ExportedProgram:
    """`linear-1024`, `lstm-256`, `gru-256`, `conv-512` (3 × 3) or `point-512` (1 × 1): as many outputs as inputs, and a
    dynamic batch."""
    kind, _, size = name.partition("-")
    width = int(size)
    torch.manual_seed(0)
    module: nn.Module
    if kind == "linear":
        module, example = nn.Sequential(nn.Linear(width, width)), torch.randn(4, width)
    elif kind in ("conv", "point"):
        module, example = Pooled(width, 3 if kind == "conv" else 1), torch.randn(4, width, PIXELS, PIXELS)
    else:
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](width, width, batch_first=True)
        module, example = nn.Sequential(Recurrent(layer)), torch.randn(4, STEPS, width)
    return torch.export.export(module.eval(), (example,), dynamic_shapes=({0: Dim("batch", min=1, max=LARGEST_BATCH)},))


def quantized(program: ExportedProgram, weights: str) -> ExportedProgram:
    """With weights of few bits and rounded inputs."""
    samples = Samples(example_inputs(program, 8, seed=1), None)
    context = PassContext(program, samples, seed=0, max_batch=LARGEST_BATCH, progress=lambda share, doing: None)
    settings = Quantize.model_validate({"weights": weights, "activations": "dynamic", "group": 64})
    return QuantizePass().apply(program, settings, context).program


def made(program: ExportedProgram, target: Target, folder: Path) -> Iterator[Made]:
    """All contenders of a model."""
    forms = {"float32": program, "int4": quantized(program, "int4"), "int2": quantized(program, "int2")}
    for form, treated in forms.items():
        backends: tuple[Backend, ...] = ("inductor",) if form == "float32" else ("inductor", "onnxruntime")
        for backend in backends:
            place = folder / f"{form}-{backend}"
            place.mkdir()
            example = Samples(example_inputs(program, 2, seed=1), None)
            lowered = BACKENDS_BY_NAME[backend].lower(treated, target, example, place)
            yield Made(f"{form} {backend}", backend, lowered.path)


def race(program: ExportedProgram, target: Target, plan: Plan, folder: Path) -> None:
    """Measures all and prints a line for each."""
    inputs = [tensor.numpy() for tensor in example_inputs(program, target.batch, seed=2)]
    sizes = {}
    with ExitStack() as stack:
        running = {}
        for each in made(program, target, folder):
            contender = stack.enter_context(
                Contender(
                    loader=loader_of(each.backend),
                    artifact=each.path,
                    filename=BACKENDS_BY_NAME[each.backend].filename,
                    threads=target.threads,
                    folder=folder / f"run {each.name}",
                )
            )
            contender.load(LIMIT)
            contender.prepare(inputs, LIMIT)
            contender.round(1, 0, LIMIT)
            contender.pin(cores_for(target))
            running[each.name] = contender
            sizes[each.name] = each.path.stat().st_size
        rounds = measure(running, (BASELINE,), plan)
    for name, reason in rounds.failed.items():
        print(f"  {name:18} failed: {reason}")
    for name in rounds.seconds:
        median, ratio = rounds.latency(name).median, rounds.speedup(name, BASELINE)
        over = "" if ratio is None or name == BASELINE else f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f}) ×"
        interval = f"({median.low * 1e6:.1f}-{median.high * 1e6:.1f})"
        print(f"  {name:18} {sizes[name] / 1e6:6.2f} MB {median.value * 1e6:9.1f} µs {interval:20} {over}", flush=True)


def main() -> None:
    """Prints a table per model and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=20, help="least number of rounds")
    parser.add_argument("--models", default="linear-1024,linear-4096,lstm-256,gru-256,conv-512,point-512")
    parser.add_argument("--all-sizes", action="store_true")
    options, _ = parser.parse_known_args()
    if options.all_sizes:
        convolutions.FEWEST_COLUMNS = 1
        convolutions.FEWEST_OUTPUTS = dict.fromkeys(convolutions.FEWEST_OUTPUTS, (1, 1))
    settle = SETTLE_SECONDS if options.threads > 1 else 0.0
    plan = Plan(seconds=options.seconds, min_rounds=options.rounds, settle_seconds=settle)
    for name in options.models.split(","):
        for batch in (int(each) for each in options.batches.split(",")):
            print(f"{name}, batch {batch}, {options.threads} thread(s)", flush=True)
            target = Target(threads=options.threads, batch=batch)
            with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
                race(model(name), target, plan, Path(folder))


if __name__ == "__main__":
    main()
