"""The demo's CNN, batch 1, one thread: speed over eager and over compiled fp32, quality, size.

    python -m benchmarks.demo_cnn [--json FILE]

One service, one job; the figures are those of its verdict, measured interleaved in one run (docs/measuring.md).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.service import service
from burnish.cli.console import console
from burnish.cli.demo import RECIPE
from burnish.cli.tables import verdict_table
from burnish.demo.digits import train
from burnish.resources import JobResource

__all__ = ["main", "run"]


def run() -> JobResource:
    """Trains the demo's model and has it made fast."""
    with tempfile.TemporaryDirectory() as folder, service() as (client, _):
        trained = train(Path(folder))
        model = client.upload_model(trained.model)
        dataset = client.upload_dataset(trained.dataset)
        return client.wait(client.submit(model.id, dataset.id, RECIPE).id)


def main() -> None:
    """Prints the verdict, and what the figures asked for are."""
    job = run()
    assert job.verdict is not None, job.error
    console.print(verdict_table(job))
    chosen = next(item for item in job.verdict.candidates if item.name == job.verdict.chosen)
    original = next(item for item in job.verdict.candidates if item.name == "eager")
    assert chosen.speedup_over_eager
    assert chosen.speedup_over_compiled
    assert chosen.quality
    assert chosen.artifact
    assert original.artifact
    figures = {
        "over_eager": chosen.speedup_over_eager.model_dump(),
        "over_compiled": chosen.speedup_over_compiled.model_dump(),
        "drop_points": 100 * chosen.quality.drop.value,
        "smaller": original.artifact.size / chosen.artifact.size,
    }
    print(json.dumps(figures, indent=2))
    if "--json" in sys.argv:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(
            json.dumps(job.verdict.model_dump(mode="json"), indent=1)
        )


if __name__ == "__main__":
    main()
