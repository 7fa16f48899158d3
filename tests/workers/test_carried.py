"""The reference that is moved by its last bit."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.workers.passes.coupled_nets import export
from workers.carried import moved_reference, reference
from workers.measure.quality import sqnr_db


def test_weights_and_inputs_move_by_their_last_bit_and_the_program_stays() -> None:
    program = export(nn.Linear(6, 3), torch.randn(4, 6))
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    inputs = [np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)]
    wanted, found = reference(program)(inputs), moved_reference(program)(inputs)
    assert found[0].dtype == np.float32
    assert 110.0 < sqnr_db(wanted, found) < 150.0
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state_dict.items())


def test_integers_do_not_move() -> None:
    program = export(nn.Embedding(50, 4), torch.arange(8)[:, None])
    numbers = np.arange(50)[:, None]
    assert sqnr_db(reference(program)([numbers]), moved_reference(program)([numbers])) > 110.0
