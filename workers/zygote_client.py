"""The worker's side of the zygote: starts it, keeps it alive, and hands out child processes that can be waited for."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import workers
from burnish.errors import InternalError
from workers.catalogue import Catalogue
from workers.process_tree import kill_tree
from workers.sandbox import Limits

__all__ = ["PRELOAD", "Child", "Zygote"]

logger = logging.getLogger(__name__)

PRELOAD = (
    "torch",
    "torch.export",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torchao.quantization.pt2e.quantize_pt2e",
    "torch.export._trace",
    "sympy.combinatorics",
    "onnx",
    "onnxscript.function_libs.torch_lib.ops",
    "onnxscript.rewriter.onnx_fusions",
)
"""What steps import anyway and what is slow to import."""

_ROOT = Path(workers.__file__).parents[1]
_START_LIMIT = 120.0
_LOOK = 0.1
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CC", "CXX")


class Child:
    """A step's process."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._started = threading.Event()
        self._ended = threading.Event()
        self._unwanted = False
        self.pid = 0
        self.status: int | None = None
        """Exit status; negative: the signal that ended it; `None` while it runs, or if its end was never seen
        because the zygote died."""
        self.peak = 0
        """Peak resident bytes as the kernel counted them, known at the end."""

    def wait(self, timeout: float) -> bool:
        """True once it has ended."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for it and all it started, and waits for its end; one that has yet to start is killed then."""
        self._unwanted = True
        if self.pid:
            if not self._ended.is_set():
                kill_tree(self.pid)
            self._ended.wait(5.0)

    def _start(self, pid: int) -> None:
        self.pid = pid
        self._started.set()
        if self._unwanted:
            kill_tree(pid)

    def _end(self, status: int | None, peak: int) -> None:
        self.status, self.peak = status, peak
        self._ended.set()
        self._started.set()


class Zygote:
    """One fork server, restarted whenever it dies. Safe to use from many threads."""

    def __init__(self, table: str, preload: Sequence[str] = PRELOAD) -> None:
        """
        Args:
            table: module that holds `STEPS` and `BACKENDS`.
            preload: modules to import beside it; those that are missing are passed over.
        """
        self._table = table
        self._preload = preload
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._closed = False
        self._numbers = 0
        self._children: dict[int, Child] = {}
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._catalogue: Catalogue | None = None
        # A dead-parent signal is bound to the thread that forked, so the zygote needs one that lives as long as we do.
        self._keeper = threading.Thread(target=self._keep, name="zygote-keeper", daemon=True)

    def start(self) -> Catalogue:
        """Starts it and waits until it is ready.

        Returns:
            What it found in the table.

        Raises:
            InternalError: it did not come up; its words are in the worker's log.
        """
        self._keeper.start()
        if not self._ready.wait(_START_LIMIT) or self._catalogue is None:
            self.close()
            raise InternalError(
                f"The process that starts steps did not come up (table {self._table}).",
                cure="See the lines before this one; usually a library is missing: pip install 'burnish[server]'.",
            )
        return self._catalogue

    @property
    def pid(self) -> int:
        """Of the zygote that serves now; 0 between two."""
        return self._process.pid if self._process is not None else 0

    def spawn(
        self,
        folder: Path,
        environment: Mapping[str, str],
        limits: Limits,
        readable: Sequence[Path],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Child | None:
        """Forks a child that runs the step described in `folder` (see `workers/child.py`).

        Args:
            stopped: asked while it is waited for; true to give up.

        Returns:
            `None` if waiting was given up; then the step does not run, or is killed as soon as it begins to.

        Raises:
            InternalError: the zygote is down and did not come back, or hangs; then it is started again.
        """
        if not _wait(self._ready, stopped):
            if stopped():
                return None
            raise InternalError("The process that starts steps is down.", cure="See the worker's log.")
        child = self._ordered(folder, environment, limits, readable)
        if _wait(child._started, stopped):
            return child
        child.kill()
        if stopped():
            return None
        self._kill()
        raise InternalError(
            f"The process that starts steps did not start one within {_START_LIMIT:.0f} s.", cure="It is started again."
        )

    def _ordered(self, folder: Path, environment: Mapping[str, str], limits: Limits, readable: Sequence[Path]) -> Child:
        with self._lock:
            self._numbers += 1
            child = self._children[self._numbers] = Child(self._numbers)
            order = {
                "spawn": self._numbers,
                "folder": str(folder),
                "environment": {**_inherited(), **environment},
                "limits": asdict(limits),
                "readable": [str(path) for path in readable],
            }
            try:
                if self._connection is None:
                    raise BrokenPipeError
                self._connection.sendall(json.dumps(order).encode() + b"\n")
            except OSError as error:
                del self._children[self._numbers]
                raise InternalError("The process that starts steps died.", cure="It is started again.") from error
        return child

    def close(self) -> None:
        """Ends the zygote; its children die with it."""
        self._closed = True
        self._kill()
        if self._keeper.is_alive():
            self._keeper.join(5.0)

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)

    def _keep(self) -> None:
        while not self._closed:
            began = time.monotonic()
            try:
                self._serve_one()
            except OSError:
                logger.exception("The zygote could not be served")
            self._ready.clear()
            self._abandon()
            if not self._closed:
                logger.warning("The zygote ended; starting another")
                time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))

    def _serve_one(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "workers.zygote", self._table, str(theirs.fileno()), *self._preload]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env={**_inherited(), "PYTHONPATH": str(_ROOT), "HOME": "/", "OMP_NUM_THREADS": "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._connection = ours
        try:
            with ours, ours.makefile("rb") as lines, suppress(ConnectionResetError):  # killed before it read an order
                for line in lines:
                    self._receive(json.loads(line))
        finally:
            self._process.kill()
            self._process.wait()

    def _receive(self, message: dict[str, object]) -> None:
        match message:
            case {"ready": dict(plain)}:
                self._catalogue = Catalogue.from_plain(plain)
                self._ready.set()
            case {"started": int(number), "pid": int(pid)}:
                self._children[number]._start(pid)
            case {"exited": int(number), "status": int(status), "peak": int(peak)}:
                self._children.pop(number)._end(status, peak)

    def _abandon(self) -> None:
        """The zygote is dead, and by its death every child is."""
        with self._lock:
            self._connection = None
            children, self._children = list(self._children.values()), {}
        for child in children:
            child._end(None, 0)


def _wait(event: threading.Event, stopped: Callable[[], bool]) -> bool:
    """Whether it came within the time of a start, and before it was given up."""
    until = time.monotonic() + _START_LIMIT
    while not event.wait(_LOOK):
        if stopped() or time.monotonic() > until:
            return False
    return True


def _inherited() -> dict[str, str]:
    """The few variables that a step may see: no secrets, no settings of Burnish."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
