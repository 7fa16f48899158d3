"""Structured pruning: what is left computes the same, the dynamic batch lives, and the account is honest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from burnish.passes import Prune
from tests import models
from tests.workers.passes.coupled_nets import NETS, Net, context, export, image, prune, rows, zero_half
from workers.passes.base import Applied
from workers.passes.prune import PrunePass
from workers.programs import batch_range, save_program

PRUNABLE = ("residual_cnn", "depthwise_cnn", "concat_cnn", "mlp", "encoder")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Sums are taken over fewer terms and so in another order; float32."""


def size(applied: Applied) -> int:
    return sum(tensor.numel() for tensor in applied.program.parameters())


def treatment(applied: Applied, layer: str) -> tuple[str, str]:
    return next((entry.treatment, entry.reason) for entry in applied.layers if entry.layer == layer)


@pytest.mark.parametrize("name", PRUNABLE)
def test_removing_channels_with_zero_weights_leaves_the_outputs(name: str) -> None:
    module = models.module(name)
    program, zeroed = zero_half(module, *models.example(name))
    applied = prune(program)
    assert applied.figures["channels_removed"] == zeroed
    for batch in (1, 3, 7):
        inputs = models.example(name, batch, seed=batch)
        torch.testing.assert_close(applied.program.module()(*inputs), module(*inputs), **CLOSE)


@pytest.mark.parametrize("name", NETS)
def test_removing_zero_channels_leaves_the_outputs_however_they_are_tied(name: str) -> None:
    make, inputs = NETS[name]
    torch.manual_seed(0)
    module = make().eval()
    program, zeroed = zero_half(module, inputs(4))
    applied = prune(program)
    assert applied.changed
    assert applied.figures["channels_removed"] == zeroed
    for batch in (1, 3, 7):
        torch.testing.assert_close(applied.program.module()(inputs(batch)), module(inputs(batch)), **CLOSE)


def test_the_least_batch_stays_what_it_was() -> None:
    shapes = ({0: Dim("batch", min=5, max=64)},)
    program = torch.export.export(models.module("mlp"), models.example("mlp", 8), dynamic_shapes=shapes)
    applied = prune(program)
    assert applied.changed
    assert batch_range(applied.program) == batch_range(program) == (5, 64)


@pytest.mark.parametrize("name", PRUNABLE)
def test_the_input_program_is_unchanged(name: str) -> None:
    program = models.program(name)
    code, before = program.graph_module.code, copy.deepcopy(program.state_dict)
    prune(program)
    assert program.graph_module.code == code
    assert all(torch.equal(before[key], value) for key, value in program.state_dict.items())


def test_parameter_counts_fall_as_announced() -> None:
    applied = prune(models.program("mlp"), ratio=0.5)
    assert size(applied) == (20 * 32 + 32) + (32 * 32 + 32) + (32 * 4 + 4)
    assert applied.figures["weights_before"] == 20 * 64 + 64 + 64 * 64 + 64 + 64 * 4 + 4
    assert applied.figures["weights_after"] == size(applied)


def test_same_program_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_program(prune(models.program("concat_cnn")).program, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_signature_and_bounds_of_the_batch_stay() -> None:
    program = models.program("depthwise_cnn")
    pruned = prune(program).program
    assert pruned.graph_signature.user_inputs == program.graph_signature.user_inputs
    assert list(map(str, pruned.range_constraints.values())) == list(map(str, program.range_constraints.values()))


def test_the_result_can_be_pruned_again() -> None:
    once = prune(models.program("residual_cnn"), round_to=4)
    twice = prune(once.program, round_to=4)
    assert twice.figures["channels"] == once.figures["channels"] - once.figures["channels_removed"]


def test_the_smallest_channels_go() -> None:
    module = models.module("mlp")
    small = [3, 17, 40]
    with torch.no_grad():
        module.layers[0].weight[small] *= 0.01
        module.layers[0].bias[small] *= 0.01
        module.layers[2].weight[:, small] *= 0.01
    pruned = prune(export(module, *models.example("mlp")), ratio=3 / 64)
    kept = [row for row in range(64) if row not in small]
    assert torch.equal(dict(pruned.program.named_parameters())["layers.0.weight"], module.layers[0].weight[kept])


def test_bn_scale_ranks_by_the_scale_of_the_batch_norm() -> None:
    module = models.module("residual_cnn")
    with torch.no_grad():
        module.blocks[0].bn1.weight[::2] = 0.001
    pruned = prune(export(module, *models.example("residual_cnn")), importance="bn_scale")
    assert torch.equal(
        dict(pruned.program.named_parameters())["blocks.0.bn1.weight"], module.blocks[0].bn1.weight[1::2]
    )


@pytest.mark.parametrize(("ratio", "round_to", "left"), [(0.5, 8, 32), (0.3, 8, 48), (0.4, 32, 32), (0.9, 16, 16)])
def test_kept_counts_are_multiples_of_round_to(ratio: float, round_to: int, left: int) -> None:
    applied = prune(models.program("mlp"), ratio=ratio, round_to=round_to)
    assert treatment(applied, "layers.0")[0] == f"channels 64 → {left}"


def test_global_scope_removes_where_it_hurts_least() -> None:
    module = models.module("mlp")
    with torch.no_grad():
        module.layers[0].weight[:40] *= 0.01
        module.layers[0].bias[:40] *= 0.01
        module.layers[2].weight[:, :40] *= 0.01
    applied = prune(export(module, *models.example("mlp")), ratio=40 / 128, scope="global")
    assert treatment(applied, "layers.0")[0] == "channels 64 → 24"
    assert "channels" not in treatment(applied, "layers.2")[0]


def test_heads_count_with_their_size_when_rounding() -> None:
    applied = prune(models.program("encoder"), ratio=0.5, round_to=8)
    assert treatment(applied, "qkv")[0] == "channels 96 → 48"
    assert treatment(applied, "out")[0] == "inputs 32 → 16"


def test_a_ratio_that_removes_nothing_gives_the_program_back() -> None:
    program = models.program("mlp")
    applied = prune(program, ratio=0.01, round_to=64)
    assert not applied.changed
    assert applied.program is program
    assert treatment(applied, "layers.0")[1].endswith("leaves all of them once rounded to multiples of 64")


def test_a_group_is_never_removed_as_a_whole() -> None:
    applied = prune(models.program("concat_cnn"), ratio=0.99)
    assert treatment(applied, "right.0")[0].startswith("channels 8 → 1")
    applied.program.module()(*models.example("concat_cnn"))


def test_no_slice_is_left_without_channels() -> None:
    make, inputs = NETS["slices used apart"]
    module = make()
    with torch.no_grad():
        module.get_parameter("one.weight").zero_()
        module.get_parameter("up.weight")[:5] = 0.0
        module.get_parameter("up.bias")[:5] = 0.0
    applied = prune(export(module, inputs(4)), ratio=5 / 8)
    assert dict(applied.program.named_parameters())["one.weight"].shape[1] == 1


def test_tied_weights_stay_one_tensor() -> None:
    make, inputs = NETS["tied weights"]
    applied = prune(export(make(), inputs(4)))
    assert size(applied) == (6 * 4 + 4) + 4 * 4 + 4 + 4 + (4 * 3 + 3)


# torch's own copy of the program warns of a class that torch itself keeps in it.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_a_decomposed_program_is_pruned_alike() -> None:
    program = models.program("residual_cnn")
    pruned = prune(program.run_decompositions())
    inputs = models.example("residual_cnn", 5)
    torch.testing.assert_close(pruned.program.module()(*inputs), prune(program).program.module()(*inputs), **CLOSE)


def test_layers_made_together_name_each_other() -> None:
    reason = treatment(prune(models.program("residual_cnn"), round_to=4), "stem.0")[1]
    assert reason.endswith("together with blocks.0.conv2")


def test_requires_refuses_a_model_without_removable_channels() -> None:
    net = Net(lambda n, x: n.up(x).cumsum(-1), up=nn.Linear(6, 8))
    assert PrunePass().requires(export(net, rows(4)), Prune()) == [
        "No channel of this model can be removed: cumsum depends on all channels at once; "
        "linear joins it with a dimension of fixed size. Leave `prune` out of the recipe."
    ]


def test_requires_refuses_bn_scale_without_batch_norms() -> None:
    assert PrunePass().requires(models.program("mlp"), Prune(importance="bn_scale")) == [
        "No batch norm scales a channel that could be removed. Set `importance: magnitude`."
    ]


def test_groups_without_batch_norm_are_left_alone_by_bn_scale() -> None:
    applied = prune(models.program("concat_cnn"), importance="bn_scale")
    assert treatment(applied, "stem") == (
        "left alone",
        "no batch norm scales its channels, which importance bn_scale needs",
    )
    assert treatment(applied, "left")[0] == "channels 16 → 8"


def test_requires_allows_what_can_be_pruned() -> None:
    assert PrunePass().requires(models.program("mlp"), Prune()) == []


def test_progress_is_told() -> None:
    told: list[float] = []
    program = models.program("mlp")
    given = context(program)
    PrunePass().apply(program, Prune(), type(given)(**{**vars(given), "progress": lambda share, _: told.append(share)}))
    assert told == sorted(told)
    assert told[-1] == 1.0


def linear(compute: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Net, Callable[[int], torch.Tensor]]:
    """A layer of 8 channels, what is done to them, and a layer that reads as many as are left."""
    left = compute(torch.ones(1, 5, 8)).shape[-1]
    return Net(lambda n, x: n.out(compute(n.up(x))), up=nn.Linear(6, 8), out=nn.Linear(left, 3)), rows


def _own_kernels(y: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """A kernel for each sample, as in conditional convolutions: as many groups as samples."""
    batch, width = y.shape[:2]
    own = (y.mean((2, 3))[:, :, None] * kernels).reshape(batch * width, width, 1, 1)
    return nn.functional.conv2d(y.reshape(1, batch * width, 4, 4), own, groups=batch).reshape(batch, width, 4, 4)


OVER_ALL = "takes its statistics over all channels"
FREEZING = {
    f"layer_norm {OVER_ALL} (set `layer_norm: rescale` to let them go)": linear(
        lambda y: nn.functional.layer_norm(y, (8,))
    ),
    f"rms_norm {OVER_ALL}": linear(lambda y: nn.functional.rms_norm(y.sigmoid(), (8,))),
    "softmax depends on all channels at once": linear(lambda y: y.softmax(-1)),
    "mean sums up all channels": linear(lambda y: y / y.exp().mean(-1, keepdim=True)),
    "amax sums up all channels": linear(lambda y: y / y.amax(-1, keepdim=True)),
    "unbind picks single channels by number": linear(lambda y: torch.stack(y.unbind(-1)[:4], -1)),
    "slice takes channels by a rule that depends on their number": linear(lambda y: y[..., ::2]),
    "roll moves channels by a fixed number of places": linear(lambda y: y.roll(1, -1)),
    "linalg_qr is an operator that ties all channels it reads": linear(lambda y: torch.linalg.qr(y)[0]),
    "conv2d is an operator that ties all channels it reads": (
        Net(lambda n, x: n.out(_own_kernels(n.up(x), n.mixed.weight)), up=nn.Conv2d(6, 8, 1),
            mixed=nn.Linear(8, 8, bias=False), out=nn.Conv2d(8, 3, 1)), image),
    "matmul sums over them, and a removed one would not count as zero": linear(
        lambda y: y @ y.exp().transpose(-1, -2).exp() if y.shape[-1] < 8 else y.exp() @ y.exp().transpose(-1, -2)
    ),
    "gather looks channels up by number": linear(
        lambda y: y.gather(-1, torch.zeros_like(y[..., :4], dtype=torch.long))
    ),
    "index looks channels up by number": linear(lambda y: y[:, :, torch.tensor([1, 3])]),
    "pad works along it as on pixels": linear(lambda y: nn.functional.pad(y, (1, 1))),
    "slice_scatter writes to channels by number": linear(lambda y: torch.slice_scatter(y, y[..., :2] * 2, -1, 2, 4)),
    "cumsum depends on all channels at once": linear(lambda y: y.cumsum(-1)),
    "add joins it with a dimension of fixed size": (
        Net(lambda n, x: n.out(n.up(x) + x), up=nn.Linear(6, 6), out=nn.Linear(6, 3)), rows),
    "the model returns it": (Net(lambda n, x: n.up(x), up=nn.Linear(6, 8)), rows),
    f"group_norm {OVER_ALL}": (
        Net(lambda n, x: n.out(n.norm(n.up(x))), up=nn.Conv2d(6, 8, 1), norm=nn.GroupNorm(1, 8),
            out=nn.Conv2d(8, 3, 1)), image),
    "its layers and directions keep one size, and some of them stay or are tied to other layers": (
        Net(lambda n, x: n.up(x)[0], up=nn.LSTM(6, 8, 2, batch_first=True)), rows),
}  # fmt: skip


@pytest.mark.parametrize("reason", FREEZING)
def test_channels_that_can_not_go_stay_with_the_reason(reason: str) -> None:
    net, inputs = FREEZING[reason]
    applied = prune(export(net, inputs(4)))
    assert not applied.changed
    assert treatment(applied, "up") == ("left alone", reason)
