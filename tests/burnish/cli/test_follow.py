"""Following a job: in a real terminal a tree that lives, elsewhere plain lines."""

from __future__ import annotations

import json

import pytest

from burnish import Client
from storage.records import Job
from tests.api.place import verdict
from tests.burnish.cli.terminal import terminal
from tests.burnish.cli.test_cli import run
from tests.burnish.conftest import Served


@pytest.fixture
def planned(served: Served) -> Job:
    """A job with two steps that wait."""
    record = served.place.job()
    served.place.plan(record, ["capture", "measure"])
    return record


def _judge(served: Served, job: Job) -> None:
    for name in ("capture", "measure"):
        claim = served.place.start(job, name)
        assert claim is not None
        served.place.finish(claim)
    served.place.succeed(job, verdict())


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_shows_the_tree_as_it_grows_and_the_verdict_at_its_end(
    served: Served, planned: Job, columns: int
) -> None:
    place = served.place
    with terminal("watch", planned.id, columns=columns) as shown:
        shown.until("· waiting  measure")
        claim = place.start(planned, "capture")
        assert claim is not None
        place.progress(claim, 0.5, "reads the archive")
        shown.until("50%")
        assert "▸ running  capture" in shown.text
        place.finish(claim)
        shown.until("✓ done     capture")
        last = place.start(planned, "measure")
        assert last is not None
        place.finish(last)
        place.succeed(planned, verdict())
        assert shown.end() == 0, shown.text
        assert "succeeded  net:1  2 of 2 steps" in shown.text
        assert "4.0× faster than the original" in " ".join(shown.text.split())
        assert max(len(line) for line in shown.text.split("\n")) <= columns


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_it(served: Served, planned: Job) -> None:
    with terminal("watch", planned.id) as shown:
        shown.until("· waiting  measure")
        shown.press("\x03")
        assert shown.end() == 130, shown.text
        told = " ".join(shown.text.split())
        assert f"Job {planned.id} goes on. Follow it with `burnish watch {planned.id}`" in told
        assert "Traceback" not in told
    with Client() as client:
        assert client.job(planned.id).state == "running"


def test_elsewhere_each_step_is_a_plain_line(served: Served, planned: Job) -> None:
    _judge(served, planned)
    result = run("watch", planned.id)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == ["✓ capture: done in 1.5 s", "✓ measure: done in 1.5 s"]
    assert "improved" in result.stdout


def test_json_is_the_document_and_nothing_else_on_standard_output(served: Served, planned: Job) -> None:
    _judge(served, planned)
    assert json.loads(run("watch", planned.id, "--json").stdout)["verdict"]["outcome"] == "improved"
