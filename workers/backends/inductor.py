"""Lowering to an AOTInductor package: machine code for PyTorch's runtime."""

from __future__ import annotations

import copy
import importlib.util
import os
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
import torchao.quantization.pt2e  # noqa: F401  # registers the ops of quantized programs
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten

from burnish.errors import UnsupportedModel
from burnish.recipe import Backend, Target
from workers.backends.base import BackendRunner, Lowered
from workers.backends.kernels.library import LIBRARY, make_library
from workers.graphs.cuda_weights import cuda_refusals, for_cuda
from workers.graphs.device import Card, missing_device, moved_to
from workers.graphs.free_batch import free_batch
from workers.graphs.inductor_linear_inputs import make_linear_inputs_contiguous
from workers.graphs.inductor_low_bit import Kernels, lower_low_bit, refusals
from workers.graphs.inductor_operators import SHIMS
from workers.graphs.one_channel_convolutions import widen_one_channel_convolutions
from workers.graphs.reexport import reexport
from workers.graphs.residual_linears import guard_residual_linears
from workers.graphs.weight_packing import packed_for
from workers.passes.base import Samples
from workers.programs import batch_range, example_inputs, tracing_inputs

__all__ = ["Inductor"]

CONFIG: dict[str, Any] = {
    # Folds constants and packs weights. Int8 layers are fused only then; without it they run in float, silently.
    "freezing": True,
    # The flags of this processor are read as always; what is skipped is building a test program for each (8 s).
    "cpp.vec_isa_ok": True,
    # A precompiled header takes longer to make than it saves in one compilation, and lands outside the cache folder.
    "aot_inductor.precompile_headers": False,
    # Debugging aids that double the size of a small package.
    "aot_inductor.enable_line_tables": False,
    "aot_inductor.enable_frame_pointer": False,
    # With AOTI_RUNTIME_CHECK_INPUTS=1 a batch of 1 must pass the check, too.
    "aot_inductor.check_lowerbound": False,
    # No worker processes: each would import torch anew to compile two files.
    "compile_threads": 1,
}


class Inductor(BackendRunner):
    """One `.pt2` package that PyTorch loads without the model's code, without torchao and without a compiler.

    Three of Inductor's optimizations give wrong answers on int8 programs (torch 2.13). The program is rewritten so
    that they don't apply, and computes the same: see `workers/graphs/residual_linears.py` (writes into the caller's
    input, and into its own constants) and `workers/graphs/one_channel_convolutions.py` (one input channel). So are
    linear layers that it refuses, or leaves in float: see `workers/graphs/inductor_linear_inputs.py`.
    """

    name: ClassVar[Backend] = "inductor"
    filename: ClassVar[str] = "model.pt2"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao")
    depends_on_isa: ClassVar[bool] = True
    automatic: ClassVar[bool] = True

    def requires(self, program: ExportedProgram, target: Target) -> Sequence[str]:
        reasons = []
        if target.device not in self.devices:
            reasons.append(f"Inductor makes no artifact for {target.device}. Use the onnxruntime backend.")
        elif reason := missing_device(target.device):
            reasons.append(reason)
        elif target.device == "cuda" and importlib.util.find_spec("triton") is None:
            reasons.append("Inductor needs Triton for CUDA, and this worker has none. Install a CUDA build of torch.")
        elif target.device == "cuda":
            reasons += cuda_refusals(program, Card.here())
        if target.device == "cpu":
            reasons += _low_bit_refusal(program)
        if shutil.which(torch._inductor.config.cpp.cxx[1]) is None:
            reasons.append("Inductor needs a C++ compiler, and this worker has no g++ on its PATH. Install g++.")
        return reasons

    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        kernels, options = Kernels(), dict[str, Any]()
        if target.device == "cuda":
            made = for_cuda(program, Card.here(), tracing_inputs(program))
            rewritten, notes, options = made.program, made.notes, made.options
        else:
            rewritten, notes = _rewritten(program)
            rewritten, kernels = lower_low_bit(rewritten, tracing_inputs(rewritten))
            notes += kernels.ways.notes
        rewritten = moved_to(rewritten, target.device)
        path = folder / self.filename
        least, most = batch_range(program)
        batch = max(least, min(target.batch, most or target.batch))
        _give_example(rewritten, max(2, least), target.device)
        with _scratch(folder) as scratch, torch.no_grad(), packed_for(batch), free_batch():
            _compile(rewritten, path, {**options, **_linked(kernels, scratch), **_nameless(scratch)})
        _drop_sources(path)
        if least == most:
            notes.append(
                f"The export fixed the batch: the artifact takes {least} samples per call, and no other number."
            )
        return Lowered(path, tuple(notes))

    def usage(self, inputs: Sequence[str]) -> str:
        return (
            "import os\n"
            'os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"  # inputs of a wrong shape raise, instead of garbage out\n'
            "import torch\n"
            f'model = torch._inductor.aoti_load_package("{self.filename}")\n'
            "with torch.inference_mode():\n"
            f"    outputs = model({', '.join(inputs)})  # tensors in, tensors out\n"
        )


def _low_bit_refusal(program: ExportedProgram) -> list[str]:
    """Why weights of few bits would gain nothing."""
    reasons = refusals(program)
    if not reasons:
        return []
    return [
        f"Inductor would widen every weight of few bits to float32, and gain nothing: {'; '.join(reasons)}. "
        "Use the onnxruntime or the openvino backend."
    ]


def _is_quantized(program: ExportedProgram) -> bool:
    return any(str(node.target).startswith("quantized_decomposed.") for node in program.graph.nodes)


def _rewritten(program: ExportedProgram) -> tuple[ExportedProgram, list[str]]:
    """The program without what Inductor gets wrong, and a note for each kind of rewrite."""
    if not _is_quantized(program):
        return program, []
    module = copy.deepcopy(program.module(check_guards=False))
    notes = []
    if count := widen_one_channel_convolutions(module):
        notes.append(f"{count} convolution(s) of one input channel run over four, three of them zero.")
    if count := make_linear_inputs_contiguous(module):
        notes.append(f"{count} int8 linear layer(s) read a contiguous copy of their input: only that is one product.")
    if count := guard_residual_linears(module):
        notes.append(f"{count} residual addition(s) kept out of the int8 linear layer, where Inductor adds in place.")
    if not notes:
        return program, []
    return reexport(module, program, tracing_inputs(program)), notes


def _give_example(program: ExportedProgram, batch: int, device: str) -> None:
    """AOTInductor wants inputs to trace with, and those of an upload were stripped from its archive."""
    if program.example_inputs is None:
        example = [tensor.to(device) for tensor in example_inputs(program, batch, seed=0)]
        program.example_inputs = tree_unflatten(example, program.call_spec.in_spec)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Keeps Inductor's cache, temporary files and our libraries inside `folder`, and removes them."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="inductor-") as scratch:
        variables = {"TORCHINDUCTOR_CACHE_DIR": scratch, "TMPDIR": scratch, "LIBRARY_PATH": scratch}
        with mock.patch.dict(os.environ, variables), mock.patch.object(tempfile, "tempdir", scratch):
            yield Path(scratch)


def _linked(kernels: Kernels, scratch: Path) -> dict[str, Any]:
    """Makes the library of the program's own kernels, and gives the settings that link it into the package."""
    if not kernels.operators:
        return {}
    make_library(scratch, kernels.files, kernels.kinds)
    return {
        "aot_inductor.custom_ops_to_c_shims": {each: [SHIMS[each].declaration] for each in kernels.operators},
        "aot_inductor.custom_op_libs": [LIBRARY],
    }


def _nameless(scratch: Path) -> dict[str, Any]:
    """A compiler that leaves the folders of this machine out of the machine code, which names sources in its errors."""
    compiler = torch._inductor.config.cpp.cxx[1]
    folders = {scratch: ".", Path(torch.__file__).parent: "torch"}
    maps = " ".join(shlex.quote(f"-ffile-prefix-map={folder}={name}") for folder, name in folders.items())
    script = scratch / "compiler"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(compiler)} {maps} "$@"\n')
    script.chmod(0o700)
    return {"cpp.cxx": (None, str(script))}


def _compile(program: ExportedProgram, path: Path, more: dict[str, Any]) -> None:
    try:
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs={**CONFIG, **more})
    # A boundary: the compiler's faults come as whatever exception its many parts run into.
    except Exception as error:
        raise UnsupportedModel(
            f"Inductor can't compile this program: {type(error).__name__}: {_first_line(error)}",
            cure="Use the onnxruntime backend.",
        ) from error


def _drop_sources(path: Path) -> None:
    """Takes the C++ sources out of the package: nothing reads them, and they hold the paths of this machine."""
    whole = path.with_suffix(".whole")
    path.rename(whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            if not member.filename.endswith((".cpp", ".kernel_metadata.json")):
                with old.open(member) as source, new.open(member, "w") as destination:
                    shutil.copyfileobj(source, destination)
    whole.unlink()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:500]
