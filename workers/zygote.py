"""The fork server: imports torch once, never computes, and forks a clean child for every step.

    python -P -m workers.zygote TABLE DESCRIPTOR [PRELOAD…]

A fork of a parent that has computed with torch hangs (its thread pool is gone in the child), so this process imports
and nothing more. It is single-threaded, holds no credentials, and dies with the worker.

Messages, one JSON object a line, over the socket that the worker inherited it:

    worker → zygote  {"spawn": number, "folder": path, "environment": {…}, "limits": {…}, "readable": […]}
    zygote → worker  {"ready": {catalogue}} once, then {"started": number, "pid": pid} and
                     {"exited": number, "status": exit status or -signal, "peak": bytes}
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from workers.catalogue import Catalogue
from workers.sandbox import Limits, confine, die_with_parent, set_environment

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Serves until the worker closes the socket."""
    table, descriptor, *preload = arguments
    die_with_parent(os.getppid())
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # the worker decides; it drains first
    for noisy in _NOISE:
        logging.getLogger(noisy).addFilter(_is_news)
    for module in preload:
        with contextlib.suppress(ImportError):  # an optional library: the step that needs it says so itself
            importlib.import_module(module)
    steps = importlib.import_module(table)
    importlib.import_module("workers.child")  # not at the top: its imports are the steps' own
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page it marks
    server = _Server(socket.socket(fileno=int(descriptor)), steps.STEPS)
    server.send({"ready": Catalogue.read(steps.STEPS, steps.BACKENDS).plain()})
    server.serve()


_NOISE = {
    # Its wheel holds kernels of GPUs that this machine, or this Python, can't load; on a CPU none of them is used.
    "torchao": "Failed to load ",
    # torchao 0.18 registers an Enum in a way that torch 2.13 does not need any more. Only torchao can change that.
    "torch.utils._pytree": "%s is an Enum subclass and is now natively supported",
}
"""What libraries say at import, by logger, that nobody can do anything about."""


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_NOISE[record.name])


class _Server:
    def __init__(self, connection: socket.socket, steps: Mapping[str, Any]) -> None:
        self._connection = connection
        self._steps = steps
        self._numbers: dict[int, int] = {}
        """Number of the request, by pid of the living child."""

    def send(self, message: Mapping[str, Any]) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def serve(self) -> None:
        wake, rung = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(rung, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self._connection, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        pending = b""
        while True:
            for key, _ in selector.select():
                if key.fd == wake:
                    os.read(wake, 4096)
                    self._reap()
                    continue
                data = self._connection.recv(1 << 16)
                if not data:
                    return  # the worker is gone; children die with this process
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._spawn(json.loads(line))

    def _spawn(self, order: Mapping[str, Any]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_step(parent, order)
        self._numbers[pid] = order["spawn"]
        self.send({"started": order["spawn"], "pid": pid})

    def _reap(self) -> None:
        while self._numbers:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # Before it is reaped: until then nobody else can get its number, so the group is surely its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # whatever the step started and left behind
            pid, status, usage = os.wait4(ended.si_pid, 0)
            if (number := self._numbers.pop(pid, None)) is not None:
                code = os.waitstatus_to_exitcode(status)
                self.send({"exited": number, "status": code, "peak": usage.ru_maxrss * 1024})

    def _become_step(self, parent: int, order: Mapping[str, Any]) -> NoReturn:
        """Everything from here on happens in the child."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(name, signal.SIG_DFL)
            os.setsid()
            folder = Path(order["folder"])
            _redirect(folder / "told" / "log.txt")
            self._connection.close()
            set_environment(order["environment"])
            writable = [folder / part for part in ("work", "tmp", "told")]
            missing = confine(Limits(**order["limits"]), [folder, *map(Path, order["readable"])], writable)
            for sentence in missing:
                print(f"sandbox: {sentence}", flush=True)
            die_with_parent(parent)  # last: a change of credentials above would have cleared it
            from workers.child import run_step  # imported by now

            status = run_step(self._steps, folder)
        except BaseException:  # noqa: BLE001 - a fork must never return into the server's loop, whatever happened
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _redirect(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(source, number)
    os.close(nothing)
    os.close(target)
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 1, 0)  # C code's lines arrive as they are printed


if __name__ == "__main__":
    main(sys.argv[1:])
