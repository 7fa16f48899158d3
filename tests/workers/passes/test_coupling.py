"""Which channels are one class: the expectations are written out by hand, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests import models
from tests.workers.passes.coupled_nets import NETS, Net, export, image, rows
from workers.passes.coupling import Coupling, couple


def places(coupling: Coupling, group: int) -> dict[str, list[int]]:
    """Where the first class of a group lives: tensor and dimension, with the channels there."""
    label = coupling.groups[group].classes[0]
    return {
        f"{slot.name}/{slot.dim}": [index for index, other in enumerate(slot.classes) if other == label]
        for slot in coupling.slots
        if label in slot.classes
    }


def of_net(name: str) -> Coupling:
    make, inputs = NETS[name]
    return couple(export(make(), inputs(4)))


def test_a_residual_sum_ties_all_that_is_added_and_all_that_reads_it() -> None:
    coupling = couple(models.program("residual_cnn"))
    assert [len(group.classes) for group in coupling.groups] == [16, 16, 32, 32, 32]
    norms = {
        f"{norm}.{part}/0": [0]
        for norm in ("stem.1", "blocks.0.bn2")
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    assert places(coupling, 0) == {
        "stem.0.weight/0": [0],
        "blocks.0.conv1.weight/1": [0],
        "blocks.0.conv2.weight/0": [0],
        "blocks.1.conv1.weight/1": [0],
        "blocks.1.short.0.weight/1": [0],
        **norms,
    }


def test_concatenated_branches_stay_apart_and_meet_in_what_follows() -> None:
    coupling = couple(models.program("concat_cnn"))
    assert [len(group.classes) for group in coupling.groups] == [16, 16, 8, 24]
    right = places(coupling, 3)
    assert right["right.2.weight/0"] == [0]
    assert right["norm.weight/0"] == [16]


def test_flatten_repeats_a_channel_for_each_pixel() -> None:
    left = places(couple(models.program("concat_cnn")), 1)
    assert left["head.weight/1"] == list(range(9))


def test_a_depthwise_layer_passes_channels_on() -> None:
    first = places(couple(models.program("depthwise_cnn")), 0)
    assert first["features.0.weight/0"] == first["features.3.weight/0"] == first["features.6.weight/1"] == [0]


def test_each_channel_of_a_depthwise_multiplier_goes_with_its_input() -> None:
    assert places(of_net("depthwise with a multiplier"), 0)["deep.weight/0"] == [0, 1]


def test_grouped_layers_lose_the_same_position_in_each_group() -> None:
    coupling = of_net("grouped convolution")
    assert places(coupling, 0) == {"up.weight/0": [0, 4], "up.bias/0": [0, 4], "grouped.weight/1": [0]}
    assert places(coupling, 1)["grouped.weight/0"] == [0, 6]


def test_heads_go_as_a_whole_from_query_key_value_and_output() -> None:
    coupling = couple(models.program("encoder"))
    head = list(range(8))
    assert (len(coupling.groups[0].classes), coupling.groups[0].width) == (4, 8)
    assert places(coupling, 0) == {
        "qkv.weight/0": [*head, *(32 + i for i in head), *(64 + i for i in head)],
        "qkv.bias/0": [*head, *(32 + i for i in head), *(64 + i for i in head)],
        "out.weight/1": head,
    }


def test_heads_are_found_where_they_are_merged_with_the_batch() -> None:
    coupling = of_net("multi-head attention")
    assert places(coupling, 0)["attention.in_proj_weight/0"] == [0, 1, 6, 7, 12, 13]


def test_a_gate_goes_with_what_it_gates() -> None:
    assert places(of_net("glu"), 0) == {"up.weight/0": [0, 8], "up.bias/0": [0, 8], "out.weight/1": [0]}


def test_parts_of_one_layer_that_are_used_apart_are_one_group() -> None:
    coupling = of_net("slices used apart")
    assert [len(group.classes) for group in coupling.groups] == [8]


def test_tied_weights_tie_their_inputs_and_outputs() -> None:
    coupling = of_net("tied weights")
    assert len(coupling.groups) == 1
    assert places(coupling, 0)["second.weight/0"] == places(coupling, 0)["second.weight/1"] == [0]


def test_pixel_shuffle_takes_blocks_of_channels() -> None:
    assert places(of_net("pixel shuffle"), 0)["up.weight/0"] == [0, 1, 2, 3]


def test_one_fixed_use_keeps_channels_that_others_could_lose() -> None:
    net = Net(lambda n, x: torch.cat([n.out(n.up(x)), n.up(x)], dim=-1), up=nn.Linear(6, 8), out=nn.Linear(8, 3))
    coupling = couple(export(net, rows(4)))
    assert coupling.groups == ()


# From torch's own copy of the program.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_labels_are_the_same_for_decomposed_operators() -> None:
    decomposed = models.program("depthwise_cnn").run_decompositions()
    expected = [len(group.classes) for group in couple(models.program("depthwise_cnn")).groups]
    assert [len(group.classes) for group in couple(decomposed).groups] == expected


@pytest.mark.parametrize(
    "compute",
    [
        lambda n, x: n.out(n.up(x).double().float().relu()),
        lambda n, x: n.out(torch.where(x[..., :1] > 0, n.up(x), 0.0)),
        lambda n, x: n.out(torch.multiply(n.up(x), 2.0)),
        lambda n, x: n.out(n.up(x) + n.up(x).new_zeros(n.up(x).shape[0], 1, 1)),
        lambda n, x: n.out(torch.slice_scatter(n.up(x), n.up(x)[:, 1:3].relu(), 1, 1, 3)),
        lambda n, x: n.out(torch.select_scatter(n.up(x), n.up(x)[:, 1].relu(), 1, 3)),
    ],
    ids=["checked types", "where with a number", "multiply", "a size of the batch", "a slice written", "a row written"],
)
def test_features_pass_operators_that_do_not_touch_them(compute: object) -> None:
    net = Net(compute, up=nn.Linear(6, 8), out=nn.Linear(8, 3))  # type: ignore[arg-type]
    coupling = couple(export(net, rows(4)))
    assert [len(group.classes) for group in coupling.groups] == [8]
    assert places(coupling, 0)["out.weight/1"] == [0]


def test_the_columns_of_a_bag_of_embeddings_are_channels() -> None:
    numbers = torch.randint(0, 10, (4, 5))
    net = Net(lambda n, x: n.out(n.bag(x)), bag=nn.EmbeddingBag(10, 8, mode="mean"), out=nn.Linear(8, 3))
    coupling = couple(export(net, numbers))
    assert [len(group.classes) for group in coupling.groups] == [8]
    assert places(coupling, 0) == {"bag.weight/1": [0], "out.weight/1": [0]}


@pytest.mark.parametrize(
    "compute",
    [
        lambda n, x: n.out(n.up(x).unsqueeze(1).expand(-1, 2, -1, -1, -1).mean(1)).mean((2, 3)),
        lambda n, x: n.out(torch.stack([n.up(x), n.up(x)]).sum(0)).mean((2, 3)),
        lambda n, x: n.out(n.up(x).permute(0, 2, 3, 1).reshape(-1, 8).view(-1, 4, 4, 8).permute(0, 3, 1, 2)).mean(
            (2, 3)
        ),
        lambda n, x: n.out(nn.functional.interpolate(n.up(x), scale_factor=2.0)).mean((2, 3)),
        lambda n, x: n.out(nn.functional.pad(n.up(x), (1, 1, 1, 1))).mean((2, 3)),
        lambda n, x: n.out(nn.functional.pad(n.up(x), (1, 1, 0, 0, 0, 0))).mean((2, 3)),
        lambda n, x: n.out(n.up(x).permute(0, 2, 3, 1).roll((1, -1), (1, 2)).permute(0, 3, 1, 2)).mean((2, 3)),
        lambda n, x: n.out(n.up(x).flatten(2).exp().reshape_as(n.up(x))).mean((2, 3)),
        lambda n, x: n.out(n.up(x).relu_().add_(1.0).clamp(0, 6)).mean((2, 3)),
        lambda n, x: n.out(n.up(x) * n.up(x).amax((2, 3), keepdim=True)).mean((2, 3)),
        lambda n, x: n.out(n.up(x).softmax(-1)).mean((2, 3)),
        lambda n, x: torch.matmul(n.up(x).flatten(2).transpose(1, 2), n.out.weight.flatten(1).t()).mean(1),
    ],
    ids=["expand", "stack", "through tokens", "interpolate", "pad", "pad beside channels",
         "roll of pixels", "reshape_as", "in place", "maximum over pixels",
         "softmax over pixels", "matmul"],
)  # fmt: skip
def test_channels_pass_operators_that_do_not_touch_them(compute: object) -> None:
    net = Net(compute, up=nn.Conv2d(6, 8, 1), out=nn.Conv2d(8, 3, 1))  # type: ignore[arg-type]
    coupling = couple(export(net, image(4)))
    assert [len(group.classes) for group in coupling.groups] == [8]
    assert places(coupling, 0)["out.weight/1"] == [0]
