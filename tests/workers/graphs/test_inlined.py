"""Regions for gradients and for autocast that is off are gone, and passes treat the layers in them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.export import ExportedProgram

from tests.models import MAX_BATCH
from tests.workers.passes.coupled_nets import prune
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, export, quantize, random, sqnr
from workers.graphs.inlined import inlined
from workers.programs import batch_range

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


class Guarded(nn.Module):
    """A frozen part, with a region within the region, and a part that is guarded from half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.head = nn.Linear(32, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = self.frozen(x)
            with torch.autocast("cpu", enabled=False):
                z = torch.relu(y.float())
        with torch.autocast("cuda", enabled=False):
            return self.head(y + z)  # type: ignore[no-any-return]


class Half(nn.Module):
    """A part that computes in half precision, with a region of float32 in it if that is `guarded`."""

    def __init__(self, guarded: bool) -> None:
        super().__init__()
        self.guarded = guarded
        self.body, self.head = nn.Linear(32, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.body(x)
            with torch.autocast("cpu", enabled=False) if self.guarded else nullcontext():
                x = torch.relu(x)
        with torch.no_grad():
            return self.head(x.float())  # type: ignore[no-any-return]


def regions(program: ExportedProgram) -> int:
    return sum(isinstance(node.target, HigherOrderOperator) for node in program.graph.nodes)


def test_what_stands_in_a_region_is_treated_like_the_rest() -> None:
    made = Guarded().eval()
    exported = export(made, random(4, 32))
    program = inlined(exported)
    assert (regions(exported), regions(program)) == (2, 0)
    assert batch_range(program) == (1, MAX_BATCH)
    for batch in (1, 2, 7):
        x = random(batch, 32)
        assert torch.equal(program.module()(x), made(x))
    treated = [(layer.layer, layer.treatment) for layer in quantize(program, random(16, 32), weights="bfloat16").layers]
    assert treated == [("frozen", "bfloat16"), ("head", "bfloat16")]


def test_a_region_in_half_precision_stays() -> None:
    made = Half(guarded=False).eval()
    program = inlined(export(made, random(4, 32)))
    assert regions(program) == 1
    assert sqnr(made(random(3, 32)), program.module()(random(3, 32))) > 100


def test_what_torch_can_not_trace_again_stays_as_it_is() -> None:
    program = export(Half(guarded=True).eval(), random(4, 32))
    assert inlined(program) is program


def test_a_program_without_regions_is_the_same_object() -> None:
    program = export(nn.Linear(32, 5).eval(), random(4, 32))
    assert inlined(program) is program


class Scaled(nn.Module):
    """A tensor made in `forward`, which torch exports as a constant that is detached in place."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.sqrt(torch.tensor(self.up.out_features, dtype=torch.float32))
        return self.down(torch.relu(self.up(x)) / scale)  # type: ignore[no-any-return]


def test_a_tensor_made_on_the_way_is_not_detached_and_pruning_goes_on() -> None:
    made = Scaled().eval()
    exported = export(made, random(4, 8))
    program = inlined(exported)
    assert (detached(exported), detached(program)) == (1, 0)
    assert torch.equal(program.module()(random(3, 8)), made(random(3, 8)))
    assert prune(program, ratio=0.5).changed


def detached(program: ExportedProgram) -> int:
    return sum(node.target is torch.ops.aten.detach_.default for node in program.graph.nodes)
