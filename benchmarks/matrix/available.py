"""Making a model of the matrix once, in a process of its own."""

from __future__ import annotations

import time

from benchmarks.matrix.child import Crashed, in_child
from benchmarks.matrix.models import Model
from benchmarks.matrix.records import Records
from benchmarks.matrix.run import make_model
from benchmarks.matrix.zoo import Zoo

__all__ = ["available"]

_LIMIT = 900.0
"""Seconds."""


def available(model: Model, zoo: Zoo, records: Records) -> bool:
    """Makes a model that is not there yet; whether it is there now. Why it is not stands in the records."""
    place = records.folder / model.name
    if not (place / "program").exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "unavailable.json").unlink(missing_ok=True)
        began = time.monotonic()
        try:
            in_child(make_model, model, zoo, records, limit=_LIMIT, log=place / "log")
        except Crashed as crash:
            records.write_unavailable(model.name, f"It could not be made: {crash}")
        print(f"{model.name}: made in {time.monotonic() - began:.0f} s", flush=True)
    return (place / "program").exists()
