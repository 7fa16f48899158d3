"""A/A test of the measuring protocol: how often does it tell a program apart from itself?

    python -m benchmarks.measure_noise [--runs 20] [--rounds 20] [--seconds 12] [--threads 1] [--batch 1] [--model FILE]

Each run starts two processes of the same program, eager, measures them as a job would, and prints the ratio with its
interval. At the end: in how many runs the interval lies above 1 (a false gain), below 1, and the spread of the
ratios, which holds what no interval of one run can see: each process has its own memory layout (Mytkowicz et al.
2009, "Producing wrong data without doing anything obviously wrong!"; Kalibera and Jones 2013). Run it on an idle
host.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from burnish.recipe import Target
from burnish.results import Estimate
from tests import models
from workers.measure.contender import Contender, loader_of
from workers.measure.protocol import Plan, measure
from workers.programs import example_inputs, load_program, save_program
from workers.steps.measure import SETTLE_SECONDS, cores_for

__all__ = ["main"]


def one_run(program: Path, inputs: list[np.ndarray], target: Target, plan: Plan, folder: Path) -> tuple[Estimate, int]:
    """Ratio of the first process's median over the second's, and the number of rounds."""
    with ExitStack() as stack:
        both = {
            name: stack.enter_context(
                Contender(
                    loader=loader_of("eager"),
                    artifact=program,
                    filename="model.pt2",
                    threads=target.threads,
                    folder=folder / name,
                )
            )
            for name in ("first", "second")
        }
        for contender in both.values():
            contender.load(300)
            contender.prepare(inputs, 300)
            contender.pin(cores_for(target))
        rounds = measure(both, ["first"], plan)
        ratio = rounds.speedup("second", "first")
        assert ratio is not None
        return ratio, rounds.latency("first").rounds


def main() -> None:
    """Prints one line per run and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20, help="least number of rounds")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--model", type=Path, help="a program; without it the residual CNN of the tests")
    options = parser.parse_args()
    target = Target(threads=options.threads, batch=options.batch)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = options.model or folder / "program.pt2"
        if options.model is None:
            save_program(models.program("residual_cnn"), program)
        inputs = [each.numpy() for each in example_inputs(load_program(program), target.batch, seed=0)]
        for run in range(options.runs):
            plan = Plan(
                seconds=options.seconds,
                min_rounds=options.rounds,
                settle_seconds=SETTLE_SECONDS if target.threads > 1 else 0.0,
                seed=run,
            )
            ratio, rounds = one_run(program, inputs, target, plan, folder / str(run))
            ratios.append(ratio)
            print(
                f"run {run:3d}: {ratio.value:.4f} ({ratio.low:.4f} to {ratio.high:.4f}), {rounds} rounds, "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    above, below = sum(r.low > 1 for r in ratios), sum(r.high < 1 for r in ratios)
    values = np.array([r.value for r in ratios])
    print(f"{len(ratios)} runs: interval above 1 in {above}, below 1 in {below}")
    print(f"ratios: {values.min():.4f} to {values.max():.4f}, standard deviation {values.std():.4f}")


if __name__ == "__main__":
    main()
