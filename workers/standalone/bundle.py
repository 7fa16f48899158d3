"""Opens an artifact that comes with the Python it needs around the model. Imports nothing of Burnish.

Such an artifact is a `.zip` of plain files: the model as its runtime loads it (`model.onnx`, …), `contract.json` that
says how it is called, the module that calls it so (`stateful.py` or `memo.py`), the loader of the runtime, this file,
and `usage.txt`. Nothing but numpy and the runtime is needed:

    import sys
    sys.path.insert(0, "model.zip")
    import bundle
    model = bundle.load("model.zip", threads=1)
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
import zipfile
from typing import Any

CONTRACT = "contract.json"


def load(path: str, threads: int = 1) -> Any:
    """The model in the bundle at `path`, ready to be called as its contract says."""
    folder = tempfile.TemporaryDirectory(prefix="model-")
    with zipfile.ZipFile(path) as archive:
        contract = json.loads(archive.read(CONTRACT))
        for name in (contract["file"], contract["loader"]):
            archive.extract(name, folder.name)
    runner = _loader(os.path.join(folder.name, contract["loader"])).load(
        os.path.join(folder.name, contract["file"]), threads
    )
    if path not in sys.path:
        sys.path.insert(0, path)
    model = importlib.import_module(contract["module"]).wrap(runner, contract)
    model.folder = folder  # removed with the model
    return model


def _loader(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("runtime_loader", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
