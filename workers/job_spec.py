"""What a job asks for, out of SQL."""

from __future__ import annotations

from pydantic import ValidationError

from burnish.errors import InternalError
from burnish.recipe import JobSpec, faults_of
from storage.records import Job

__all__ = ["spec_of"]


def spec_of(job: Job) -> JobSpec:
    """The spec, typed.

    Raises:
        InternalError: another version of Burnish wrote it, and this one can't read it.
    """
    try:
        return JobSpec.model_validate(job.spec)
    except ValidationError as error:
        told = " ".join(f"{fault.where}: {fault.message}" for fault in faults_of(error))
        raise InternalError(
            f"Another version of Burnish wrote the job's spec, and this worker's can't read it: {told}",
            cure="Retry the job once every worker runs the version that it was submitted to, or submit it anew.",
        ) from error
