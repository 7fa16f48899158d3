"""Backends side by side: three models in float32 and int8, eager, compiled, inductor, onnxruntime, openvino.

    python -m benchmarks.backends [--threads 1] [--batch 1] [--seconds 12] [--rounds 20] [--models digits,lstm,encoder]

Each model is lowered for every backend as it is and after the quantize pass (static int8), and all of them are measured
in one run of the protocol, in turn, each in its own process. Printed per contender: the median of a call with its 95 %
interval, and the ratios over eager and over compiled with theirs. The digits CNN is the demo's, trained; the LSTM
classifier (2 layers of 128, 32 frames of 40 features) and the encoder (4 layers of 192, 64 tokens) have random weights,
which changes no latency. Run it on an idle host.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from burnish.demo.digits import train
from burnish.passes import Quantize
from burnish.recipe import AUTOMATIC_BACKENDS, Target
from burnish.results import Estimate
from workers.backends import BACKENDS_BY_NAME
from workers.measure.contender import BASELINES, Contender, ContenderFailed, loader_of
from workers.measure.protocol import Plan, measure
from workers.passes.base import PassContext, Samples
from workers.passes.quantize import QuantizePass
from workers.programs import example_inputs, load_program, save_program
from workers.steps.measure import SETTLE_SECONDS, cores_for

__all__ = ["main"]

LARGEST_BATCH = 64


class Speech(nn.Module):
    """32 frames of 40 features to 12 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 128, num_layers=2, batch_first=True)
        self.head = nn.Linear(128, 12)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(frames)[0][:, -1])  # type: ignore[no-any-return]


class Text(nn.Module):
    """64 tokens to 8 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 192)
        layers = (nn.TransformerEncoderLayer(192, 4, 768, dropout=0.0, batch_first=True) for _ in range(4))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(192, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embed(tokens)).mean(1))  # type: ignore[no-any-return]


def digits(folder: Path) -> ExportedProgram:
    """The demo's CNN, trained."""
    return load_program(train(folder).model)


def exported(module: nn.Module, example: torch.Tensor) -> ExportedProgram:
    """With a dynamic batch."""
    with torch.no_grad():
        return torch.export.export(
            module.eval(), (example,), dynamic_shapes=({0: Dim("batch", min=1, max=LARGEST_BATCH)},)
        )


def programs(name: str, folder: Path) -> ExportedProgram:
    """One of the three models."""
    torch.manual_seed(0)
    if name == "digits":
        return digits(folder)
    if name == "lstm":
        return exported(Speech(), torch.randn(4, 32, 40))
    return exported(Text(), torch.randint(0, 1000, (4, 64)))


def quantized(program: ExportedProgram) -> ExportedProgram:
    """After the quantize pass, calibrated on noise: latency does not depend on it."""
    samples = Samples(example_inputs(program, 32, seed=1), None)
    context = PassContext(program, samples, seed=0, max_batch=LARGEST_BATCH, progress=lambda share, doing: None)
    return QuantizePass().apply(program, Quantize(), context).program


def artifacts(program: ExportedProgram, target: Target, folder: Path) -> dict[str, tuple[str, Path, str]]:
    """Contender → backend, file and file name, for all that can be lowered."""
    save_program(program, folder / "original")
    found = {name: (name, folder / "original", "model.pt2") for name in BASELINES}
    for kind, treated in (("fp32", program), ("int8", quantized(program))):
        for name in AUTOMATIC_BACKENDS:
            place = folder / f"{kind}-{name}"
            place.mkdir()
            backend = BACKENDS_BY_NAME[name]
            lowered = backend.lower(treated, target, Samples(example_inputs(program, 2, seed=1), None), place)
            found[f"{kind}@{name}"] = (name, lowered.path, backend.filename)
    return found


def race(program: ExportedProgram, target: Target, plan: Plan, folder: Path) -> None:
    """Measures all and prints a line for each."""
    inputs = [tensor.numpy() for tensor in example_inputs(program, target.batch, seed=2)]
    with ExitStack() as stack:
        running = {}
        for name, (backend, artifact, filename) in artifacts(program, target, folder).items():
            contender = stack.enter_context(
                Contender(
                    loader=loader_of(backend),
                    artifact=artifact,
                    filename=filename,
                    threads=target.threads,
                    folder=folder / f"run-{name}",
                    compiles=backend == "compiled",
                )
            )
            if _ready(name, contender, inputs, target):
                running[name] = contender
        rounds = measure(running, BASELINES, plan)
    for name, reason in rounds.failed.items():
        print(f"  {name:20} failed: {reason}")
    for name in rounds.seconds:
        median = rounds.latency(name).median
        over = "  ".join(
            f"{_ratio(rounds.speedup(name, baseline))} x {baseline}" for baseline in BASELINES if baseline != name
        )
        interval = f"({median.low * 1e6:.1f}-{median.high * 1e6:.1f})"
        print(f"  {name:20} {median.value * 1e6:9.1f} µs {interval:20} {over}", flush=True)


def _ready(name: str, contender: Contender, inputs: list[np.ndarray], target: Target) -> bool:
    try:
        contender.load(600)
        contender.prepare(inputs, 600)
        contender.round(1, 0, 600)
        contender.pin(cores_for(target))
    except ContenderFailed as failure:
        print(f"  {name:20} failed: {failure}")
        return False
    return True


def _ratio(ratio: Estimate | None) -> str:
    return "-" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def main() -> None:
    """Prints a table per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=20, help="least number of rounds")
    parser.add_argument("--models", default="digits,lstm,encoder")
    options, _ = parser.parse_known_args()
    target = Target(threads=options.threads, batch=options.batch)
    settle = SETTLE_SECONDS if options.threads > 1 else 0.0
    plan = Plan(seconds=options.seconds, min_rounds=options.rounds, settle_seconds=settle)
    for name in options.models.split(","):
        print(f"{name}, batch {options.batch}, {options.threads} thread(s)", flush=True)
        with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
            race(programs(name, Path(folder)), target, plan, Path(folder))


if __name__ == "__main__":
    main()
