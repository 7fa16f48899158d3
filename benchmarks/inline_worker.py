"""A worker whose steps run inside it, without a process of their own: so the control plane is measured alone.

For benchmarks only. Everything else is as in `python -m workers`: claim, scratch folder, blobs, heartbeat, commit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from burnish.recipe import Target
from burnish.settings import Settings
from storage.records import Claim
from tests.acceptance.scripted import STEPS
from workers import runner
from workers.attempt import Bounds, Finished
from workers.lease import Lease
from workers.steps.base import StepContext
from workers.worker import run_worker
from workers.zygote_client import Zygote

__all__: list[str] = []


def _inline(
    zygote: Zygote,
    lease: Lease,
    claim: Claim,
    folder: Path,
    inputs: Mapping[str, Path],
    bounds: Bounds,
    trace: object = None,
    checkpoint: object = None,
) -> Finished:
    context = StepContext(
        settings=claim.spec["settings"],
        inputs=dict(inputs),
        folder=folder / "work",
        target=Target.model_validate(claim.spec["target"]),
        seed=claim.spec["seed"],
        progress=lambda share, doing: None,
    )
    made = STEPS[claim.op].run(context)
    return Finished(dict(made.outputs), dict(made.report), 0)


if __name__ == "__main__":
    setattr(runner, "run_attempt", _inline)  # noqa: B010 - a plain assignment is what mypy forbids, rightly
    run_worker(Settings.from_environment(os.environ), table="tests.acceptance.scripted", preload=())
