"""The Dockerfiles, by their text: there is no docker engine where the tests run."""

from __future__ import annotations

import re

import pytest

from tests.deploy.files import DEPLOY, ROOT
from workers.worker import GRACE

DOCKERFILES = ("Dockerfile.api", "Dockerfile.worker")
CODE = ("burnish", "storage", "api", "workers")


def instructions(name: str) -> list[tuple[str, str]]:
    """Instruction and argument, continued lines joined, comments left out."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_base_images_are_named_by_version(name: str) -> None:
    told = instructions(name)
    defaults = dict(rest.split("=", 1) for word, rest in told if word == "ARG" and "=" in rest)
    stages = {rest.split(" AS ")[1] for word, rest in told if word == "FROM" and " AS " in rest}
    for image in (rest.split()[0] for word, rest in told if word == "FROM"):
        image = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], image)
        assert image in stages or re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", image), image


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_process_is_not_root_and_gets_the_signals(name: str) -> None:
    told = instructions(name)
    assert [rest for word, rest in told if word == "USER"] == ["10001:10001"]
    assert all(rest.startswith("[") for word, rest in told if word in ("CMD", "ENTRYPOINT"))
    assert any(word == "CMD" for word, _ in told)
    assert [rest for word, rest in told if word == "HEALTHCHECK"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_no_secret_and_nothing_fetched_by_hand_gets_into_an_image(name: str) -> None:
    for word, rest in instructions(name):
        assert word != "ADD", "COPY does not fetch or unpack"
        assert not re.search(r"password|secret|token", rest, re.IGNORECASE), rest
        assert not re.search(r"\bcurl\b|\bwget\b|https?://", rest), rest


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_that_is_copied_exists_and_is_let_into_the_build(name: str) -> None:
    ignore = (DEPLOY / f"{name}.dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions(name)
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert copied >= {"pyproject.toml", *CODE}
    for source in copied:
        assert (ROOT / source).exists(), source


def test_each_image_installs_its_own_extra() -> None:
    text = {name: (DEPLOY / name).read_text() for name in DOCKERFILES}
    assert "'.[api]'" in text["Dockerfile.api"]
    assert "'.[server]'" in text["Dockerfile.worker"]


def test_the_worker_has_both_targets_a_compiler_and_somebody_who_reaps_orphans() -> None:
    told = instructions("Dockerfile.worker")
    stages = [rest.split(" AS ")[1] for word, rest in told if word == "FROM"]
    assert stages[-2:] == ["cpu", "cuda"]
    assert any(word == "RUN" and re.search(r"install .*g\+\+ tini", rest) for word, rest in told)
    assert ("ENTRYPOINT", '["/usr/bin/tini", "--"]') in told
    assert f"after {GRACE:.0f} s" in (DEPLOY / "Dockerfile.worker").read_text()
