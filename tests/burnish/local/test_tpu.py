"""A TPU is told by torch_xla and by the chips that the kernel shows; without either nothing is served."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.errors import BadSetting
from burnish.local import tpu
from burnish.settings import Settings
from workers.worker import run_worker


@pytest.fixture
def torch_xla(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed."""
    monkeypatch.setattr(tpu.importlib.util, "find_spec", lambda name: object())


def test_without_torch_xla_it_is_told_what_to_install(tmp_path: Path) -> None:
    found = tpu.problem(tmp_path)
    assert found is not None
    assert "torch_xla" in found[0]
    assert "pip install" in found[1]
    assert not tpu.check().ok


@pytest.mark.usefixtures("torch_xla")
def test_without_a_chip_it_is_told_that_none_is_attached(tmp_path: Path) -> None:
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()  # the kernel's own node, which is there without any chip
    found = tpu.problem(tmp_path)
    assert found is not None
    assert "No TPU is attached" in found[0]


@pytest.mark.usefixtures("torch_xla")
@pytest.mark.parametrize("chip", ["accel0", "vfio/0"])
def test_a_chip_that_the_kernel_shows_is_found(chip: str, tmp_path: Path) -> None:
    (tmp_path / chip).parent.mkdir(exist_ok=True)
    (tmp_path / chip).touch()
    assert tpu.problem(tmp_path) is None


def test_a_worker_for_tpus_refuses_to_start_without_one(tmp_path: Path) -> None:
    settings = Settings.from_environment({"BURNISH_DATA": str(tmp_path / "data")})
    with pytest.raises(BadSetting, match="torch_xla") as raised:
        run_worker(dataclasses.replace(settings, queues=("cpu", "tpu")))
    assert raised.value.where == "BURNISH_QUEUES"
    assert not (tmp_path / "data").exists()


def test_a_worker_for_tpus_says_so_and_exits(tmp_path: Path) -> None:
    environment = {**os.environ, "BURNISH_QUEUES": "tpu", "BURNISH_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-m", "workers"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "torch_xla" in done.stderr
    assert "BURNISH_QUEUES" in done.stderr
