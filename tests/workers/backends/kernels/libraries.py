"""Kernels as libraries of this process, called as a package calls them, by instruction set."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.backends.kernels.library import compile_source
from workers.graphs.inductor_low_bit_convolutions import patch_order
from workers.graphs.inductor_packing import pack_weight
from workers.graphs.low_bit import LowBitWeight

__all__ = ["ISAS", "Kernel", "Optional", "compiled", "has"]


ISAS = {
    "native": (63, ["-march=native"]),
    # Kinds: 4 and 8 bits rounded, 4 bits float; quickly compiled, as speed is not tested.
    "avx2": (0b010110, ["-march=x86-64-v3", "-O1"]),
    "portable": (0b010110, ["-O1"]),
}
"""Kinds of products and flags of the compiler."""


class Kernel:
    """A compiled library, whose functions take and give tensors."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def call(self, name: str, results: int, *values: torch.Tensor | int | Optional) -> list[torch.Tensor]:
        """Calls a C function as a package does."""
        tensors = [each.tensor if isinstance(each, Optional) else each for each in values]
        held = [each for each in tensors if isinstance(each, torch.Tensor)]
        handles = iter(torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(held))  # type: ignore[attr-defined]
        given: list[object] = []
        for value, tensor in zip(values, tensors, strict=True):
            if isinstance(tensor, torch.Tensor):
                handle = ctypes.c_void_p(_address(next(handles)))
                given.append(ctypes.byref(handle) if isinstance(value, Optional) else handle)
            else:
                given.append(None if tensor is None else ctypes.c_int64(tensor))
        found = [ctypes.c_void_p() for _ in range(results)]
        function = getattr(self._library, f"aoti_torch_cpu_low_bit_{name}")
        assert function(*given, *(ctypes.byref(each) for each in found)) == 0
        return [_tensor(each) for each in found]

    def linear(
        self, x: torch.Tensor, weight: LowBitWeight, bias: torch.Tensor | None = None, rounded: bool = True
    ) -> torch.Tensor:
        packed = pack_weight(weight)
        (found,) = self.call("linear", 1, x, packed.data, Optional(bias), *packed.numbers, int(rounded))
        return found

    def convolution(
        self, x: torch.Tensor, weight: LowBitWeight, bias: torch.Tensor | None, *geometry: int
    ) -> torch.Tensor:
        """Channels second; `geometry`: stride, zeros above, below, left and right, and dilation."""
        packed = pack_weight(patch_order(weight))
        numbers = (*packed.numbers, *weight.shape[2:], *geometry)
        (found,) = self.call("convolution", 1, x, packed.data, Optional(bias), *numbers)
        return found.movedim(-1, 1)


@dataclass
class Optional:
    """An argument that may be left out: the function takes a pointer to it."""

    tensor: torch.Tensor | None


def _address(capsule: object) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = get(capsule, None)
    return found


def _tensor(address: ctypes.c_void_p) -> torch.Tensor:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = make(address, None, None)
    found: torch.Tensor = torch._C._aoti.alloc_tensor_by_stealing_from_void_ptr(capsule)  # type: ignore[attr-defined]
    return found


def compiled(source: str, kinds: int, flags: Sequence[str], folder: Path) -> Kernel:
    """The kernels of a source as a library that this process loads."""
    path = folder / "kernels.so"
    runtime = [f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu"]
    compile_source(source, kinds, [*flags, "-DBURNISH_SHIM=", "-shared", "-o", str(path), *runtime])
    return Kernel(path)


def has(isa: str) -> bool:
    return isa != "avx2" or torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
