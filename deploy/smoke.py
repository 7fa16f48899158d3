"""One small job through any running stack: `python deploy/smoke.py [--model M.pt2 --data D.npz]`.

Talks to BURNISH_URL with BURNISH_TOKEN (to the service on this machine if unset), and needs only the client: with torch
at hand it makes a tiny model and data of its own, else name files. Exit status 0 if the job ended with a verdict and
what it made could be fetched with the right digest, 1 with the reason if not.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import burnish
from burnish.errors import BurnishError
from burnish.resources import JobResource


def main() -> int:
    """Submits, follows, fetches."""
    options = _options()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="burnish-smoke-") as folder, burnish.Client() as client:
            _say(began, f"{client.url}: {_ready(client.url)}")
            model, data = (options.model, options.data) if options.model else make(Path(folder))
            job = _submit(client, model, data, options.device)
            _say(began, f"submitted {job.id}: {client.url}/jobs/{job.id}")
            job = _follow(client, job.id, options.seconds, began)
            return _judge(client, job, Path(folder), began)
    except BurnishError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a torch.export program (.pt2); needs --data")
    parser.add_argument("--data", type=Path, help="its inputs (.safetensors or .npz), 20 samples at least")
    parser.add_argument("--device", default="cpu", help="device class that is to run it (default: cpu)")
    parser.add_argument("--seconds", type=float, default=600, help="longest to wait (default: 600)")
    options = parser.parse_args()
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data belong together")
    if options.model is None and importlib.util.find_spec("torch") is None:
        parser.error("torch is not installed here, so name a model and data: --model M.pt2 --data D.npz")
    return options


def make(folder: Path) -> tuple[Path, Path]:
    """A convolution with random weights, and 64 random images. Needs torch."""
    import numpy
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 4),
    )
    model, data = folder / "smoke.pt2", folder / "smoke.npz"
    burnish.capture(module, torch.randn(2, 3, 16, 16), model)
    numpy.savez(data, inputs=torch.randn(64, 3, 16, 16).numpy())
    return model, data


def _ready(url: str) -> str:
    """What the service says of the parts it stands on; a fault there explains all later ones."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            return f"ready {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"NOT READY {error.read().decode()}"
    except OSError as error:
        return f"NO ANSWER {error}"


def recipe(device: str) -> dict[str, object]:
    """One pass and one backend that compiles nothing: under a minute, most of it for measuring."""
    return {
        "target": {"device": device, "backend": "onnxruntime"},
        "goal": {"max_drop": "100%"},  # this asks whether the stack works, not how well the model takes it
        "passes": [{"quantize": {}}],
        "seed": int(time.time()) % 2**31,  # another one each time, or all would be read from the cache
    }


def _submit(client: burnish.Client, model: Path, data: Path, device: str) -> JobResource:
    uploaded = client.upload_model(model, "smoke")
    return client.submit(uploaded.id, client.upload_dataset(data, "smoke").id, recipe(device))


def _follow(client: burnish.Client, job_id: str, seconds: float, began: float) -> JobResource:
    """The job once it is finished, or as it was when the time was up; then it is canceled."""
    told: dict[str, str] = {}
    until = time.monotonic() + seconds
    while True:
        job = client.job(job_id)
        for step in job.steps:
            if told.get(step.name) != step.state:
                told[step.name] = step.state
                _say(began, f"  {step.name}: {step.state}{' (from the cache)' if step.hit else ''}")
        if job.state in ("succeeded", "failed", "canceled"):
            return job
        if time.monotonic() > until:
            client.cancel(job_id)
            return job
        time.sleep(0.5)


def _judge(client: burnish.Client, job: JobResource, folder: Path, began: float) -> int:
    if job.state != "succeeded" or job.verdict is None:
        reason = f"{job.error.code}: {job.error.message} {job.error.cure}" if job.error else "it did not end in time"
        print(f"FAILED: job {job.id} is {job.state}: {reason}", file=sys.stderr)
        return 1
    _say(began, f"verdict: {job.verdict.outcome}. {job.verdict.sentence}")
    if job.artifacts:
        path = client.fetch(job, folder)
        _say(began, f"fetched {path.name}, {path.stat().st_size:,} bytes, digest right")
    computed = sum(not step.hit for step in job.steps)
    _say(began, f"OK: {len(job.steps)} steps, {computed} computed now")
    return 0


def _say(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
