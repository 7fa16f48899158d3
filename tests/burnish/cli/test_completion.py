"""Completion, as a real bash does it with the script that is printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from burnish import Client
from tests.api.place import dataset_bytes
from tests.burnish.cli.test_cli import run
from tests.burnish.conftest import Served

BASH = shutil.which("bash")
in_bash = pytest.mark.skipif(BASH is None, reason="there is no bash here")


def offered(*words: str, folder: Path, **environment: str) -> tuple[list[str], str]:
    """What Tab offers behind these words, and what is said on standard error."""
    program = (
        'eval "$(burnish completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        "compopt() { :; }; _burnish_completion burnish; printf '%s\\n' \"${COMPREPLY[@]}\""
    )  # compopt works only inside a completion that readline began
    done = subprocess.run(
        [str(BASH), "--norc", "-c", program, "bash", *words],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef burnish"), ("fish", "complete --no-files")]
)
def test_the_script_of_each_shell_is_printed(shell: str, word: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert word in result.stdout
    assert "_BURNISH_COMPLETE" in result.stdout


def test_another_shell_is_refused_with_those_there_are() -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr


@in_bash
def test_bash_offers_commands_and_options(tmp_path: Path) -> None:
    assert offered("burnish", "comp", folder=tmp_path) == (["completion"], "")
    assert offered("burnish", "export", "--ten", folder=tmp_path) == (["--tensorboard"], "")


@in_bash
def test_bash_offers_jobs_models_and_datasets_of_the_service(
    served: Served, model_bytes: bytes, tmp_path: Path
) -> None:
    (tmp_path / "net.pt2").write_bytes(model_bytes)
    (tmp_path / "digits.safetensors").write_bytes(dataset_bytes())
    with Client() as client:
        model = client.upload_model(tmp_path / "net.pt2")
        client.upload_model(tmp_path / "net.pt2", name="net; $(touch owned)")
        job = client.submit(model.id, client.upload_dataset(tmp_path / "digits.safetensors").id)
    assert offered("burnish", "watch", "job_", folder=tmp_path) == ([job.id], "")
    assert offered("burnish", "optimize", "ne", folder=tmp_path) == (["net"], "")
    assert offered("burnish", "optimize", "net", "--data", "", folder=tmp_path) == (["digits"], "")
    assert offered("burnish", "aliases", "promote", "net", "job_", folder=tmp_path) == ([job.id], "")
    assert not (tmp_path / "owned").exists()


@in_bash
@pytest.mark.parametrize("fault", ["http://127.0.0.1:1", "no address", ""])
def test_a_service_that_is_away_is_passed_over_in_silence(fault: str, tmp_path: Path) -> None:
    """The last: no address is set, and none runs on this machine. It is not started."""
    began = time.monotonic()
    given = {"BURNISH_URL": fault, "BURNISH_DATA": str(tmp_path / "data")}
    assert offered("burnish", "watch", "", folder=tmp_path, **given) == ([], "")
    assert time.monotonic() - began < 20  # it starts two processes of Python; a client would try for longer
    assert not (tmp_path / "data").exists()


@in_bash
def test_a_wrong_token_and_a_misspelt_setting_are_passed_over_too(served: Served, tmp_path: Path) -> None:
    assert offered("burnish", "watch", "", folder=tmp_path, BURNISH_TOKEN="wrong") == ([], "")
