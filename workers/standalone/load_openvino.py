"""Loads and runs a graph of OpenVINO. Imports nothing of Burnish: it is proof that the file runs without it."""

from __future__ import annotations

import json
import sys
import zipfile
from typing import Any


class Runner:
    """A compiled model with numpy arrays in and out."""

    def __init__(self, openvino: Any, model: Any) -> None:
        self._tensor = openvino.Tensor
        self._request = model.create_infer_request()

    def prepare(self, arrays: list[Any]) -> dict[int, Any]:
        """The arrays as tensors that share their memory; done once, outside the timing."""
        return {index: self._tensor(array, shared_memory=True) for index, array in enumerate(arrays)}

    def run(self, prepared: dict[int, Any]) -> Any:
        """One call. The outputs are those of the last call: the next one writes over them."""
        return self._request.infer(prepared, share_inputs=True, share_outputs=True)

    def arrays(self, outputs: Any) -> list[Any]:
        """The outputs as numpy arrays, in the order of the program's signature."""
        return list(outputs.to_tuple())


def load(path: str, threads: int) -> Runner:
    """Loads the file at `path` for `threads` threads, as its own options say otherwise."""
    # The converter that comes with OpenVINO reports its use over the network where this package is found.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    with zipfile.ZipFile(path) as archive:
        graph, weights, config = (archive.read(f"model.{kind}") for kind in ("xml", "bin", "json"))
    core = openvino.Core()
    options = {**json.loads(config), "INFERENCE_NUM_THREADS": threads}
    return Runner(openvino, core.compile_model(core.read_model(graph, weights), "CPU", options))
