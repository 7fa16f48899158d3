"""The kernels of few-bit weights, called as a package calls them, on every instruction set that this machine has."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from workers.backends.kernels.library import compile_source
from workers.graphs.inductor_low_bit_convolutions import patch_order
from workers.graphs.inductor_low_bit_recurrent import cell_numbers
from workers.graphs.inductor_packing import pack_weight
from workers.graphs.low_bit import LowBitWeight, ops

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


def _has(isa: str) -> bool:
    return isa != "avx2" or torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@pytest.fixture(scope="module", params=[isa for isa in ISAS if _has(isa)])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Kernel]:
    kinds, flags = ISAS[request.param]
    return request.param, compiled("linear.cpp", kinds, flags, tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random_weight(
    generator: torch.Generator, outputs: int, columns: int, bits: int, group: int | None, zeros: bool
) -> LowBitWeight:
    """Codes over their whole range, the extremes among them."""
    width = group or columns
    stored = -(-columns // width) * width
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1)

    def codes(*shape: int) -> torch.Tensor:
        return torch.randint(least, most, shape, generator=generator)

    scales = torch.randn(outputs, stored // width, generator=generator) / math.sqrt(columns) / most
    return LowBitWeight(
        codes=codes(outputs, stored).to(torch.int8),
        scales=scales,
        zeros=codes(outputs, stored // width).to(torch.int32) if zeros else None,
        bits=bits,
        group=width,
        shape=(outputs, columns),
    )


def reference(x: torch.Tensor, weight: LowBitWeight, bias: torch.Tensor | None, rounded: bool) -> torch.Tensor:
    """As eager computes the low-bit form, in float64 behind the rounding."""
    if rounded:
        scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
        codes = ops.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
        x = (codes.double() - zero) * scale
    return functional.linear(x.double(), weight.dequantized().double(), None if bias is None else bias.double())


def magnitude(x: torch.Tensor, weight: LowBitWeight) -> float:
    """The largest sum of absolute products: what rounding errors are relative to. Offsets of inputs count with it."""
    most = x.abs().amax(-1, keepdim=True).expand_as(x).double()
    return float((most @ weight.dequantized().double().abs().T).max())


@pytest.mark.parametrize("seed", range(40))
def test_a_random_product_agrees_with_the_reference(kernel: tuple[str, Kernel], seed: int) -> None:
    isa, library = kernel
    generator = torch.Generator().manual_seed(seed)

    def pick(*values: int) -> int:
        return values[int(torch.randint(len(values), (), generator=generator))]

    rounded = bool(pick(0, 1, 1))
    bits = pick(2, 3, 4, 8) if isa == "native" else pick(3, 4, 8) if rounded else pick(3, 4)
    group = pick(16, 32, 64, 128, 0) or None
    rows, columns, outputs = pick(*range(1, 34)), pick(*range(1, 300)), pick(*range(1, 200))
    weight = random_weight(generator, outputs, columns, bits, group, bool(pick(0, 1)))
    x = 3 * torch.randn(rows, columns, generator=generator) + pick(0, 0, 5)
    bias = torch.randn(outputs, generator=generator) if pick(0, 1) else None
    torch.set_num_threads(pick(1, 2))
    found = library.linear(x, weight, bias, rounded)
    expected = reference(x, weight, bias, rounded)
    assert (found - expected).abs().max() <= 2e-6 * (magnitude(x, weight) + 1)


def test_integer_sums_are_exact_at_the_extremes(kernel: tuple[str, Kernel]) -> None:
    """All products at their largest: an instruction that saturates would show here."""
    _, library = kernel
    for bits, code in ((4, 7), (4, -8), (8, 127), (8, -128)):
        weight = LowBitWeight(
            codes=torch.full((16, 4096), code, dtype=torch.int8),
            scales=torch.ones(16, 1),
            zeros=None,
            bits=bits,
            group=4096,
            shape=(16, 4096),
        )
        x = torch.full((5, 4096), 255.0)
        x[1] = -255
        x[2, ::2] = 0
        x[3, 0] = -127
        expected = reference(x, weight, None, rounded=True)
        assert (library.linear(x, weight) - expected).abs().max() <= 1e-7 * expected.abs().max()


def test_rows_of_a_batch_are_computed_alike(kernel: tuple[str, Kernel]) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 130, 200, 4, 32, zeros=True)
    x = torch.randn(33, 200, generator=generator)
    whole = library.linear(x, weight)
    assert all(torch.equal(library.linear(x[row : row + 1], weight)[0], whole[row]) for row in range(33))


def test_the_number_of_threads_changes_no_bit(kernel: tuple[str, Kernel]) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 1000, 1000, 8, None, zeros=False)
    x = torch.randn(33, 1000, generator=generator)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(library.linear(x, weight))
    assert torch.equal(*found)


@pytest.mark.parametrize("rounded", [True, False])
def test_inputs_that_lie_in_any_order_and_shape(kernel: tuple[str, Kernel], rounded: bool) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 20, 40, 4, 16, zeros=False)
    x = torch.randn(40, 3, 6, generator=generator).permute(2, 1, 0)[::2]
    found = library.linear(x, weight, rounded=rounded)
    assert found.shape == (3, 3, 20)
    assert torch.equal(found, library.linear(x.contiguous(), weight, rounded=rounded))
    vector = torch.randn(40, generator=generator)
    assert torch.equal(
        library.linear(vector, weight, rounded=rounded), library.linear(vector[None], weight, rounded=rounded)[0]
    )


def test_no_rows_give_no_rows(kernel: tuple[str, Kernel]) -> None:
    _, library = kernel
    weight = random_weight(torch.Generator().manual_seed(0), 20, 40, 4, None, zeros=False)
    assert library.linear(torch.empty(0, 40), weight).shape == (0, 20)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_gives_nan_and_touches_no_other(kernel: tuple[str, Kernel], value: float) -> None:
    _, library = kernel
    generator = torch.Generator().manual_seed(0)
    weight = random_weight(generator, 20, 40, 4, None, zeros=False)
    x = torch.randn(3, 40, generator=generator)
    sound = library.linear(x, weight)
    x[1, 7] = value
    found = library.linear(x, weight)
    assert found[1].isnan().all()
    assert torch.equal(found[::2], sound[::2])


@pytest.fixture(scope="module", params=[isa for isa in ISAS if _has(isa)])
def convolution(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    folder = tmp_path_factory.mktemp(f"convolution_{request.param}")
    return compiled("convolution.cpp", 0b111, [*ISAS[request.param][1], "-O1"], folder)


def random_filter(
    generator: torch.Generator, outputs: int, channels: int, kernel: Sequence[int], bits: int, group: int | None
) -> LowBitWeight:
    columns = channels * math.prod(kernel)
    weight = random_weight(generator, outputs, columns, bits, group, zeros=bool(outputs % 2))
    return replace(weight, shape=(outputs, channels, *kernel))


def convolved(
    x: torch.Tensor, weight: LowBitWeight, bias: torch.Tensor | None, geometry: Sequence[int]
) -> torch.Tensor:
    """Each sample rounded as eager rounds a row, and a convolution in float64 with the dequantized weight."""
    flat = x.flatten(1)
    scale, zero = ops.choose_qparams_per_token_asymmetric(flat, torch.int8)
    codes = ops.quantize_per_token(flat, scale, zero, -128, 127, torch.int8)
    rounded = ((codes.double() - zero) * scale).reshape(x.shape)
    stride, (above, below, left, right), dilation = geometry[:2], geometry[2:6], geometry[6:]
    padded = functional.pad(rounded, (left, right, above, below))
    biases = None if bias is None else bias.double()
    return functional.conv2d(padded, weight.dequantized().double(), biases, tuple(stride), 0, tuple(dilation))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_convolution_agrees_with_the_reference(convolution: Kernel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def pick(*values: int) -> int:
        return values[int(torch.randint(len(values), (), generator=generator))]

    kernel = pick(1, 2, 3, 5), pick(1, 2, 3, 5)
    channels, outputs = pick(1, 2, 3, 5, 16, 30), pick(1, 5, 16, 40, 70)
    weight = random_filter(generator, outputs, channels, kernel, pick(2, 3, 4, 8), pick(16, 32, 64, 0) or None)
    x = 3 * torch.randn(pick(1, 2, 5), channels, pick(9, 12, 15), pick(9, 11, 17), generator=generator) + pick(0, 5)
    order = pick(0, 1, 2)  # channels second, last, or in no order that the kernel knows
    x = (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3))[order]
    bias = torch.randn(outputs, generator=generator) if pick(0, 1) else None
    pads = (pick(0, 1, 2), pick(0, 1, 3), pick(0, 2), pick(0, 1))
    geometry = (pick(1, 2, 3), pick(1, 2), *pads, pick(1, 2), pick(1, 2))
    torch.set_num_threads(pick(1, 2))
    found = convolution.convolution(x, weight, bias, *geometry)
    expected = convolved(x, weight, bias, geometry)
    size = float(x.abs().max() * weight.dequantized().abs().flatten(1).sum(1).max())
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-6 * (size + 1)


def test_samples_of_a_batch_are_convolved_alike_on_any_number_of_threads(convolution: Kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = random_filter(generator, 40, 24, (3, 3), 4, 32)
    x = torch.randn(5, 24, 30, 31, generator=generator)
    geometry = (1, 1, 1, 1, 1, 1, 1, 1)
    torch.set_num_threads(1)
    alone = [convolution.convolution(x[i : i + 1], weight, None, *geometry)[0] for i in range(5)]
    torch.set_num_threads(2)
    whole = convolution.convolution(x, weight, None, *geometry)
    assert all(torch.equal(one, other) for one, other in zip(alone, whole, strict=True))


def test_a_sample_that_is_not_finite_gives_nan_and_touches_no_other(convolution: Kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = random_filter(generator, 20, 3, (3, 3), 4, None)
    x = torch.randn(3, 3, 8, 8, generator=generator)
    geometry = (1, 1, 1, 1, 1, 1, 1, 1)
    sound = convolution.convolution(x, weight, None, *geometry)
    x[1, 2, 4, 4] = math.inf
    found = convolution.convolution(x, weight, None, *geometry)
    assert found[1].isnan().all()
    assert torch.equal(found[::2], sound[::2])


def test_no_samples_give_no_samples(convolution: Kernel) -> None:
    weight = random_filter(torch.Generator().manual_seed(0), 20, 3, (3, 3), 4, None)
    found = convolution.convolution(torch.empty(0, 3, 8, 8), weight, None, 1, 1, 0, 0, 0, 0, 1, 1)
    assert found.shape == (0, 20, 6, 6)


@pytest.fixture(scope="module", params=["native", "avx2", "portable"])
def recurrent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    if not _has(request.param):
        pytest.skip("this processor has no AVX2")
    flags = [*ISAS[request.param][1], "-O1"]
    return compiled("recurrent.cpp", 0b010010, flags, tmp_path_factory.mktemp(f"recurrent_{request.param}"))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("batch", [1, 3, 18])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_recurrent_layer_rounds_its_state_at_each_step(
    recurrent: Kernel, kind: str, batch: int, backwards: bool
) -> None:
    generator = torch.Generator().manual_seed(batch)
    hidden, columns, gates = 37, 21, 4 if kind == "lstm" else 3
    weights = [
        random_weight(generator, gates * hidden, width, 4, group, zeros=True)
        for width, group in ((columns, 16), (hidden, None))
    ]
    biases = [torch.randn(gates * hidden, generator=generator) for _ in range(2)]
    x = torch.randn(60 if batch == 18 else 5, batch, columns, generator=generator)  # 60 steps come in two parts
    states = [torch.randn(batch, hidden, generator=generator) for _ in range(gates - 2)]
    packed = [pack_weight(weight) for weight in weights]
    torch.set_num_threads(2)
    found = recurrent.call(
        kind,
        gates - 1,
        x,
        *states,
        *(each.data for each in packed),
        *(Optional(bias) for bias in biases),
        *cell_numbers(*packed),
        1,
        int(backwards),
    )
    expected = _steps(x.flip(0) if backwards else x, states, weights, biases)
    outputs = expected[0].flip(0) if backwards else expected[0]
    for one, other in zip(found, [outputs, *expected[1:]], strict=True):
        # A code of the state may fall on the other side of a tie, and be off by one of 256 levels, once in a while.
        torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-2)
        assert (one - other).square().mean() < 1e-7
        assert ((one - other).abs() > 1e-4).double().mean() < 0.02


@pytest.mark.parametrize("rounded", [0, 1])
def test_a_sample_that_is_not_a_number_stays_so_and_touches_no_other(recurrent: Kernel, rounded: int) -> None:
    generator = torch.Generator().manual_seed(0)
    packed = [pack_weight(random_weight(generator, 80, 20, 4, None, zeros=False)) for _ in range(2)]
    x, state = torch.randn(3, 2, 20, generator=generator), torch.zeros(2, 20)
    x[1, 0, 5] = math.nan
    rest = (packed[0].data, packed[1].data, Optional(None), Optional(None), *cell_numbers(*packed), rounded, 0)
    outputs, _, _ = recurrent.call("lstm", 3, x, state, state, *rest)
    assert outputs[1:, 0].isnan().all()
    assert outputs[0].isfinite().all()
    assert outputs[:, 1].isfinite().all()


def _steps(
    x: torch.Tensor, states: list[torch.Tensor], weights: list[LowBitWeight], biases: list[torch.Tensor]
) -> list[torch.Tensor]:
    """What an LSTM or GRU gives if its inputs and its state are rounded at each step, in float64."""
    h, *cell = (each.double() for each in states)
    outputs = []
    for step in x:
        of_x = reference(step, weights[0], biases[0], rounded=True)
        of_h = reference(h.float(), weights[1], biases[1], rounded=True)
        if cell:
            i, f, g, o = (of_x + of_h).chunk(4, -1)
            cell = [f.sigmoid() * cell[0] + i.sigmoid() * g.tanh()]
            h = o.sigmoid() * cell[0].tanh()
        else:
            (rx, zx, nx), (rh, zh, nh) = of_x.chunk(3, -1), of_h.chunk(3, -1)
            n, z = (nx + (rx + rh).sigmoid() * nh).tanh(), (zx + zh).sigmoid()
            h = n + z * (h - n)
        outputs.append(h)
    return [torch.stack(outputs), h, *cell]
