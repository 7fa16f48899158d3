"""Documents in SQL that another version of Burnish wrote, as far as this one can read them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from burnish.document import Document
from burnish.recipe import JobSpec, faults_of
from burnish.resources import FaultResource
from burnish.results import Verdict
from storage.records import Job

__all__ = ["spec_of", "understood", "verdict_of"]

DocumentT = TypeVar("DocumentT", bound=Document)
FallbackT = TypeVar("FallbackT")

_CURE = "Run the version of Burnish that wrote it, or submit the job anew."


def spec_of(job: Job) -> tuple[JobSpec, tuple[FaultResource, ...]]:
    """What the job was asked for, and the parts of it that can't be read; `where` points into the job's document."""
    known = {"model": job.model_id, "dataset": job.dataset_id}
    document = {**known, **job.spec} if isinstance(job.spec, dict) else job.spec
    return understood(JobSpec, document, at="/spec", fallback=JobSpec.model_validate(known))


def verdict_of(job: Job) -> tuple[Verdict | None, tuple[FaultResource, ...]]:
    """The job's verdict, if there is one that can be read at all, and the parts of it that can't be read."""
    return understood(Verdict, job.verdict, at="/verdict", fallback=None) if job.verdict else (None, ())


def understood(
    kind: type[DocumentT], document: Any, *, at: str, fallback: FallbackT, cure: str = _CURE
) -> tuple[DocumentT | FallbackT, tuple[FaultResource, ...]]:
    """The document without the parts that can't be read, and these; each is left to its default.

    Args:
        at: where the document stands in the one that is shown, as a JSON pointer.
        fallback: stands for a document of which nothing can be read.
        cure: what to do about each.
    """
    rest, faults = document, list[FaultResource]()
    while True:
        try:
            return kind.model_validate(rest), tuple(reversed(faults))
        except ValidationError as error:
            fault = faults_of(error, at)[-1]  # the last first: so the places of those before it in a list stay right
            faults.append(FaultResource(where=fault.where, message=fault.message, cure=cure))
            if rest is document:
                rest = copy.deepcopy(document)
            if not _drop(rest, error.errors(include_url=False)[-1]["loc"]):
                return fallback, tuple(reversed(faults))


def _drop(document: Any, path: Sequence[int | str]) -> bool:
    """Takes out the innermost part on the path that there is; whether there was one."""
    found: tuple[Any, Any] | None = None
    at = document
    for part in path:
        if not (part in at if isinstance(at, dict) else isinstance(at, list) and part in range(len(at))):
            break
        found, at = (at, part), at[part]
    if found is not None:
        del found[0][found[1]]
    return found is not None
