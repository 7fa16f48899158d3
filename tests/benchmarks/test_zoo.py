"""The zoo unpacks what lies in its cache folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.matrix.zoo import Zoo


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="it needs dpkg")
def test_a_fresh_zoo_may_begin_with_a_package_of_debian(tmp_path: Path) -> None:
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN" / "control").write_text(
        "Package: small\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: one file\n"
    )
    (content / "file").write_text("here")
    zoo = Zoo(tmp_path / "zoo")
    built = tmp_path / "zoo" / "dl" / "small_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", content, built], check=True, capture_output=True)
    assert (zoo.debian("small") / "file").read_text() == "here"
