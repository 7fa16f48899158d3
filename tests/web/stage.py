"""A service without workers, whose jobs the tests move by hand: what a page shows is then known to the step."""

from __future__ import annotations

from typing import Any

from api.app import create_app
from storage.records import Job
from tests.api.place import Place, RecordingBell, verdict
from tests.web.site import Site

__all__ = ["LAYERS", "finished", "report", "stage"]

LAYERS = {
    "layers": [
        {"name": f"blocks.{n}.conv", "op": "conv2d", "parameters": 9000, "flops": 10**6, "seconds": 1e-5 * (n + 1),
         "errors": {"int8": 50.0 - n, "int4": 30.0 - n}}
        for n in range(6)
    ]
}  # fmt: skip
"""The report of a profile."""


def stage(site: Site) -> Place:
    """The tests' own hand on the database of that service."""
    bell = RecordingBell()
    app = create_app(site.settings, site.database, site.blobs, bell)
    return Place(
        settings=site.settings, database=site.database, blobs=site.blobs, bell=bell, app=app, folder=site.folder
    )


def report(place: Place, job: Job, step: str, document: dict[str, Any]) -> None:
    """A step of the job runs and ends with that report."""
    claim = place.start(job, step)
    assert claim is not None
    place.finish(claim, report=document)


def finished(place: Place, name: str, *, recipe: dict[str, Any] | None = None) -> Job:
    """A job with a verdict, layers that a pass treated, and a past."""
    job = place.job(name=name, recipe=recipe)
    place.plan(job, ["capture", "profile", "pass:quantize"])
    report(place, job, "capture", {})
    report(place, job, "profile", LAYERS)
    treated = [
        {"layer": f"blocks.{n}.conv", "treatment": "int8" if n else "left alone", "reason": "as calibrated"}
        for n in range(6)
    ]
    report(place, job, "pass:quantize", {"layers": treated})
    place.succeed(job, verdict())
    return job
