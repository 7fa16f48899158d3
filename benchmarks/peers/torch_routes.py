"""PyTorch's own routes: AOTInductor, and torchao's PT2E quantization for x86.

As https://docs.pytorch.org/ao/stable/pt2e_quantization/pt2e_quant_x86_inductor.html tells it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from benchmarks.peers.given import Given

__all__ = ["packaged", "pt2e_packaged", "pt2e_program"]

_CONFIG = {
    # Without it nothing of a quantized program is fused.
    "freezing": True,
    # Time of compiling only; the code is the same.
    "cpp.vec_isa_ok": True,
    "aot_inductor.precompile_headers": False,
    "compile_threads": 1,
    # Our loader asks the package to check its inputs, and the check would refuse small batches.
    "aot_inductor.check_lowerbound": False,
}


def packaged(given: Given, folder: Path) -> Path:
    """AOTInductor's package of the program in float32."""
    module = given.program().module(check_guards=False)
    return _package(_exported(module, given), folder)


def pt2e_packaged(given: Given, folder: Path) -> Path:
    """The same of the quantized program."""
    return _package(_quantized(given), folder)


def pt2e_program(given: Given, folder: Path) -> Path:
    """The quantized program itself, which `load_frozen.py` compiles when it is loaded."""
    path = folder / "model.pt2"
    torch.export.save(_quantized(given), path)
    return path


def _quantized(given: Given) -> ExportedProgram:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(is_dynamic=given.kind == "recurrent"))
    with torch.no_grad():
        prepared = prepare_pt2e(given.program().module(check_guards=False), quantizer)
        for batch in given.batches():
            prepared(*batch)
        return _exported(convert_pt2e(prepared), given)


def _exported(module: torch.nn.Module, given: Given) -> ExportedProgram:
    with torch.no_grad():
        return torch.export.export(module, next(given.batches()), dynamic_shapes=given.dynamic_shapes())


def _package(program: ExportedProgram, folder: Path) -> Path:
    path = folder / "model.pt2"
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=_CONFIG)
    return path
