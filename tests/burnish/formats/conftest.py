"""A quantized program, made once."""

import warnings
from pathlib import Path

import pytest
import torch
from torch.export import Dim

from tests import models


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `mlp` as torchao quantizes it to int8, saved by torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao and what it calls in torch warn of their own deprecations
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(models.program("mlp").module(), quantizer)
        prepared(*models.example("mlp", 16))
        shapes = ({0: Dim("batch", min=1, max=256)},)
        program = torch.export.export(convert_pt2e(prepared), models.example("mlp"), dynamic_shapes=shapes)
    path = tmp_path_factory.mktemp("quantized") / "mlp.pt2"
    torch.export.save(program, path)
    return path
