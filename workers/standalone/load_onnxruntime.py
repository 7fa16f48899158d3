"""Loads and runs an ONNX file. Imports nothing of Burnish: it is proof that the file runs without it."""

from __future__ import annotations

from typing import Any


class Runner:
    """An ONNX Runtime session with numpy arrays in and out."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [value.name for value in session.get_inputs()]

    def prepare(self, arrays: list[Any]) -> dict[str, Any]:
        """The arrays by input name; done once, outside the timing."""
        return dict(zip(self._names, arrays, strict=True))

    def run(self, prepared: dict[str, Any]) -> list[Any]:
        """One call."""
        outputs: list[Any] = self._session.run(None, prepared)
        return outputs

    def arrays(self, outputs: list[Any]) -> list[Any]:
        """The outputs as numpy arrays, which they are."""
        return outputs


def load(path: str, threads: int) -> Runner:
    """Loads the file at `path` for `threads` threads, none of which spin while they wait for work."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return Runner(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
