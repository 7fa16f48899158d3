"""One step at a time gives what the module gives for the whole prefix, at any batch and length."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tests.workers.sequences import MODELS, THIRD_PARTY, WINDOW, Decoder, example, export, module, stepwise
from workers.calling import StateContract
from workers.carried import reference
from workers.graphs.step_program import step_program
from workers.programs import batch_range, input_names

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


@cache
def stepped(name: str) -> tuple[ExportedProgram, StateContract]:
    return step_program(export(module(name), example(name)), 1, None)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_prefix_gives_the_outputs_of_the_module(name: str, batch: int) -> None:
    step, contract = stepped(name)
    run = reference(step, contract)
    for steps in (1, 2, 5, WINDOW):
        window = example(name, batch, steps, seed=1)
        with torch.no_grad():
            expected = pytree.tree_leaves(module(name)(window))
        found = stepwise(run, window)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_batch_stays_dynamic_and_the_contract_names_the_inputs(name: str) -> None:
    step, contract = stepped(name)
    assert batch_range(step) == (1, 64)
    assert input_names(step) == tuple(each.name for each in (*contract.inputs, *contract.states))
    assert len(step.graph_signature.user_outputs) == len(contract.outputs) + len(contract.states)


def test_a_recurrent_model_carries_one_tensor_per_layer_and_gate_state_and_has_no_longest_sequence() -> None:
    _, contract = stepped("char_lm")
    assert [state.shape for state in contract.states] == [(None, 12)] * 4 + [(None, 10)]
    assert contract.most_steps is None


def test_a_recurrent_model_runs_beyond_its_window() -> None:
    step, contract = stepped("char_lm")
    window = example("char_lm", 2, 3 * WINDOW)
    with torch.no_grad():
        expected = module("char_lm")(window)
    torch.testing.assert_close(stepwise(reference(step, contract), window)[0], expected, atol=2e-6, rtol=1e-4)


def test_every_tensor_of_the_state_has_the_batch_first() -> None:
    for name in MODELS:
        assert all(state.shape[0] is None for state in stepped(name)[1].states), name


def test_attention_carries_its_position_and_buffers_as_long_as_the_window() -> None:
    _, contract = stepped("decoder")
    shapes = {state.name: state.shape for state in contract.states}
    assert shapes.pop("state_0_position") == (None,)
    assert set(shapes.values()) == {(None, 2, WINDOW, 8)}
    assert contract.most_steps == WINDOW


def test_a_sequence_longer_than_the_buffers_is_refused_by_what_drives_it() -> None:
    step, contract = stepped("decoder")
    with pytest.raises(ValueError, match="13 steps, and it must have 1 to 12"):
        stepwise(reference(step, contract), example("decoder", 1, WINDOW + 1))


@pytest.mark.parametrize("most", [None, 10])
def test_a_dynamic_length_gives_buffers_of_its_bound_or_of_the_length_asked_for(most: int | None) -> None:
    made = Decoder().eval()
    step, contract = step_program(export(made, example("decoder"), most_steps=16), 1, most)
    assert contract.most_steps == (most or 16)
    run = reference(step, contract)
    for steps in (1, 4, most or 16):
        window = example("decoder", 2, steps)
        with torch.no_grad():
            torch.testing.assert_close(stepwise(run, window)[0], made(window), atol=2e-6, rtol=1e-4)


def test_constants_that_no_step_reads_do_not_travel_with_the_step() -> None:
    step, _ = stepped("decoder")
    assert not any("table.weight" in name for name in step.state_dict), "the table of positions is stored once"


def test_the_cells_read_the_weights_as_they_are() -> None:
    step, _ = stepped("char_lm")
    before = module("char_lm").state_dict()
    assert set(step.state_dict) >= {"first.weight_hh_l1", "second.weight_ih_l0"}
    assert torch.equal(step.state_dict["first.weight_hh_l1"], before["first.weight_hh_l1"])
