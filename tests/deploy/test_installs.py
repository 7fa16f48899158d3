"""What each way to install brings: the client alone, the API without torch, and a wheel with all that runs needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.deploy.files import ROOT

WITHOUT = """
import importlib, sys

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Missing)
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
"""Imports modules as if those named first were not installed."""


def closure(extras: frozenset[str]) -> set[str]:
    """Distributions that installing Burnish with these extras brings, by the names that pip compares."""
    found: set[str] = set()
    todo = [("burnish", extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(name)
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # wanted on another platform only
        for requirement in map(Requirement, requires):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                todo.append((_plain(requirement.name), frozenset(requirement.extras)))
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize(
    ("extras", "modules"),
    [
        pytest.param(
            frozenset[str](), ("burnish", "burnish.cli.main", "burnish.client", "burnish.local.doctor"), id="client"
        ),
        pytest.param(
            frozenset({"api"}),
            ("api.__main__", "api.app", "storage.migrate", "storage.blobs_s3", "psycopg", "workers.tick"),
            id="image of the API",
        ),
    ],
)
def test_an_installation_works_with_only_what_it_brings(extras: frozenset[str], modules: tuple[str, ...]) -> None:
    brought = closure(extras)
    assert not brought & {"torch", "numpy", "onnx", "onnxruntime", "safetensors"}
    owners = metadata.packages_distributions().items()
    absent = {module for module, names in owners if not {_plain(name) for name in names} & brought}
    assert {"torch", "numpy"} <= absent
    command = [sys.executable, "-P", "-c", WITHOUT, ",".join(absent), *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in the wheel, built from a copy so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for room in ("burnish", "storage", "workers", "api"):
        shutil.copytree(ROOT / room, folder / "source" / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index",
               "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(folder / "source")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_four_rooms(wheel: set[str]) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for room in ("burnish", "storage", "workers", "api")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted - wheel == set()


def test_templates_static_files_migrations_and_stand_alone_scripts_are_in_it(wheel: set[str]) -> None:
    for name in (
        "api/templates/job.html",
        "api/static/burnish.css",
        "api/static/plots/pareto.js",
        "api/static/vendor/plot.min.js",
        "storage/migrations/versions/0001_first_tables.py",
        "storage/migrations/script.py.mako",
        "workers/standalone/load_inductor.py",
        "workers/standalone/reproduce.py",
        "burnish/py.typed",
    ):
        assert name in wheel, name


def test_tests_benchmarks_and_secrets_are_not(wheel: set[str]) -> None:
    rooms = {name.partition("/")[0] for name in wheel if ".dist-info/" not in name}
    assert rooms == {"burnish", "storage", "workers", "api"}
