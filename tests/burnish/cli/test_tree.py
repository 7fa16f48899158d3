"""The tree of steps, as text at several states of a job and sizes of a terminal."""

from __future__ import annotations

from datetime import timedelta

import pytest

from burnish.cli.tree import tree
from burnish.resources import JobResource, StepResource
from tests.burnish.results import BEGAN, job, judged, step

PASSES = [{"prune": {"ratio": 0.5}}, {"distill": {}}]
REPORT = {"passes": [{"estimate": 4.0}, {"estimate": 60.0}]}


def drawn(shown: JobResource, width: int = 100, height: int = 50, seconds: float = 30.0) -> list[str]:
    now = BEGAN + timedelta(seconds=seconds)
    return tree(shown, width=width, height=height, now=now).plain.split("\n")


def contender(prefix: str, backend: str, state: str = "waiting") -> list[StepResource]:
    return [step(f"{prefix}{op}@{backend}", op, state) for op in ("lower", "verify")]


def running() -> JobResource:
    refused = step("as-is/lower@openvino", "lower", "done", report={"refused": "It has no kernel for this."})
    return job(
        step("capture", "capture", "done", hit=True),
        step("preflight", "preflight", "done", report=REPORT),
        *contender("as-is/", "inductor", "done"),
        refused,
        step("prune", "pass:prune", "done", seconds=4.2),
        step("distill", "pass:distill", "leased", progress=0.5, doing="epoch 5 of 10: loss 0.114"),
        *contender("", "inductor"),
        step("measure", "measure"),
        passes=PASSES,
    )


def searching(variants: int, ended: int) -> JobResource:
    steps = [step("capture", "capture", "done")]
    for number in range(variants):
        state = "done" if number < ended else "leased" if number == ended else "waiting"
        prefix = f"prune{number}/"
        steps.append(step(f"{prefix}prune", "pass:prune", state))
        steps += contender(prefix, "inductor", "done" if number < ended else "waiting")
    return job(*steps)


def test_a_pass_that_changed_nothing_says_why() -> None:
    idle = step("simplify", "pass:simplify", "done", report={"unchanged": "The graph has no idle call."}, seconds=2.0)
    shown = job(step("capture", "capture", "done"), idle, step("measure", "measure"))
    assert any(
        line.endswith("simplify                      2 s  The graph has no idle call.") for line in drawn(shown)
    ), drawn(shown)


def test_steps_stand_in_a_branch_for_each_variant_with_their_state_in_words() -> None:
    assert drawn(running()) == [
        "running  net:1  6 of 10 steps, 1 from the cache, 30 s",
        "├─ model and data",
        "│  ├─ ✓ cached   capture",
        "│  └─ ✓ done     preflight                     2 s",
        "├─ as-is",
        "│  ├─ ✓ done     lower@inductor                2 s",
        "│  ├─ ✓ done     verify@inductor               2 s",
        "│  └─ ✓ refused  lower@openvino                     It has no kernel for this.",
        "├─ prune+distill",
        "│  ├─ ✓ done     prune                       4.2 s",
        "│  ├─ ▸ running  distill                      30 s  ━━━━━───── 50%  epoch 5 of 10: loss 0.114",
        "│  ├─ · waiting  lower@inductor",
        "│  └─ · waiting  verify@inductor",
        "└─ · waiting  measure",
        "about 34 s left",
        "not counted: measure (not known yet)",
    ]


@pytest.mark.parametrize("width", [1, 20, 40, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in drawn(running(), width)) <= width


def test_a_narrow_terminal_keeps_state_name_time_and_percentage() -> None:
    (line,) = [line for line in drawn(running(), 60) if "distill" in line and "running" in line]
    assert line.split() == ["│", "├─", "▸", "running", "distill", "30", "s", "━━━───", "50%"]
    (line,) = [line for line in drawn(running(), 44) if "distill" in line and "running" in line]
    assert line.split()[-3:] == ["30", "s", "50%"]


def test_a_low_terminal_folds_what_has_ended_then_what_waits_then_all_but_what_runs() -> None:
    folded = drawn(running(), height=13)
    assert "├─ ✓ done     as-is                            6 s  3 steps" in folded
    assert any("lower@inductor" in line for line in folded)
    only = drawn(running(), height=9)
    assert [line for line in only if "distill" in line and "running" in line]
    assert not [line for line in only if "lower@inductor" in line]
    assert len(only) <= 9
    assert "├─ prune+distill  1 of 4 steps" in only


def test_a_search_of_many_variants_fits_and_says_that_it_may_grow() -> None:
    lines = drawn(searching(40, 30), height=10)
    assert len(lines) <= 10
    assert any("31 branches" in line and "91 steps" in line for line in lines)
    assert any("· waiting  9 branches" in line for line in lines)
    assert any("▸ running  prune" in line for line in lines)
    assert any("in this round; the search may add more" in line for line in lines)


def test_the_tree_grows_by_the_rounds_of_a_search() -> None:
    first, second = ([line for line in drawn(searching(count, 2)) if "prune" in line] for count in (2, 3))
    assert [line.split()[1] for line in first if "running" not in line and "done" not in line] == ["prune0", "prune1"]
    assert not any("prune2" in line for line in first)
    assert any(line.endswith("─ prune2") for line in second)


def test_a_failed_step_says_why_and_marks_its_branch() -> None:
    error = {"code": "x", "error_class": "user", "message": "Nothing to prune.\x1b[31m", "cure": "Leave it."}
    lines = drawn(job(step("prune", "pass:prune", "failed", error=error), step("distill", "pass:distill", "canceled"),
                      state="failed", passes=PASSES))  # fmt: skip
    assert [line.split() for line in lines[2:]] == [
        ["├─", "✗", "failed", "prune", "Nothing", "to", "prune.", "[31m"], ["└─", "–", "canceled", "distill"],
    ]  # fmt: skip


def test_a_job_without_steps_and_a_finished_one_have_no_time_left() -> None:
    assert drawn(job(state="queued")) == ["queued  net:1"]
    lines = drawn(judged())
    assert lines[0] == "succeeded  net:1  4 of 4 steps, 1 from the cache, 60 s"
    assert not [line for line in lines if "left" in line]
