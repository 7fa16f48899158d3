"""Stand-alone loaders that misbehave, each in one way. The "model" doubles its input."""

from pathlib import Path

from workers.measure.contender import Contender

LOADER = """
import os, signal, sys
import numpy

CALLS = 0

class Runner:
    def prepare(self, arrays):
        return arrays
    def run(self, prepared):
        global CALLS
        CALLS += 1
        x = prepared[0]
        y = x * 2
        {body}
        return [y]
    def arrays(self, outputs):
        return outputs

def load(path, threads):
    {load}
    return Runner()
"""


def loader(folder: Path, body: str = "", load: str = "") -> Path:
    """A loader file; `body` sees the input `x`, the output `y` and the number of the call `CALLS`."""
    path = folder / "load_fake.py"
    path.write_text(LOADER.format(body=body or "pass", load=load or "pass"))
    return path


def contender(folder: Path, body: str = "", load: str = "", blocked: tuple[str, ...] = ()) -> Contender:
    """A started contender with that loader."""
    artifact = folder / "artifact"
    artifact.write_bytes(b"data")
    return Contender(
        loader=loader(folder, body, load),
        artifact=artifact,
        filename="model.bin",
        threads=1,
        folder=folder / "contender",
        blocked=blocked,
    )
