"""The end of a job that a champion took part in: what was decided is done, written down and told, in one transaction
with the end of the job."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from burnish.errors import Conflict
from burnish.results import Verdict
from storage import aliases, firings, outbox
from storage.database import Transaction
from storage.firings import Firing
from storage.records import Job
from workers.contest import Contest, contest_of
from workers.job_spec import spec_of
from workers.promotion import Decision, decide, still_holds

__all__ = ["settle"]

logger = logging.getLogger(__name__)

_EVENTS: dict[str, Any] = {
    "promoted": "champion.promoted",
    "kept": "champion.kept",
    "drifted": "champion.drifted",
}


def settle(tx: Transaction, job: Job, firing: Firing | None, verdict: Verdict) -> None:
    """Decides on the champion, if one takes part in this job, which has just succeeded. The job's row is held."""
    contest = contest_of(firing)
    if firing is None or contest is None:
        return
    goal = spec_of(job).recipe.goal
    decision = still_holds(goal, verdict) if contest.remeasures else decide(goal, verdict, contest)
    if decision.outcome == "promoted":
        decision = _promoted(tx, job, contest, decision)
    document = _document(contest, decision)
    firings.decide(tx, firing, document)
    logger.info("The champion %s of %s: %s. %s", contest.alias, contest.model, decision.outcome, decision.reason)
    if decision.outcome in _EVENTS:
        about = {"model": contest.model, "alias": contest.alias, "job": job.id, "schedule": firing.schedule_id}
        outbox.publish(tx, _EVENTS[decision.outcome], {**about, **document})


def _promoted(tx: Transaction, job: Job, contest: Contest, decision: Decision) -> Decision:
    """The same decision once the alias stands for the result; or to keep, if the alias was changed meanwhile."""
    chosen = decision.challenger
    assert chosen is not None
    assert chosen.artifact is not None
    try:
        with tx.savepoint():
            aliases.set_(
                tx,
                model=contest.model,
                alias=contest.alias,
                artifact=chosen.artifact,
                candidate=chosen.name,
                job=job,
                action="promoted",
                reason=decision.reason,
                expected=contest.champion.entry if contest.champion else None,
            )
    except Conflict as error:
        return replace(decision, outcome="kept", reason=f"{error.message} The result was not measured against that.")
    return decision


def _document(contest: Contest, decision: Decision) -> dict[str, Any]:
    """A `DecisionResource`."""
    challenger = decision.challenger.artifact if decision.challenger else None
    return {
        "outcome": decision.outcome,
        "reason": decision.reason,
        "champion": contest.champion.artifact.digest if contest.champion else None,
        "challenger": challenger.digest if challenger else None,
        "speedup": decision.speedup.model_dump(mode="json") if decision.speedup else None,
    }
