"""Whether a TPU can be used from this machine, told without importing torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from burnish.local.check import Check

__all__ = ["check", "problem"]

DEVICES = ("accel[0-9]*", "vfio/[0-9]*")
"""Where the kernel shows the chips: of TPUs up to v4, and from v5 on."""


def problem(folder: Path = Path("/dev")) -> tuple[str, str] | None:
    """What is missing, and what to do about it; `None` if torch_xla is installed and a chip is attached."""
    if importlib.util.find_spec("torch_xla") is None:
        return (
            "torch_xla is not installed, without which torch reaches no TPU.",
            "Run this worker on a TPU machine with `pip install 'torch_xla[tpu]'`, or take tpu out of BURNISH_QUEUES.",
        )
    if not any(True for pattern in DEVICES for _ in folder.glob(pattern)):
        return (
            f"No TPU is attached to this machine ({folder}/accel* and {folder}/vfio/* are empty).",
            "Run this worker on a TPU machine, or take tpu out of BURNISH_QUEUES.",
        )
    return None


def check() -> Check:
    """For the doctor of a machine whose worker is to serve TPUs."""
    found = problem()
    return Check("TPU", found is None, "torch_xla and a chip" if found is None else found[0], found[1] if found else "")
