"""Runs a function in a forked process, so that a crash or a hang of it ends neither the matrix nor its neighbours."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["Crashed", "in_child"]

_TOLD = 1500


class Crashed(Exception):
    """The function raised, crashed or took too long. The text is the end of what is known."""


def in_child(work: Callable[..., None], *arguments: Any, limit: float, log: Path) -> None:
    """Runs it to its end in a process group of its own; what it prints goes to `log`.

    This process must not have computed with torch before: a fork of one that has hangs.

    Raises:
        Crashed: it did not end well.
    """
    child = multiprocessing.get_context("fork").Process(target=_run, args=(work, arguments, log))
    child.start()
    child.join(limit)
    late = child.is_alive()
    if late and child.pid is not None:
        os.killpg(child.pid, signal.SIGKILL)
        child.join()
    if late:
        raise Crashed(f"it took longer than {limit:.0f} s")
    if child.exitcode:
        how = f"signal {signal.Signals(-child.exitcode).name}" if child.exitcode < 0 else f"status {child.exitcode}"
        raise Crashed(f"{how}: {log.read_text(errors='replace')[-_TOLD:]}")


def _run(work: Callable[..., None], arguments: tuple[Any, ...], log: Path) -> None:
    os.setpgid(0, 0)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        torch.manual_seed(0)
        try:
            work(*arguments)
        # A boundary: whatever the work runs into is what the matrix has to tell.
        except Exception:  # noqa: BLE001
            traceback.print_exc(file=file)
            file.flush()
            os._exit(1)
