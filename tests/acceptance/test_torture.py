"""The service under torture, short form: real processes killed, frozen and cut off while users submit jobs.

The long form is `python -m benchmarks.torture`. A run is repeated by its seed, which its output names.
"""

from __future__ import annotations

import pytest

from tests.acceptance.torture.plan import ANYWHERE, PROXIED, Plan
from tests.acceptance.torture.run import torture
from tests.acceptance.torture.stack import Where

SEED = 20261124


@pytest.mark.parametrize(("where", "faults"), [("embedded", len(ANYWHERE)), ("servers", len(ANYWHERE + PROXIED))])
def test_no_job_is_lost_and_none_is_run_twice_under_torture(where: Where, faults: int) -> None:
    report = torture(where, SEED, jobs=30, faults=faults, seconds=18.0, patience=60.0)
    print(report.text())
    assert report.violations == [], report.text()
    assert sum(report.struck.values()) > faults // 2, report.text()


def test_a_plan_follows_from_its_seed_alone() -> None:
    one, same, other = (Plan.derive(seed, jobs=20, faults=40, seconds=10.0, kinds=ANYWHERE) for seed in (1, 1, 2))
    assert one == same
    assert one.faults != other.faults
    assert {fault.kind for fault in one.faults} == set(ANYWHERE)
