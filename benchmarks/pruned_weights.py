"""Which method of setting single weights to zero loses least on trained models, with the same recovery for each.

Reads the models and data that `python -m benchmarks.matrix` has made (`~/.cache/burnish/zoo/matrix`). Prints, for each
share of zeros and each method, the accuracy on held-out samples against the labels, and the ratio of the original's
outputs to the difference, in dB. `+ distill` trains for as many epochs as the schedules do in all.

    python -m benchmarks.pruned_weights [speech-dnn] [residual-cnn] [ratios …]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from burnish.passes import Distill, Prune
from workers.datasets import read_samples
from workers.measure.quality import assess
from workers.passes.base import PassContext, Samples
from workers.passes.distill import DistillPass
from workers.passes.prune import PrunePass
from workers.programs import load_program

FOLDER = Path.home() / ".cache/burnish/zoo/matrix"
STEPS, EPOCHS = 20, 1
BATCH = 256
METHODS: Mapping[str, Mapping[str, Any]] = {
    "magnitude at once": {},
    "taylor at once": {"method": "taylor"},
    "sparsegpt at once": {"method": "sparsegpt"},
    "magnitude + distill": {"distill": {}},
    "taylor + distill": {"method": "taylor", "distill": {}},
    "sparsegpt + distill": {"method": "sparsegpt", "distill": {}},
    "magnitude by steps": {"schedule": {}},
    "taylor by steps": {"method": "taylor", "schedule": {}},
    "movement by steps": {"method": "movement", "schedule": {}},
    "movement by steps, labels 0.5": {"method": "movement", "schedule": {"labels": 0.5}},
    "magnitude by steps, labels 0.5": {"schedule": {"labels": 0.5}},
}
"""By name: the settings of `prune`; with `distill`, that pass follows."""


def main() -> None:
    """Prints a table for each model and share named on the command line, or for all."""
    models = [each for each in sys.argv[1:] if not each[0].isdigit()] or ["speech-dnn", "residual-cnn"]
    ratios = [float(each) for each in sys.argv[1:] if each[0].isdigit()] or [0.5, 0.8]
    for model in models:
        program = load_program(FOLDER / model / "program")
        calibration, heldout = (read_samples(FOLDER / model / name) for name in ("calibration", "heldout"))
        context = PassContext(program, calibration, seed=0, max_batch=None, progress=lambda share, what: None)
        for ratio in ratios:
            print(f"\n{model}, {ratio:.0%} zeros: {len(calibration)} samples to train on, {len(heldout)} held out")
            for name, settings in METHODS.items():
                began = time.perf_counter()
                made = pruned(program, ratio, settings, context)
                print(f"{name:31} {judged(program, made, heldout)}  {time.perf_counter() - began:.0f} s", flush=True)


def pruned(
    program: ExportedProgram, ratio: float, settings: Mapping[str, Any], context: PassContext
) -> ExportedProgram:
    """With as many epochs of recovery for each method that has any."""
    given = {key: value for key, value in settings.items() if key not in ("distill", "schedule")}
    if "schedule" in settings:
        given["schedule"] = {"steps": STEPS, "epochs": EPOCHS, **settings["schedule"]}
    prune = Prune.model_validate({"kind": "unstructured", "ratio": ratio, **given})
    made = PrunePass().apply(program, prune, context).program
    if "distill" in settings:
        made = DistillPass().apply(made, Distill(epochs=STEPS * EPOCHS), context).program
    return made


def judged(original: ExportedProgram, made: ExportedProgram, heldout: Samples) -> str:
    """Accuracy of both, and how close the outputs are."""
    first, second = outputs(original, heldout), outputs(made, heldout)
    targets = None if heldout.targets is None else heldout.targets.numpy()
    quality = assess([first], [second], targets, seed=0).quality
    return f"{quality.metric} {quality.original:.4f} → {quality.value:.4f}  {quality.sqnr_db:5.1f} dB"


def outputs(program: ExportedProgram, samples: Samples) -> np.ndarray[Any, Any]:
    """The first output for all samples."""
    module = program.module(check_guards=False)
    with torch.no_grad():
        parts = [module(*batch) for batch in zip(*(x.split(BATCH) for x in samples.inputs), strict=True)]
    return torch.cat([part if isinstance(part, torch.Tensor) else part[0] for part in parts]).numpy()


if __name__ == "__main__":
    main()
