"""The command line: what it prints, how it fails, and that `--json` is the API's own document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from burnish import Client
from burnish.cli import main
from tests.api.place import dataset_bytes
from tests.api.routes.test_failures import poisoned
from tests.burnish.client.test_client import finished
from tests.burnish.conftest import Served


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path: Path, model_bytes: bytes) -> tuple[Path, Path]:
    model, data = tmp_path / "net.pt2", tmp_path / "samples.safetensors"
    model.write_bytes(model_bytes)
    data.write_bytes(dataset_bytes())
    return model, data


def test_a_job_is_submitted_from_files_and_shown(served: Served, files: tuple[Path, Path]) -> None:
    result = run("submit", files[0], "--data", files[1], "--max-drop", "1%", "--target", "cpu:2")
    assert result.exit_code == 0, result.output
    job_id = result.stdout.strip()
    assert f"burnish watch {job_id}" in result.stderr
    shown = json.loads(run("show", job_id, "--json").stdout)
    assert shown["spec"]["recipe"]["goal"]["max_drop"] == 0.01
    assert shown["spec"]["recipe"]["target"]["threads"] == 2
    assert job_id in run("jobs").stdout
    assert f"{job_id} is queued with priority 0." in run("priority", job_id, "0").stdout
    assert run("priority", job_id, "10").exit_code == 2
    assert f"{job_id} is canceled." in run("cancel", job_id).stdout
    assert f"{job_id} is queued." in run("retry", job_id).stdout


def test_options_lie_over_the_recipe_file(served: Served, files: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("goal: {max_drop: 2%, max_size: 1MB}\npasses:\n  - prune: {ratio: 0.25}\nseed: 7\n")
    submitted = run("submit", files[0], "--data", files[1], "--recipe", recipe, "--max-drop", "0.1%", "--json")
    found = json.loads(submitted.stdout)["spec"]["recipe"]
    assert (found["goal"]["max_drop"], found["goal"]["max_size"], found["seed"]) == (0.001, 1_000_000, 7)
    assert found["passes"][0]["prune"]["ratio"] == 0.25


def test_a_finished_job_shows_its_verdict_and_fetches_its_file(
    served: Served, files: tuple[Path, Path], tmp_path: Path
) -> None:
    job_id = run("submit", files[0], "--data", files[1]).stdout.strip()
    with Client() as client:
        finished(served, client.job(job_id), b"bytes")
    shown = run("show", job_id).stdout
    assert "improved" in shown
    assert "prune@inductor refused: wrong on the second call" in shown
    fetched = Path(run("fetch", job_id, "-o", tmp_path / "out").stdout.strip())
    assert fetched.read_bytes() == b"bytes"


def test_an_artifact_that_is_not_there_is_named(served: Served, files: tuple[Path, Path]) -> None:
    job_id = run("submit", files[0], "--data", files[1]).stdout.strip()
    result = run("fetch", job_id, "--artifact", "model.tflite")
    assert result.exit_code == 2
    assert "model.tflite" in result.stderr


def test_what_is_there_is_listed(served: Served, files: tuple[Path, Path]) -> None:
    assert "None yet." in run("models").stdout
    assert "No jobs yet" in run("jobs").stdout
    run("submit", files[0], "--data", files[1])
    models = run("models").stdout
    assert "net:1" in models
    assert "outputs" in models
    assert "labelled" in run("datasets").stdout
    assert "bench-cpu" in run("workers").stdout
    passes = run("passes").stdout
    assert "ratio = 0.5" in passes
    assert "onnxruntime" in passes


@pytest.mark.parametrize("command", ["jobs", "models", "datasets", "workers", "passes"])
def test_json_prints_the_document_of_the_api(served: Served, command: str) -> None:
    assert "items" in json.loads(run(command, "--json").stdout)


def test_faults_in_a_recipe_are_told_before_anything_is_uploaded(served: Served, files: tuple[Path, Path]) -> None:
    result = run("optimize", files[0], "--data", files[1], "--max-drop", "five", "--target", "cpu:none")
    assert result.exit_code == 2
    assert "/goal/max_drop" in result.stderr
    assert "/target/threads" in result.stderr
    assert run("models", "--json").stdout.count("mdl_") == 0


def test_a_recipe_that_is_no_yaml_is_refused_with_its_file(
    served: Served, files: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("goal: {max_drop: [")
    result = run("submit", files[0], "--data", files[1], "--recipe", recipe)
    assert result.exit_code == 2
    assert "recipe.yaml" in result.stderr


def test_a_model_that_is_no_model_is_refused_with_what_to_do(served: Served, tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"not a zip")
    result = run("optimize", tmp_path / "bad.pt2", "--data", "x")
    assert result.exit_code == 2
    assert "Error:" in result.stderr
    assert "Traceback" not in result.output


def test_a_service_that_is_away_has_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("burnish.client.transport.time.sleep", lambda seconds: None)
    result = run("jobs")
    assert result.exit_code == 3
    assert "does not answer" in result.stderr


def test_a_misspelt_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_ULR", "http://127.0.0.1:1")
    result = run("jobs")
    assert result.exit_code == 2
    assert "BURNISH_ULR" in result.stderr


def test_every_command_has_a_help_page() -> None:
    for name in main.commands:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert main.commands[name].help


def test_a_failed_job_shows_every_attempt_and_the_end_of_the_log(served: Served) -> None:
    job = poisoned(served.place)
    shown = run("show", job.id).stdout
    assert "resource.memory" in shown
    for part in ("quantize, attempt 1, after 1.5 s, 3.21 GB at most: Killed, time 1.", "attempt 3", "weights=int8"):
        assert part in shown, shown
    assert "| batch 3 of 40" in shown
    assert "batch 2 of 40" not in shown


def test_the_history_of_a_job_is_printed_whole(served: Served) -> None:
    job = poisoned(served.place)
    lines = run("events", job.id).stdout.splitlines()
    assert [line.split()[2].rstrip(":") for line in lines][:4] == [
        "job.queued", "job.planned", "step.ready", "step.leased",
    ]  # fmt: skip
    assert any(line.endswith("step.retry quantize: attempt 1: Killed, time 1.") for line in lines)
    told = [json.loads(line) for line in run("events", job.id, "--json").stdout.splitlines()]
    assert [event["id"] for event in told] == list(range(1, len(lines) + 1))
    assert told[-1]["kind"] == "job.failed"
    assert len(run("events", job.id, "--after", str(told[-2]["id"])).stdout.splitlines()) == 1
    assert run("events", "job_none").exit_code == 2


def test_a_model_is_pinned_and_unpinned_and_the_list_shows_it(served: Served, files: tuple[Path, Path]) -> None:
    with Client() as client:
        client.upload_model(files[0])
    assert run("pin", "net").stdout == "net:1 is pinned.\n"
    assert "net:1 (pinned)" in run("models").stdout
    assert json.loads(run("pin", "net:1", "--json").stdout)["pinned"] is True
    assert run("unpin", "net").stdout == "net:1 is not pinned.\n"
    assert "pinned" not in run("models").stdout
    assert run("pin", "nothing").exit_code == 2
