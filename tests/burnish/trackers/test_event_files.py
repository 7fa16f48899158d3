"""TensorBoard's event files, read back by TensorBoard's own readers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from burnish.trackers import to_tensorboard
from tests.burnish.results import judged

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore:pkg_resources is deprecated:UserWarning",  # tensorboard 2.21, when its plugins are imported
)


def _read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return found


def _number(found: Any, tag: str) -> float:
    from tensorboard.util.tensor_util import make_ndarray

    (event,) = found.Tensors(tag)
    return float(make_ndarray(event.tensor_proto))


def _text(found: Any, tag: str) -> str:
    (event,) = found.Tensors(tag)
    return str(event.tensor_proto.string_val[0].decode())


def test_a_job_is_a_run_with_texts_and_the_figures_of_its_steps(tmp_path: Path) -> None:
    found = _read(to_tensorboard(judged(), tmp_path))
    assert "4.0× faster" in _text(found, "verdict")
    assert "import onnxruntime" in _text(found, "usage")
    assert _number(found, "step/distill/loss_after") == 0.25
    assert _number(found, "job/speedup_over_eager") == 4.0


def test_each_candidate_is_a_run_with_scalars_in_a_table_of_hparams(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    home = to_tensorboard(judged(), tmp_path)
    assert {path.name for path in home.iterdir() if path.is_dir()} == {
        "eager", "compiled", "original@onnxruntime", "prune@onnxruntime", "prune@inductor",
    }  # fmt: skip
    found = _read(home / "prune@onnxruntime")
    assert _number(found, "latency_median_seconds") == pytest.approx(0.0005)
    assert _number(found, "speedup_over_compiled_high") == pytest.approx(3.03)
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    told = metadata.parse_session_start_info_plugin_data(content).hparams
    assert (told["backend"].string_value, told["passes.0.prune.ratio"].number_value) == ("onnxruntime", 0.5)
    assert "wrong on the second call" in _text(_read(home / "prune@inductor"), "notes")


def test_the_same_job_again_replaces_what_was_there_and_leaves_the_rest(tmp_path: Path) -> None:
    home = to_tensorboard(judged(), tmp_path)
    other = home / "events.out.tfevents.1.of-another"
    other.write_bytes(b"")
    before = sum(path.is_file() for path in home.rglob("*"))
    assert sum(path.is_file() for path in to_tensorboard(judged(), tmp_path).rglob("*")) == before
    assert other.exists()


def test_neither_torch_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.burnish.results import judged; from burnish.trackers import to_tensorboard;"
        "assert 'tensorboard' not in sys.modules; to_tensorboard(judged(), sys.argv[1]);"
        "assert not {'torch', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
