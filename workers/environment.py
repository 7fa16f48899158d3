"""What this worker runs on: device, processor, memory, versions, and one fingerprint of what results may depend on."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from burnish import __version__
from burnish.document import canonical_json
from workers.isa import isa

__all__ = ["ANNOUNCED", "Environment", "version_of"]

ANNOUNCED = ("torch", "torchao", "onnx", "onnxruntime", "onnxscript", "openvino", "numpy", "safetensors")
"""Distributions whose versions a worker announces."""


_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Version 2 of control groups (`max`: no limit), then version 1."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One machine with what is installed on it."""

    device: str
    """Device class: the first queue it serves."""
    isa: tuple[str, ...]
    cpu: str
    """Model of the processor."""
    threads: int
    """Processors this process may use."""
    memory: int
    """Bytes that its processes may use: those of the machine, or of the container's limit if that is less."""
    versions: Mapping[str, str]
    """Of Burnish, Python and each library it announces; those not installed are left out."""

    @classmethod
    def of_this_machine(cls, device: str) -> Environment:
        """Looks around; imports none of the libraries."""
        found = {name: version_of(name) for name in ANNOUNCED}
        return cls(
            device=device,
            isa=isa(),
            cpu=_cpu_model(),
            threads=len(os.sched_getaffinity(0)),
            memory=_memory(),
            versions={
                "burnish": __version__,
                "python": platform.python_version(),
                **{name: version for name, version in found.items() if version != "none"},
            },
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex: equal for workers that can stand in for each other."""
        parts = {"device": self.device, "isa": self.isa, "cpu": self.cpu, "versions": dict(self.versions)}
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    def library_versions(self, names: Iterable[str]) -> dict[str, str]:
        """Versions of these distributions as installed here, and of Python itself."""
        return {"python": self.versions["python"], **{name: version_of(name) for name in sorted(set(names))}}


@cache
def version_of(distribution: str) -> str:
    """Installed version, or `none`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def _memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _MEMORY_LIMITS:
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue  # another version of control groups, or none
        return min(machine, int(text)) if text.isdigit() else machine
    return machine


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part")))
    return next(names, platform.machine())
