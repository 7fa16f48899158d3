"""The doctor's findings: each check well, and each of its faults with a cure."""

from __future__ import annotations

import dataclasses
import socket
import sqlite3
import threading
import tomllib
from pathlib import Path

import pytest

from burnish.local import machine, reach
from burnish.local.doctor import checks
from burnish.settings import Settings
from tests.burnish.local.scenes import ROOT
from tests.seaweed import Seaweed


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"BURNISH_DATA": str(tmp_path / "data")})


def database_at(path: Path, revision: str | None) -> str:
    connection = sqlite3.connect(path)
    if revision is not None:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def test_every_fault_has_a_cure_and_every_name_is_given_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.libraries, "__defaults__", ({"sqlite3": "pip", "no_such_module": "no-such"},))
    found = checks(settings)
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.detail
        assert check.ok or check.cure.endswith("."), check
    assert [check.name for check in found if not check.ok and check.name == "no-such"] == ["no-such"]
    assert not settings.data.exists(), "looking changes nothing"


def test_all_that_the_server_extra_brings_is_imported() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {
        line.partition("[")[0].partition(">")[0].partition("=")[0]
        for line in extras["api"] + extras["server"]
        if not line.startswith("burnish")
    }
    assert set(machine.LIBRARIES.values()) - {"redis"} == wanted, "redis comes with celery[redis]"
    assert f"torch=={machine.TORCH}*" in extras["server"]


def test_a_library_that_is_missing_is_told_with_the_reason() -> None:
    (check,) = machine.libraries({"no_such_module": "no-such"})
    assert (check.name, check.ok) == ("no-such", False)
    assert "No module named" in check.detail
    assert "pip install" in check.cure


def test_a_library_that_ends_python_does_not_end_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fatal_library.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before, fatal, after = machine.libraries({"pip": "pip", "fatal_library": "fatal", "json": "pip"})
    assert before.ok
    assert "status -6" in fatal.detail
    assert "not tried" in after.detail
    assert not after.ok


def test_another_torch_than_the_tested_one_is_a_fault() -> None:
    assert not machine._library("torch", {"version": "2.10.1"}).ok
    assert machine._library("torch", {"version": "2.13.0+cpu"}).ok


def test_a_missing_compiler_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.compiler().ok
    monkeypatch.setenv("CXX", "no-such-compiler")
    check = machine.compiler()
    assert not check.ok
    assert "no-such-compiler" in check.detail


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model name\t: Chip One\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", "Chip One; avx512f; int8 by avx512_vnni"),
        ("model name\t: Old\nflags\t\t: fpu avx2\n\nmodel name\t: Other\n", "Old; avx2; no VNNI"),
        ("Features\t: fp asimd asimddp\n", "unknown model; asimd; int8 by asimddp"),
    ],
)
def test_the_processor_is_told_with_its_int8(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    check = machine.processor(tmp_path / "cpuinfo")
    assert check.ok
    assert check.detail.startswith(words)


def test_a_system_that_does_not_tell_its_processor_is_no_fault(tmp_path: Path) -> None:
    assert machine.processor(tmp_path / "none").ok


def test_a_data_folder_below_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not machine.folder(tmp_path / "file" / "data").ok
    assert machine.folder(tmp_path / "data").ok


def test_a_small_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk(tmp_path).ok
    monkeypatch.setattr(machine, "_FREE_BYTES", 1 << 60)
    assert not machine.disk(tmp_path).ok


def test_a_database_of_this_version_is_well(settings: Settings, tmp_path: Path) -> None:
    newest = reach._newest_revision()
    assert newest is not None
    check = reach.database(dataclasses.replace(settings, database_url=database_at(tmp_path / "db", newest)))
    assert check.ok
    assert f"revision {newest}" in check.detail


def test_a_database_of_another_version_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    check = reach.database(dataclasses.replace(settings, database_url=database_at(tmp_path / "db", "0000")))
    assert not check.ok
    assert "revision 0000" in check.detail


def test_a_database_without_tables_is_no_fault(settings: Settings, tmp_path: Path) -> None:
    assert reach.database(settings).ok
    assert reach.database(dataclasses.replace(settings, database_url=database_at(tmp_path / "db", None))).ok


def test_a_file_that_is_no_database_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "db").write_text("something else entirely, and long enough to be looked at")
    assert not reach.database(dataclasses.replace(settings, database_url=f"sqlite:///{tmp_path / 'db'}")).ok


def test_a_postgresql_that_does_not_answer_is_a_fault_told_without_its_password(settings: Settings) -> None:
    url = "postgresql+psycopg://burnish:secret@127.0.0.1:9/burnish"
    check = reach.database(dataclasses.replace(settings, database_url=url))
    assert not check.ok
    assert "secret" not in check.detail
    assert "BURNISH_DATABASE_URL" in check.cure


def test_the_embedded_broker_has_only_to_be_installed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reach.broker(settings).ok
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not reach.broker(settings).ok


def test_a_broker_that_does_not_answer_is_a_fault_told_without_its_password(settings: Settings) -> None:
    check = reach.broker(dataclasses.replace(settings, broker_url="redis://:secret@127.0.0.1:9/0"))
    assert not check.ok
    assert "secret" not in check.detail
    assert "refused" in check.detail.lower()


def test_a_server_that_hangs_up_is_no_broker(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        server.settimeout(30)
        hanging_up = threading.Thread(target=lambda: server.accept()[0].close())
        hanging_up.start()
        assert not reach.broker(dataclasses.replace(settings, broker_url=url)).ok
        hanging_up.join()


def test_a_bucket_is_reached(
    settings: Settings,
    seaweed: Seaweed,  # the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    assert reach.blobs(dataclasses.replace(settings, blobs_url=seaweed.url("blobs"))).ok
    away = seaweed.url("blobs").replace(f"s3://{seaweed.bucket}/", "s3://no-such-bucket/")
    check = reach.blobs(dataclasses.replace(settings, blobs_url=away))
    assert not check.ok
    assert "AWS_" in check.cure


def test_that_no_service_runs_is_no_fault(settings: Settings) -> None:
    check = reach.service(settings)
    assert check.ok
    assert "none runs" in check.detail
