"""The pass in its three kinds: what it makes, what it reports, and what it leaves alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from burnish.errors import UnsupportedModel
from burnish.passes import Cache
from tests import models
from tests.workers.quantized import THIRD_PARTY as QUANTIZED
from tests.workers.quantized import calibration, context, quantize
from tests.workers.sequences import THIRD_PARTY, WINDOW, CharLM, Decoder, Positioned, example, export, module
from workers.calling import MemoContract, StateContract
from workers.carried import reference
from workers.passes import cache_state
from workers.passes.base import Applied
from workers.passes.cache import CachePass
from workers.programs import batch_range, input_names, save_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, *QUANTIZED)]


@cache
def program(name: str) -> ExportedProgram:
    return export(module(name), example(name))


def apply(treated: ExportedProgram, *inputs: torch.Tensor, **settings: object) -> Applied:
    made = Cache.model_validate(settings)
    assert not CachePass().requires(treated, made)
    return CachePass().apply(treated, made, context(treated, calibration(*inputs)))


def apply_state(name: str) -> Applied:
    return apply(program(name), example(name, 6), kind="state")


def same(one: ExportedProgram, other: ExportedProgram, folder: Path) -> bool:
    for index, each in enumerate((one, other)):
        save_program(each, folder / str(index))
    return (folder / "0").read_bytes() == (folder / "1").read_bytes()


def test_state_reports_each_tensor_it_carries_and_how_near_it_comes() -> None:
    applied = apply_state("char_lm")
    assert applied.changed
    assert [layer.layer for layer in applied.layers] == [
        "state_0_h", "state_1_c", "state_2_h", "state_3_c", "state_4_h",
    ]  # fmt: skip
    assert all(layer.treatment.startswith("state batch × ") for layer in applied.layers)
    assert applied.figures["state_bytes_per_sample"] == 4 * (4 * 12 + 10)
    assert applied.figures["agreement_db"] > 100


def test_state_compares_several_lengths_where_the_length_is_dynamic() -> None:
    treated = export(Decoder().eval(), example("decoder"), most_steps=16)
    applied = apply(treated, example("decoder", 6), kind="state")
    assert applied.figures["windows_compared"] == 4  # 12, 1, 2 and 7 steps
    assert applied.figures["most_steps"] == 16


def test_state_leaves_the_program_that_came_in_as_it_was(tmp_path: Path) -> None:
    treated = program("decoder")
    save_program(treated, tmp_path / "before")
    apply_state("decoder")
    save_program(treated, tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


@pytest.mark.parametrize("name", ["char_lm", "decoder"])
def test_state_is_the_same_program_each_time(name: str, tmp_path: Path) -> None:
    one, other = apply_state(name), apply_state(name)
    assert same(one.program, other.program, tmp_path)
    assert one.calling == other.calling


def test_state_is_refused_before_any_work_with_the_reason() -> None:
    (reason,) = CachePass().requires(models.program("encoder"), Cache(kind="state"))
    assert "has no causal mask" in reason


def test_state_refuses_samples_longer_than_a_sequence_may_be() -> None:
    treated = export(Decoder().eval(), example("decoder"), most_steps=16)
    with pytest.raises(UnsupportedModel, match="windows of 12 steps, and a sequence may have 8"):
        apply(treated, example("decoder"), kind="state", max_length=8)


def test_steps_that_do_not_give_what_the_window_gives_fail_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    treated, wrong = program("char_lm"), export(CharLM().eval(), example("char_lm"))
    made = cache_state.step_program(wrong, 1, None)
    monkeypatch.setattr(cache_state, "step_program", lambda *_: made)
    with pytest.raises(UnsupportedModel, match="differ from those of the window"):
        apply(treated, example("char_lm"), kind="state")


def test_state_stands_behind_quantization_and_keeps_its_integers() -> None:
    window = example("decoder", 32)
    quantized = quantize(program("decoder"), window).program
    applied = apply(quantized, window, kind="state")
    assert isinstance(applied.calling, StateContract)
    count = sum("dequantize" in str(node.target) for node in applied.program.graph.nodes)
    assert count >= 9, "linear layers of two blocks and the head are int8 still"
    found = reference(applied.program, applied.calling)([window[:2].numpy()])
    expected = reference(quantized)([window[:2].numpy()])
    assert cache_state.sqnr_db(expected, found) > 30


def test_constants_are_computed_once_and_reported_with_their_bytes() -> None:
    treated = export(Positioned().eval(), torch.randn(4, WINDOW, 8))
    applied = apply(treated, torch.randn(4, WINDOW, 8), kind="constants")
    assert applied.changed
    stored = [layer for layer in applied.layers if layer.treatment.startswith("precomputed")]
    assert [layer.treatment for layer in stored] == ["precomputed 12 × 8", "precomputed 8 × 8"]
    assert all("bytes more than before" in layer.reason for layer in stored)
    assert applied.figures["bytes_added"] == 4 * WINDOW * 8 + 4 * 8 * 8 - 4 * (8 * 8 + 8)
    for batch in (1, 3):
        x = torch.randn(batch, WINDOW, 8)
        torch.testing.assert_close(applied.program.module()(x), treated.module()(x))
    assert batch_range(applied.program) == (1, 64)
    assert input_names(applied.program) == input_names(treated)


def test_constants_a_second_time_change_nothing() -> None:
    treated = export(Positioned().eval(), torch.randn(4, WINDOW, 8))
    once = apply(treated, torch.randn(4, WINDOW, 8), kind="constants").program
    twice = apply(once, torch.randn(4, WINDOW, 8), kind="constants")
    assert not twice.changed
    assert twice.program is once
    assert twice.why_unchanged == "No part of the model depends on constants alone."


def test_constants_that_would_add_too_many_bytes_are_left_alone() -> None:
    treated = export(Positioned().eval(), torch.randn(4, WINDOW, 8))
    applied = apply(treated, torch.randn(4, WINDOW, 8), kind="constants", max_bytes=100)
    left = [layer for layer in applied.layers if layer.treatment == "left alone"]
    assert [layer.reason for layer in left] == ["it would add 384 bytes, and `max_bytes` leaves 100"]
    assert applied.figures["parts_precomputed"] == 1, "the weight, which replaces what it is made of"


def test_constants_leave_views_and_the_integers_of_weights_alone() -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.T

    viewed = apply(export(Viewed().eval(), torch.randn(4, 8)), torch.randn(4, 8), kind="constants")
    assert not viewed.changed
    assert viewed.why_unchanged == ("Every layer was left alone: it only views a stored tensor, which costs no time.")
    assert "only views a stored tensor" in viewed.layers[0].reason
    quantized = quantize(models.program("mlp"), *models.example("mlp", 32)).program
    kept = apply(quantized, *models.example("mlp"), kind="constants")
    assert not kept.changed
    assert all("its integers are smaller" in layer.reason for layer in kept.layers)


def test_constants_are_the_same_program_each_time(tmp_path: Path) -> None:
    treated = export(Positioned().eval(), torch.randn(4, WINDOW, 8))
    one, other = (apply(treated, torch.randn(4, WINDOW, 8), kind="constants").program for _ in range(2))
    assert same(one, other, tmp_path)


def test_constants_may_follow_state() -> None:
    applied = apply_state("char_lm")
    assert applied.calling is not None
    again = CachePass().apply(applied.program, Cache(), context(applied.program, calibration(example("char_lm"))))
    assert again.calling is None, "the step keeps the contract of the program that came in"
    x = example("char_lm", 2)
    with torch.no_grad():
        expected = pytree.tree_leaves(module("char_lm")(x))[0]
    found = reference(again.program, applied.calling)([x.numpy()])[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=2e-6, rtol=1e-4)


def test_a_memo_leaves_the_program_and_asks_for_a_memo_in_front() -> None:
    treated = models.program("mlp")
    applied = apply(treated, *models.example("mlp"), kind="memo", max_bytes=1000)
    assert applied.program is treated
    assert applied.calling == MemoContract(max_bytes=1000)
    assert applied.layers[0].treatment == "memo of repeated inputs"
