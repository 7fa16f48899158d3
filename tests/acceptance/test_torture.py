"""The service under torture, short form: real processes killed, frozen and cut off while users submit jobs.

The long form is `python -m benchmarks.torture`. A run is repeated by its seed, which its output names.
"""

from __future__ import annotations

import pytest

from tests.acceptance.torture.plan import ANYWHERE, PROXIED, Kind, Plan
from tests.acceptance.torture.run import torture
from tests.acceptance.torture.stack import Where

SEED = 20261124


@pytest.mark.parametrize(("where", "kinds"), [("embedded", ANYWHERE), ("servers", ANYWHERE + PROXIED)])
def test_no_job_is_lost_and_none_is_run_twice_under_torture(where: Where, kinds: tuple[Kind, ...]) -> None:
    report = torture(where, SEED, jobs=30, faults=len(kinds), seconds=18.0, patience=60.0)
    print(report.text())
    assert report.violations == [], report.text()
    assert set(report.struck) == set(kinds), report.text()


def test_a_plan_follows_from_its_seed_alone() -> None:
    one, same, other = (Plan.derive(seed, jobs=20, faults=40, seconds=10.0, kinds=ANYWHERE) for seed in (1, 1, 2))
    assert one == same
    assert one.faults != other.faults
    assert {fault.kind for fault in one.faults} == set(ANYWHERE)


def test_in_a_long_plan_the_store_is_once_away_for_longer_than_three_attempts() -> None:
    short, long, embedded = (
        Plan.derive(1, jobs=20, faults=40, seconds=seconds, kinds=kinds)
        for seconds, kinds in ((60.0, ANYWHERE + PROXIED), (600.0, ANYWHERE + PROXIED), (600.0, ANYWHERE))
    )
    outages = [[fault.kind for fault in plan.faults if fault.seconds >= 20] for plan in (short, long, embedded)]
    assert outages == [[], ["refuse_s3"], []]
