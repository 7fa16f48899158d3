"""A model that is called by keyword goes through all steps, and its artifact has the names that its users know."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.torch import save_file

from burnish.passes import Quantize
from burnish.results import Quality
from tests import keywords
from tests.workers.quantized import THIRD_PARTY
from tests.workers.steps.contexts import context
from workers.passes import RUNNERS
from workers.steps.apply_pass import ApplyPass
from workers.steps.capture import Capture
from workers.steps.lower import Lower
from workers.steps.split import Split
from workers.steps.verify import Verify

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


def test_from_the_upload_to_an_int8_artifact_that_verifies(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(keywords.archive())
    given = keywords.example(64, seed=1)
    arrays = {
        "extra_scale": given["extra"]["scale"],
        "attention_mask": given["attention_mask"],
        "input_ids": given["input_ids"],
        "targets": keywords.module()(**given).logits.argmax(1),
    }
    save_file(arrays, tmp_path / "data")

    program = Capture().run(context(tmp_path / "capture", {"model": tmp_path / "model"}, {})).outputs["program"]
    split = Split().run(context(tmp_path / "split", {"program": program, "dataset": tmp_path / "data"}, {})).outputs
    inputs = {"program": program, "original": program, "calibration": split["calibration"]}
    settings = Quantize().model_dump(mode="json")
    quantized = ApplyPass(RUNNERS["quantize"]).run(context(tmp_path / "quantize", inputs, settings)).outputs["program"]
    inputs = {"program": quantized, "calibration": split["calibration"]}
    lowered = Lower().run(context(tmp_path / "lower", inputs, {"backend": "onnxruntime"}))
    inputs = {
        "program": quantized,
        "original": program,
        "artifact": lowered.outputs["artifact"],
        "heldout": split["heldout"],
    }
    verified = Verify().run(context(tmp_path / "verify", inputs, {"backend": "onnxruntime"})).report

    assert "refused" not in verified
    quality = Quality.model_validate(verified["quality"])
    assert (quality.metric, quality.original) == ("top1", 1.0)
    usage = lowered.report["usage"]
    assert '"input_ids": input_ids, "attention_mask": attention_mask, "extra_scale": extra_scale' in usage
    assert "# The outputs are, in this order: logits, states_0, states_1\n" in usage
    session = onnxruntime.InferenceSession(str(lowered.outputs["artifact"]), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {name: arrays[name].numpy() for name in keywords.INPUTS})
    assert np.mean(logits.argmax(1) == arrays["targets"].numpy()) > 0.9
