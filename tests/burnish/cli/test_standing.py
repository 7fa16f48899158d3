"""`burnish schedules`, `aliases` and `webhooks`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from storage import schedules
from storage.tables import schedules as table
from tests.api.place import Place
from tests.api.promoted import finished_job
from tests.burnish.cli.test_cli import run
from tests.burnish.conftest import Served


@pytest.fixture
def place(served: Served, model_bytes: bytes) -> Place:
    """With the model `net` and the dataset `samples`."""
    served.place.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {Served.token}"
    served.place.upload(model_bytes)
    return served.place


def test_a_schedule_is_made_shown_run_and_removed(place: Place, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("passes: [quantize]\n")
    made = run("schedules", "create", "nightly", "net", "--data", "samples", "--cron", "0 3 * * *", "--timezone",
               "Europe/Berlin", "--recipe", recipe, "--max-drop", "1%", "--promote", "production")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "nightly" in made.stdout
    assert "promotes to production" in made.stdout
    spec = json.loads(run("schedules", "show", "nightly", "--json").stdout)
    assert (spec["job"]["recipe"]["goal"]["max_drop"], spec["trigger"]["timezone"]) == (0.01, "Europe/Berlin")
    assert "optimize net on samples" in run("schedules", "list").stdout
    assert "nightly is paused." in run("schedules", "pause", "nightly").stdout
    fired = json.loads(run("schedules", "run", "nightly", "--json").stdout)
    assert fired["outcome"] == "fired"
    assert f"Made by schedule {spec['id']}" in run("show", fired["job"]).stdout
    assert "is active" in run("schedules", "resume", "nightly").stdout
    assert "skipped" in run("schedules", "run", "nightly").stdout
    for command in ("show", "history"):
        assert fired["job"] in run("schedules", command, "nightly").stdout
    assert "nightly is deleted." in run("schedules", "rm", "nightly").stdout
    assert "No schedules yet" in run("schedules", "list").stdout


def test_a_schedule_by_interval_and_one_that_measures_again(place: Place) -> None:
    every = run("schedules", "create", "often", "net", "--data", "samples", "--every", "6h", "--json")
    assert json.loads(every.stdout)["trigger"]["every"] == 21600.0
    drift = run("schedules", "create", "drift", "net", "--data", "samples", "--on", "dataset", "--remeasure", "canary")
    assert "on a new dataset, watches canary" in drift.stdout


def test_the_faults_of_a_schedule_are_told(place: Place) -> None:
    result = run("schedules", "create", "x", "none", "--data", "samples", "--cron", "x")
    assert result.exit_code == 2
    assert "/trigger/cron" in result.stderr
    assert "/job/model" in result.stderr


def test_a_schedule_of_another_version_is_shown_with_a_word_on_the_rest_and_not_run(place: Place) -> None:
    run("schedules", "create", "odd", "net", "--data", "samples", "--every", "6h")
    with place.database.begin() as tx:
        spec = {**schedules.get(tx, "odd").spec, "trigger": {"on": "moonrise"}}
        tx.execute(update(table).where(table.c.name == "odd").values(spec=spec))
    for command in (("list",), ("show", "odd")):
        told = run("schedules", *command)
        assert told.exit_code == 0, told.output
        for part in ("not understood", "odd does not fire", "/trigger/on: ", "Update this service"):
            assert part in told.stdout, part
        assert "next at" not in told.stdout
    refused = run("schedules", "run", "odd")
    assert refused.exit_code != 0
    assert "delete the schedule and create it again" in refused.stderr


def test_an_alias_is_promoted_shown_fetched_and_rolled_back(served: Served, tmp_path: Path) -> None:
    jobs = [finished_job(served.place, content) for content in (b"first", b"second")]
    for job, digest in jobs:
        promoted = run("aliases", "promote", "net", job.id, "--reason", "Better.")
        assert digest[:12] in promoted.stdout
    assert "prune@onnxruntime" in run("aliases", "list", "net").stdout
    assert "/v1/models/net/aliases/production/artifact" in run("aliases", "show", "net").stdout
    path = tmp_path / "model.onnx"
    assert jobs[1][1] in run("aliases", "fetch", "net", "-o", path).stdout
    assert path.read_bytes() == b"second"
    assert "is still production" in run("aliases", "fetch", "net", "-o", path, "--digest", jobs[1][1]).stdout
    assert json.loads(run("aliases", "rollback", "net", "--json").stdout)["entry"]["artifact"]["digest"] == jobs[0][1]
    assert "rolled back" in run("aliases", "history", "net").stdout
    assert run("aliases", "rollback", "net").exit_code == 2
    assert "stands for nothing" in run("aliases", "rm", "net", "production").stdout
    assert "No aliases yet" in run("aliases", "list", "net").stdout


def test_a_webhook_is_made_shown_switched_and_removed(served: Served) -> None:
    made = run("webhooks", "create", "https://example.com/hook", "--type", "alias.changed", "--json")
    hook = json.loads(made.stdout)
    assert hook["secret"].startswith("whsec_")
    assert "whsec_" in run("webhooks", "rotate", hook["id"]).stdout
    assert "alias.changed" in run("webhooks", "list").stdout
    assert "is disabled" in run("webhooks", "pause", hook["id"]).stdout
    assert "is enabled" in run("webhooks", "resume", hook["id"]).stdout
    run("aliases", "promote", "net", finished_job(served.place)[0].id)
    (delivery,) = json.loads(run("webhooks", "deliveries", hook["id"], "--json").stdout)["items"]
    for command in ("show", "deliveries"):
        assert delivery["id"] in run("webhooks", command, hook["id"]).stdout
    assert run("webhooks", "redeliver", hook["id"], delivery["id"]).exit_code == 2
    assert "is deleted." in run("webhooks", "rm", hook["id"]).stdout
    assert "No webhooks yet" in run("webhooks", "list").stdout


def test_an_address_that_must_not_be_told_is_refused(served: Served) -> None:
    result = run("webhooks", "create", "https://10.0.0.1/")
    assert (result.exit_code, "/url" in result.stderr) == (2, True)
