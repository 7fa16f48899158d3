"""Starts and drives one contender: a fresh process that runs one artifact on stock software without Burnish."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import workers.standalone
from workers.bundles import BUNDLE, BUNDLE_LOADER, contract_of

__all__ = ["Contender", "ContenderFailed", "loader_of"]

STANDALONE = Path(workers.standalone.__file__).parent
BASELINES = ("eager", "compiled")
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES")
_STDERR_SHOWN = 300


class ContenderFailed(Exception):
    """The artifact's process crashed, ran out of time, or reported an error. The text says which, as a clause."""


def loader_of(backend: str) -> Path:
    """The stand-alone loader of a backend (or of `eager`, `compiled`)."""
    return STANDALONE / f"load_{backend}.py"


class Contender:
    """One process. Use as a context manager: leaving it ends the process.

    The process dies with the thread that started it (PDEATHSIG) and stays in the step's process group, so that
    nothing of it survives the step.
    """

    def __init__(
        self,
        *,
        loader: Path,
        artifact: Path,
        filename: str,
        threads: int,
        folder: Path,
        blocked: Sequence[str] = (),
        compiles: bool = False,
        device: str = "cpu",
    ) -> None:
        """Starts the process; it loads nothing yet.

        Args:
            filename: the name the artifact is loaded under; runtimes look at the ending.
            folder: an empty or missing folder for its scratch files.
            blocked: packages that must not be imported, besides Burnish itself.
            compiles: it may call programs, a compiler above all. An artifact must do without, and then the search
            path is
                empty. (Loading an AOTInductor package takes 0.6 s so; with a compiler in reach, torch spends 10 s on
                probing it for instruction sets, though it compiles nothing.)
            device: where the artifact runs.
        """
        if contract_of(artifact) is not None:  # the model lies inside, with what calls it
            loader, filename = BUNDLE_LOADER, BUNDLE
        self._folder = folder
        self._exchanged = 0
        (folder / "tmp").mkdir(parents=True)
        linked = folder / filename
        linked.symlink_to(artifact.resolve())
        self._stderr = (folder / "stderr").open("w+b")
        command = [sys.executable, "-I", str(STANDALONE / "contender.py"), "--loader", str(loader)]
        command += ["--artifact", str(linked), "--threads", str(threads), "--parent", str(os.getpid())]
        command += ["--device", device]
        command += [part for package in blocked for part in ("--block", package)]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(threads, folder, os.environ.get("PATH", os.defpath) if compiles else ""),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, limit: float) -> float:
        """Loads the artifact; returns the seconds it took, the import of its runtime included."""
        return float(self._ask({"do": "load"}, limit)["seconds"])

    def pin(self, cores: Sequence[int]) -> None:
        """Binds the process and its threads to these cores."""
        self._ask({"do": "pin", "cores": list(cores)}, 30.0)

    def prepare(self, inputs: Sequence[np.ndarray[Any, Any]], limit: float) -> None:
        """Hands over the inputs of the timed calls."""
        self._ask({"do": "prepare", "inputs": self._write(inputs)}, limit)

    def round(self, calls: int, untimed: int, limit: float) -> list[float]:
        """Seconds of each of `calls` calls, after `untimed` ones."""
        return [float(s) for s in self._ask({"do": "round", "calls": calls, "untimed": untimed}, limit)["seconds"]]

    def check(
        self, inputs: Sequence[np.ndarray[Any, Any]], calls: int, limit: float
    ) -> tuple[list[np.ndarray[Any, Any]], list[Mapping[str, Any]]]:
        """Outputs of the first of `calls` calls on one input, and what `reproduce.py` saw at each."""
        outputs = self._folder / "outputs.npz"
        command = {"do": "check", "inputs": self._write(inputs), "outputs": str(outputs), "calls": calls}
        report = self._ask(command, limit)
        with np.load(outputs, allow_pickle=False) as archive:
            arrays = [archive[str(index)] for index in range(len(archive.files))]
        return arrays, report["calls"]

    def peak_memory(self) -> int | None:
        """Peak resident memory of the process so far, in bytes."""
        memory = self._ask({"do": "status"}, 30.0)["peak_memory"]
        return None if memory is None else int(memory)

    def figures(self, limit: float) -> dict[str, float]:
        """What the artifact measures of itself on the prepared inputs; nothing for most."""
        return {str(name): float(value) for name, value in self._ask({"do": "figures"}, limit)["figures"].items()}

    def close(self) -> None:
        """Ends the process at once; it holds nothing worth a goodbye."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # what was still to be written has no reader any more
                    continue

    def _write(self, arrays: Sequence[np.ndarray[Any, Any]]) -> str:
        path = self._folder / "inputs.npz"
        # numpy's stub takes the names for its own flag.
        np.savez(path, **{str(index): array for index, array in enumerate(arrays)})  # type: ignore[arg-type]
        return str(path)

    def _ask(self, command: Mapping[str, Any], limit: float) -> Mapping[str, Any]:
        """Sends one command and waits for its reply.

        Raises:
            ContenderFailed: the process ended, took longer than `limit` seconds, or answered with an error.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContenderFailed(self._ending(str(command["do"]))) from None
        line = self._read_line(str(command["do"]), limit)
        reply: Mapping[str, Any] = json.loads(line)
        if not reply["ok"]:
            raise ContenderFailed(f"{command['do']} failed with {reply['error']}")
        return reply

    def _read_line(self, doing: str, limit: float) -> bytes:
        assert self._process.stdout is not None
        descriptor, until, line = self._process.stdout.fileno(), time.monotonic() + limit, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self._process.kill()
                raise ContenderFailed(f"{doing} took longer than {limit:.0f} s")
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise ContenderFailed(self._ending(doing))
            line += part
        return line

    def _ending(self, doing: str) -> str:
        """How the process ended, with the end of what it printed."""
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        self._stderr.seek(0)
        said = " ".join(self._stderr.read().decode(errors="replace").split())[-_STDERR_SHOWN:]
        return f"its process {how} at {doing}" + (f" ({said})" if said else "")


def _environment(threads: int, folder: Path, path: str) -> dict[str, str]:
    """A small environment: thread counts for every pool, scratch and compiler caches inside `folder`."""
    count = str(threads)
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_NUM_THREADS"), count),
        "PATH": path or str(folder / "no-programs"),
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        # Compiling is most of the time until the first round. Headers are precompiled per scratch folder, which costs
        # more than it saves, and each instruction set is probed by a compilation, though the processor's flags tell.
        # Neither changes the code: a small CNN took 10 s in place of 35 s (on a busy host) and ran as fast.
        "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
        "TORCHINDUCTOR_VEC_ISA_OK": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "2",
        # A package for one batch size would otherwise take any other and return something of the wrong shape.
        "AOTI_RUNTIME_CHECK_INPUTS": "1",
    }
