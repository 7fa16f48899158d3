"""One contender: a process that runs one artifact on stock software, told what to do line by line.

It imports nothing of ours.

    python -I contender.py --loader load_NAME.py --artifact FILE --threads N [--device cuda]
        [--block torchao] [--parent PID]

`-I` keeps the working directory, the script's folder, `PYTHON*` variables and the user's site-packages out of
`sys.path`, and leaves the environment's own site-packages in. Commands are JSON objects, one a line, on stdin; each
gets one line back on stdout: `{"ok": true, …}` or `{"ok": false, "error": …}`. What libraries print goes to stderr.
Between commands the process blocks in a read.

| do | fields | reply |
| --- | --- | --- |
| load | | seconds |
| pin | cores | cores |
| prepare | inputs | |
| round | calls, untimed | seconds: [one per call] |
| check | inputs, outputs, calls | agreement of repeated calls (see `reproduce.py`) |
| figures | | figures: {name: number}, of an artifact that measures itself on the prepared inputs |
| status | | peak_memory (bytes, since the process started) |
| quit | | |

`inputs` and `outputs` are `.npz` files with arrays named 0, 1, …
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, TextIO

OURS = ("burnish", "workers", "storage", "api")
PR_SET_PDEATHSIG = 1


class ImportBlock(importlib.abc.MetaPathFinder):
    """Refuses modules that the artifact must do without, even where they are installed."""

    def __init__(self, roots: Iterable[str]) -> None:
        self.roots = frozenset(roots)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raises for a blocked module, leaves every other one to the finders behind."""
        if fullname.partition(".")[0] in self.roots:
            raise ModuleNotFoundError(f"blocked import of {fullname!r}: an artifact must run without it", name=fullname)


def load_file(path: str, name: str) -> ModuleType:
    """The module in the file at `path`, which need not lie on `sys.path`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends; leaves at once if that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:
        sys.exit(0)


def pin(cores: Sequence[int]) -> list[int]:
    """Binds every thread of this process, those of the runtime's pools too, to the given cores."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), cores)
        except ProcessLookupError:  # the thread ended meanwhile
            continue
    return sorted(os.sched_getaffinity(0))


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


class Session:
    """The commands, by name."""

    def __init__(self, loader: str, artifact: str, threads: int, device: str = "cpu") -> None:
        self.loader, self.artifact, self.threads = loader, artifact, threads
        # Only what runs on more than the processor has a loader that takes a device.
        self.options = {} if device == "cpu" else {"device": device}
        self.runner: Any = None
        self.prepared: Any = None

    def load(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Loads the artifact; the time includes the import of its runtime, as a user's first load does."""
        started = time.perf_counter()
        self.runner = load_file(self.loader, "loader").load(self.artifact, self.threads, **self.options)
        return {"seconds": time.perf_counter() - started}

    def pin(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Binds the process to the cores of the target."""
        return {"cores": pin(command["cores"])}

    def prepare(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Makes ready the inputs of the timed calls."""
        self.prepared = self.runner.prepare(read_arrays(command["inputs"]))
        gc.collect()
        gc.freeze()  # torch leaves so many objects that a collection takes 0.1 s
        return {}

    def round(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Calls the artifact `untimed` + `calls` times; the first ones bring it back into the processor's caches."""
        # What repeats nothing when the same inputs come again says so by another method for timed calls.
        run = getattr(self.runner, "timed", self.runner.run)
        prepared, clock = self.prepared, time.perf_counter
        seconds = []
        gc.disable()
        for _ in range(command["untimed"]):
            run(prepared)
        for _ in range(command["calls"]):
            started = clock()
            outputs = run(prepared)
            seconds.append(clock() - started)
            del outputs  # freeing them is not part of the call
        gc.enable()
        return {"seconds": seconds}

    def check(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Calls the artifact several times on one input and reports what changed; see `reproduce.py`."""
        reproduce = load_file(os.path.join(os.path.dirname(os.path.abspath(__file__)), "reproduce.py"), "reproduce")
        arrays = read_arrays(command["inputs"])
        outputs, report = reproduce.repeat(self.runner, arrays, command["calls"])
        write_arrays(command["outputs"], outputs)
        return dict(report)

    def figures(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """What the artifact measures of itself."""
        measured = getattr(self.runner, "figures", None)
        return {"figures": {} if measured is None else measured(self.prepared)}

    def status(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The figures of the process."""
        return {"peak_memory": peak_memory()}


def read_arrays(path: str) -> list[Any]:
    """The arrays of an `.npz` file, in the order of their numbers."""
    import numpy

    with numpy.load(path, allow_pickle=False) as archive:
        return [archive[str(index)] for index in range(len(archive.files))]


def write_arrays(path: str, arrays: Sequence[Any]) -> None:
    """Writes arrays as `.npz`, named 0, 1, …"""
    import numpy

    numpy.savez(path, **{str(index): array for index, array in enumerate(arrays)})


def serve(session: Session, commands: Iterable[str], replies: TextIO) -> None:
    """Obeys commands until `quit` or the end of the input."""
    for line in commands:
        command = json.loads(line)
        if command["do"] == "quit":
            break
        try:
            reply = {"ok": True, **getattr(session, command["do"])(command)}
        # A boundary: whatever the artifact or its runtime raises is reported to the parent.
        except Exception as error:  # noqa: BLE001
            reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Reads the arguments, shuts out what must not be imported, and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loader", required=True)
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--block", action="append", default=[])
    parser.add_argument("--parent", type=int, default=0)
    options = parser.parse_args()
    die_with_parent(options.parent)
    sys.meta_path.insert(0, ImportBlock((*OURS, *options.block)))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints must not end up between the replies
    serve(Session(options.loader, options.artifact, options.threads, options.device), sys.stdin, replies)


if __name__ == "__main__":
    main()
