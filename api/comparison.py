"""Results of several jobs side by side: their figures, and where what was asked for differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.result_plots import pareto_of_many
from burnish.resources import JobResource
from burnish.results import Candidate, Environment

__all__ = ["Comparison", "Difference", "Side", "compare"]

_ABSENT = "–"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One job of a comparison."""

    label: str
    """Tells it apart: the model, with a number where jobs of one model are compared."""
    job: JobResource
    result: Candidate | None
    """What it hands back: the chosen candidate, or the original where nothing beat it; `None` without a verdict."""
    file: int | None
    """Bytes to download; `None` if there is nothing."""


@dataclass(frozen=True)
class Difference:
    """One line of what was asked for."""

    path: str
    values: tuple[str, ...]
    """One for each side."""

    @property
    def differs(self) -> bool:
        """True if not all sides say the same."""
        return len(set(self.values)) > 1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that the page shows."""

    sides: tuple[Side, ...]
    asked: tuple[Difference, ...]
    """What was asked for, line by line; those that differ first."""
    plot: dict[str, Any] | None
    caution: str | None
    """Why the times can't be held against each other, if they can't."""


def compare(jobs: Sequence[JobResource]) -> Comparison:
    """Puts them side by side, in the order given."""
    sides = tuple(_side(job, number, jobs) for number, job in enumerate(jobs, 1))
    judged = [(side.label, f"/jobs/{side.job.id}", side.job.verdict) for side in sides]
    lines = _asked(jobs)
    return Comparison(
        sides=sides,
        asked=tuple(sorted(lines, key=lambda line: not line.differs)),
        plot=pareto_of_many([(label, address, verdict) for label, address, verdict in judged if verdict]),
        caution=_caution([job.verdict.environment for job in jobs if job.verdict]),
    )


def _side(job: JobResource, number: int, jobs: Sequence[JobResource]) -> Side:
    again = sum(other.model == job.model for other in jobs) > 1
    result = None
    if job.verdict:
        handed_back = job.verdict.chosen or "eager"
        result = next((item for item in job.verdict.candidates if item.name == handed_back), None)
    return Side(
        label=f"{job.model} ({number})" if again else job.model,
        job=job,
        result=result,
        file=result.artifact.size if result and result.artifact else None,
    )


def _asked(jobs: Sequence[JobResource]) -> list[Difference]:
    """Model, dataset and recipe as lines `passes.0.prune.ratio`, in the order of the first that has them."""
    documents = [
        dict(_leaves({"model": job.model, "dataset": job.dataset, **job.spec.recipe.model_dump(mode="json")}))
        for job in jobs
    ]
    paths = dict.fromkeys(path for document in documents for path in document)
    return [Difference(path, tuple(document.get(path, _ABSENT) for document in documents)) for path in paths]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value and not all(isinstance(part, (str, int, float)) for part in value):
        for index, part in enumerate(value, 1):
            yield from _leaves(part, f"{path}.{index}")
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value)) or "none"
    else:
        yield path, _ABSENT if value is None or value == {} else str(value)


def _caution(environments: Sequence[Environment]) -> str | None:
    seen = {(each.cpu, each.threads, each.batch) for each in environments}
    if len(seen) < 2:
        return None
    told = "; ".join(
        f"{cpu}, {threads} thread{'s' * (threads != 1)}, batch {batch}" for cpu, threads, batch in sorted(seen)
    )
    return f"They were not measured under the same conditions ({told}): compare speed-ups, not times."
