"""Artifacts that come with the Python they need around the model: written here, opened by `standalone/bundle.py`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import workers.standalone
from workers.calling import MemoContract, StateContract, parsed

__all__ = ["BUNDLE", "BUNDLE_LOADER", "contract_of", "notes", "usage", "write_bundle"]

_STANDALONE = Path(workers.standalone.__file__).parent
BUNDLE = "model.zip"
"""Name of such an artifact for users."""
BUNDLE_LOADER = _STANDALONE / "bundle.py"
_CONTRACT = "contract.json"
_MODULES = {"state": "stateful", "memo": "memo"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_bundle(model: Path, backend: str, calling: StateContract | MemoContract, usage: str, path: Path) -> None:
    """Writes the bundle: same contents, same bytes.

    Args:
        model: the artifact of the backend, under the name its runtime knows it by.
        usage: how to use the bundle, for a reader of `usage.txt`.
    """
    module, loader = _MODULES[calling.kind], f"load_{backend}.py"
    contract = {**calling.model_dump(mode="json"), "module": module, "file": model.name, "loader": loader}
    texts = {_CONTRACT: json.dumps(contract, indent=1), "usage.txt": usage}
    files = [model, BUNDLE_LOADER, _STANDALONE / f"{module}.py", _STANDALONE / loader]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, text in texts.items():
            archive.writestr(_info(name), text)
        for file in files:
            archive.writestr(_info(file.name), file.read_bytes())


def contract_of(artifact: Path) -> StateContract | MemoContract | None:
    """The contract of an artifact that is a bundle; `None` for any other artifact."""
    if not zipfile.is_zipfile(artifact):
        return None
    with zipfile.ZipFile(artifact) as archive:
        if _CONTRACT not in archive.namelist():
            return None
        plain = json.loads(archive.read(_CONTRACT))
    return parsed(json.dumps({key: plain[key] for key in plain if key not in ("module", "file", "loader")}))


def usage(calling: StateContract | MemoContract, inside: str, filename: str) -> str:
    """Lines of Python that run the bundle, and what to know to do without them.

    Args:
        inside: the backend's own lines, for the model in the bundle.
        filename: its name there.
    """
    lines = [
        "import sys",
        f'sys.path.insert(0, "{BUNDLE}")  # the Python in it needs numpy and the runtime, and nothing of Burnish',
        "import bundle",
        f'model = bundle.load("{BUNDLE}", threads=1)',
    ]
    lines += _state_lines(calling) if isinstance(calling, StateContract) else _memo_lines(calling)
    lines += [f"# Or unzip it and call {filename} yourself:", *(f"#   {line}" for line in inside.splitlines())]
    return "\n".join(lines) + "\n"


def notes(calling: StateContract | MemoContract, figures: Mapping[str, float]) -> list[str]:
    """What a reader of the measurement must know: what one call is, and when the bundle pays."""
    if isinstance(calling, StateContract):
        return [
            "One call is one more step, given the carried state. It is measured next to the original's call on the "
            "whole window, which is what one more step costs there."
        ]
    call, hit, overhead = (figures[f"{name}_seconds"] for name in ("call", "hit", "overhead"))
    rate = figures["break_even_hit_rate"]
    pays = f"It pays from a hit rate of {rate:.1%} on." if rate < 1 else "It does not pay at any hit rate."
    return [
        f"The latency is that of calls that are not in memory. The model alone takes {1e6 * call:.1f} µs, an answer "
        f"from memory {1e6 * hit:.1f} µs, and a call that is not in memory {1e6 * overhead:.1f} µs more. {pays}"
    ]


def _state_lines(calling: StateContract) -> list[str]:
    inputs = [each.name for each in calling.inputs]
    lines = [
        "state = model.start(batch=1)  # zeros",
        f"for {', '.join(inputs)} in steps:  # numpy arrays of length 1 along axis {calling.inputs[0].axis}",
        f"    outputs, state = model.step([{', '.join(inputs)}], state)",
        "# The state, all zeros in front of a sequence:",
    ]
    for each in calling.states:
        shape = ", ".join("batch" if side is None else str(side) for side in each.shape)
        lines.append(f"#   {each.name}: {each.dtype} ({shape})")
    lines.append(
        f"# Outputs are {len(calling.outputs)} of the step, then the state in this order: each goes to the input of "
        "its name at the next step."
    )
    if calling.most_steps is not None:
        lines.append(f"# A sequence has at most {calling.most_steps} steps; later ones would be computed wrongly.")
    return lines


def _memo_lines(calling: MemoContract) -> list[str]:
    return [
        "outputs = model(inputs)  # list of numpy arrays in, list of numpy arrays out; safe to call from many threads",
        f"# Inputs and outputs of up to {calling.max_bytes} bytes are kept; what was used least recently goes first.",
    ]


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # the same on every platform
    info.external_attr = 0o644 << 16
    return info
