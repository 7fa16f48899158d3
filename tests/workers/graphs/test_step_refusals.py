"""What can't be computed step by step is refused, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.workers.sequences import THIRD_PARTY, WINDOW, Decoder, example, export
from workers.graphs.step_program import step_program
from workers.graphs.window import CantCarry

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


class Behind(nn.Module):
    """A function over (batch, steps, 8) behind a recurrent layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.rnn = nn.RNN(8, 8, batch_first=True)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.function(self.rnn(frames)[0])


class Bidirectional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 8, batch_first=True, bidirectional=True)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.rnn(frames)[0]  # type: ignore[no-any-return]


class GivenState(nn.Module):
    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.rnn, self.first = nn.GRU(8, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        state = self.first(frames)[1] if self.last else frames[:, 0][None]
        return self.rnn(frames, state)[0]  # type: ignore[no-any-return]


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        found = self.rnn(frames)[0]
        return (found * (found @ found[:, -1:].transpose(1, 2)).softmax(1)).sum(1)  # type: ignore[no-any-return]


class TwoWindows(nn.Module):
    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one.sum(1) + other.sum(1)


class OwnAttention(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        scores = frames @ frames.transpose(1, 2) + torch.full((WINDOW, WINDOW), -torch.inf).triu(1)
        return scores.softmax(-1) @ frames


class GivenMask(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        mask = frames[..., :1] > 0
        return nn.functional.scaled_dot_product_attention(frames, frames, frames, attn_mask=mask)


TOKENS = example("char_lm")
FRAMES = torch.randn(4, WINDOW, 8)
BEHIND: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "the mean over all steps": (lambda x: x.mean(1), "reduces over the steps"),
    "a softmax over the steps": (lambda x: x.softmax(1), "works along the steps"),
    "a running sum": (lambda x: x.cumsum(1), "works along the steps"),
    "the window backwards": (lambda x: x.flip(1), "no rule|works along the steps"),
    "a step in the middle": (lambda x: x[:, 3], "picks step 3 of the window"),
    "a piece of the window": (lambda x: x[:, 2:5], "cuts steps out of the window"),
    "neighbours": (lambda x: x[:, 1:] - x[:, :-1], "cuts steps out of the window"),
    "steps as features": (lambda x: x.flatten(1), "neither one entry per step nor that of the last step"),
    "sums over steps as features": (lambda x: x.flatten(1) @ torch.ones(8 * WINDOW, 2), "sums over the steps"),
    "more steps": (lambda x: torch.cat([x, x], 1), "adds steps to the window"),
    "all steps and the last": (lambda x: x + x[:, -1:], "joins the last step with all steps"),
    "steps by number": (lambda x: x[:, torch.tensor([0, 2])], "picks steps by number"),
    "a convolution over time": (
        lambda x: nn.functional.conv1d(x.transpose(1, 2), torch.ones(8, 8, 3), padding=1).transpose(1, 2),
        "is a convolution along the steps",
    ),
    "a constant": (lambda x: torch.ones(4), "neither one entry per step nor that of the last step"),
}


def refusal(made: nn.Module, *window: torch.Tensor, axis: int = 1, most: int | None = None) -> str:
    program = torch.export.export(made.eval(), window)
    with pytest.raises(CantCarry) as caught:
        step_program(program, axis, most)
    return str(caught.value)


@pytest.mark.parametrize("what", BEHIND)
def test_what_mixes_steps_is_refused(what: str) -> None:
    function, reason = BEHIND[what]
    assert re.search(reason, refusal(Behind(function), FRAMES))


def test_a_backward_direction_is_refused() -> None:
    assert "bidirectional" in refusal(Bidirectional(), FRAMES)


def test_a_first_state_that_is_an_input_is_refused() -> None:
    assert "picks step 0 of the window" in refusal(GivenState(), FRAMES)
    assert "starts from a state that depends on the inputs" in refusal(GivenState(last=True), FRAMES)


def test_a_layer_along_another_axis_is_refused_with_the_setting_to_change() -> None:
    assert "set `time_axis`" in refusal(nn.Embedding(20, 8), TOKENS, axis=2)
    assert "Set `time_axis`" in refusal(Behind(lambda x: x), FRAMES, axis=2)


def test_attention_pooling_over_the_steps_is_refused() -> None:
    assert "joins the last step with all steps" in refusal(Pooled(), FRAMES)


@pytest.mark.parametrize(("mask", "reason"), [("none", "has no causal mask"), ("leaks", "lets steps see later ones")])
def test_attention_that_sees_later_steps_is_refused(mask: str, reason: str) -> None:
    assert reason in refusal(Decoder(mask=mask), TOKENS)


def test_a_mask_that_is_computed_from_the_inputs_is_refused() -> None:
    assert "depends on the inputs" in refusal(GivenMask(), FRAMES)


def test_attention_written_as_matrix_products_is_refused_with_the_way_to_write_it() -> None:
    assert "scaled_dot_product_attention" in refusal(OwnAttention(), FRAMES)


def test_inputs_of_different_lengths_are_refused() -> None:
    assert "different sizes along axis 1" in refusal(TwoWindows(), torch.ones(2, 4), torch.ones(2, 5))


def test_a_model_without_state_is_refused() -> None:
    assert "no state to carry" in refusal(nn.Linear(8, 8), FRAMES)


def test_a_table_that_is_shorter_than_the_longest_sequence_is_refused() -> None:
    program = export(Decoder(most=16).eval(), TOKENS, most_steps=16)
    with pytest.raises(CantCarry, match=r"can't be computed for 20 steps|knows 16 positions"):
        step_program(program, 1, 20)


def test_a_longest_sequence_for_a_fixed_window_is_refused() -> None:
    assert "fixed length of 12" in refusal(Decoder(), TOKENS, most=64)


def test_a_length_without_bound_must_be_given() -> None:
    made = Decoder(positions="rotary").eval()
    program = torch.export.export(
        made, (TOKENS,), dynamic_shapes=({0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("steps", min=1)},)
    )
    with pytest.raises(CantCarry, match="Set `max_length`"):
        step_program(program, 1, None)


def test_the_length_as_a_number_is_refused_where_it_is_dynamic() -> None:
    class Scaled(nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            found = nn.functional.scaled_dot_product_attention(frames, frames, frames, is_causal=True)
            return found * frames.shape[1]

    with pytest.raises(CantCarry, match="length of the window, which a single step does not know"):
        step_program(export(Scaled(), FRAMES, most_steps=16), 1, None)
