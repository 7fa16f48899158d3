"""What a step's process may do: no network, no foreign files, no privileges, bounded resources, no life of its own.

Called in the child itself, after the fork and before any byte of an upload is read. Each measure that this machine
does not offer is named in the answer; the log of the step shows it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.landlock import restrict_files

__all__ = ["Limits", "confine", "die_with_parent", "set_environment"]

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LARGEST_FILE = 256 * 2**30
_OPEN_FILES = 4096
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix", "/proc", "/sys", "/dev", "/run")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/shm", "/dev/full", "/dev/tty", "/dev/nvidiactl", "/dev/nvidia-uvm")


@dataclass(frozen=True)
class Limits:
    """Bounds of one step's process."""

    memory: int = 0
    """Bytes of private data per process, beyond what its parent held at the fork; 0: no bound."""
    file_size: int = _LARGEST_FILE
    open_files: int = _OPEN_FILES


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when `parent` ends; exits at once if that has happened already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_environment(environment: Mapping[str, str]) -> None:
    """The environment becomes exactly this; Python's notion of the temporary folder follows."""
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None


def confine(limits: Limits, readable: Sequence[Path], writable: Sequence[Path]) -> list[str]:
    """Gives up, for good and for all children, what a step does not need.

    Args:
        readable: files and folders to read, beside the system's and Python's own.
        writable: folders to write in.

    Returns:
        What could not be given up here, as short sentences.
    """
    open_to_all: list[str] = []
    if not _leave_network():
        open_to_all.append("The network is reachable: this kernel grants no user namespace.")
    _limit(limits)  # before files are restricted: it writes below /proc
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    python = [Path(place) for place in (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path) if place]
    system = [Path(place) for place in _SYSTEM]
    devices = [Path(place) for place in _DEVICES] + sorted(Path("/dev").glob("nvidia[0-9]*"))
    if not restrict_files([*system, *python, *readable], [*devices, *writable]):
        open_to_all.append("Files are not restricted: this kernel has no Landlock.")
    os.umask(0o077)
    return open_to_all


def _leave_network() -> bool:
    """An empty network namespace: by a user namespace of one's own, else (as root) directly."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        # Without a map every file would seem to belong to `nobody`, and none could be made.
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
        return True
    return bool(libc.unshare(_CLONE_NEWNET) == 0)


def _limit(limits: Limits) -> None:
    """Rlimits. Not `RLIMIT_AS`: torch and CUDA reserve far more than they use. Not `RLIMIT_NPROC`: it counts all
    processes of the user on the host. Time is watched by the parent."""
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_NOFILE: limits.open_files,
    }
    if limits.memory:
        bounds[resource.RLIMIT_DATA] = limits.memory + _private_data()
    for kind, bound in bounds.items():
        hard = resource.getrlimit(kind)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))
    # If the kernel runs out of memory it shall take the step, not the worker.
    Path("/proc/self/oom_score_adj").write_text("500")


def _private_data() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)
