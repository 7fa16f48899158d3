"""Programs that write in place compute the same without, as they are and after passes that writes would mislead."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Cache, Quantize, Simplify
from tests.models import MAX_BATCH
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, calibration, context, export, random, sqnr
from workers.graphs.functional import functionalized, writes
from workers.passes import RUNNERS
from workers.programs import batch_range, summary

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


class SeenThroughAView(nn.Module):
    """The base is written to between two reads of a view."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        view = h[:, :16]
        before = view * 2
        h.add_(1)
        return self.b(torch.cat([before, view * 2], 1))  # type: ignore[no-any-return]


class WrittenThroughAView(nn.Module):
    """A view of a view is written to between two reads of the base."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 32), nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        before = h * 2
        h.view(-1, 4, 8).transpose(1, 2)[:, :, 1].mul_(3)
        return self.b(torch.cat([before, h * 2], 1))  # type: ignore[no-any-return]


class Constants(nn.Module):
    """Constants that are written to before they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 8)
        self.register_buffer("table", random(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = self.get_buffer("table").clone()
        table[0] = 2.0
        shift = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])
        shift += 1.0
        return self.linear(x) @ table.exp() + shift  # type: ignore[no-any-return]


class Mask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(8)
        mask[2:5] = 5.0
        return self.linear(x) + mask  # type: ignore[no-any-return]


class Copies(nn.Module):
    """Two copies, one from before a write."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        before = h.clone()
        h.relu_()
        return self.b(before) + self.b(h.clone())  # type: ignore[no-any-return]


class Activations(nn.Module):
    """What most networks write in place: nothing else shares the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(64, 3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, 2, 4, 4)
        y = nn.functional.relu(self.norm(self.conv(x)), inplace=True)
        y += 1
        return self.head(nn.functional.hardtanh(y, inplace=True).flatten(1))  # type: ignore[no-any-return]


class Bordered(Activations):
    """A batch norm in a graph that torch has to functionalize."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x.reshape(-1, 2, 4, 4)))
        y[:, :, 0] = 0.0
        y[:, :, 1].mul_(2)
        return self.head(y.flatten(1))  # type: ignore[no-any-return]


MODELS = (SeenThroughAView, WrittenThroughAView, Constants, Mask, Copies, Activations, Bordered)


def captured(kind: type[nn.Module]) -> tuple[nn.Module, ExportedProgram]:
    torch.manual_seed(0)
    module = kind().eval()
    program = export(module, random(4, 32))
    assert any(writes(node) for node in program.graph.nodes)
    return module, functionalized(program)


@pytest.mark.parametrize("kind", MODELS)
def test_they_compute_the_same_without_a_write_at_every_batch(kind: type[nn.Module]) -> None:
    module, program = captured(kind)
    assert not any(writes(node) for node in program.graph.nodes)
    assert batch_range(program) == (1, MAX_BATCH)
    with torch.no_grad():
        for batch in (1, 5):
            assert sqnr(module(random(batch, 32)), program.module()(random(batch, 32))) > 100


@pytest.mark.parametrize(
    ("settings", "least_db"), [(Simplify(), 100), (Cache(kind="constants"), 100), (Quantize(weights="bfloat16"), 35)]
)
@pytest.mark.parametrize("kind", MODELS)
def test_passes_give_what_the_model_gives(
    kind: type[nn.Module], settings: Simplify | Cache | Quantize, least_db: float
) -> None:
    module, program = captured(kind)
    applied = RUNNERS[settings.name].apply(program, settings, context(program, calibration(random(8, 32))))
    with torch.no_grad():
        assert sqnr(module(random(5, 32)), applied.program.module()(random(5, 32))) > least_db


def test_where_nothing_else_shares_what_is_written_all_operators_stay() -> None:
    _, program = captured(Activations)
    assert summary(program)[2] == {
        "aten.add.Tensor": 1,
        "aten.batch_norm.default": 1,
        "aten.conv2d.default": 1,
        "aten.flatten.using_ints": 1,
        "aten.hardtanh.default": 1,
        "aten.linear.default": 1,
        "aten.relu.default": 1,
        "aten.reshape.default": 1,
    }


def test_batch_norms_stay_batch_norms() -> None:
    assert summary(captured(Bordered)[1])[2]["aten.batch_norm.default"] == 1


def test_a_write_of_another_type_keeps_the_type_of_what_is_written_to() -> None:
    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            half = x.to(torch.bfloat16) * 1
            half.add_(x)
            return half.float()

    program = functionalized(export(Mixed(), random(4, 32)))
    assert not any(writes(node) for node in program.graph.nodes)
    assert torch.equal(program.module()(random(5, 32)), Mixed()(random(5, 32)))


def test_a_program_without_writes_is_handed_back() -> None:
    program = export(nn.Linear(32, 4), random(4, 32))
    assert functionalized(program) is program


def test_a_constant_that_forward_makes_is_no_write() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x > 0, x, torch.tensor(-1.0))

    program = export(Masked(), random(4, 32))
    assert "aten.detach_.default" in summary(program)[2]
    assert functionalized(program) is program


class Counter(nn.Module):
    """Counts its calls and remembers the last result; neither changes what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 8)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.get_buffer("calls").add_(1)
        self.get_buffer("last").copy_(self.linear(x).mean(0))
        return self.linear(x) - self.get_buffer("last").exp()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("settings", "least_db"),
    [(None, 100), (Simplify(), 100), (Cache(kind="constants"), 100), (Quantize(weights="bfloat16"), 30)],
)
def test_buffers_that_the_model_changes_go_on_to_change(
    settings: Simplify | Cache | Quantize | None, least_db: float
) -> None:
    model, program = captured(Counter)
    if settings is not None:
        program = RUNNERS[settings.name].apply(program, settings, context(program, calibration(random(8, 32)))).program
    module = program.module()
    counted = float(module.get_buffer("calls"))
    with torch.no_grad():
        for batch in (5, 3):
            assert sqnr(model(random(batch, 32)), module(random(batch, 32))) > least_db
            assert sqnr(model.get_buffer("last"), module.get_buffer("last").float()) > least_db
    assert float(module.get_buffer("calls")) == counted + 2
