"""The kernels of LSTM and GRU with weights of few bits."""

from __future__ import annotations

import math

import pytest
import torch

from tests.workers.backends.kernels.libraries import ISAS, Kernel, Optional, compiled, has
from tests.workers.backends.kernels.weights import random_weight, reference
from workers.graphs.inductor_low_bit_recurrent import cell_numbers
from workers.graphs.inductor_packing import pack_weight
from workers.graphs.low_bit import LowBitWeight


@pytest.fixture(scope="module", params=["native", "avx2", "portable"])
def recurrent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    if not has(request.param):
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
