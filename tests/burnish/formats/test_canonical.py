"""The canonical form holds the program and nothing of the machine or the data it was exported with."""

import io
import json
import zipfile

import pytest
import torch

from burnish.formats import inspect_model
from burnish.formats.canonical import write_canonical
from burnish.formats.pt2 import checked_model
from tests import models
from tests.burnish.formats.archives import MODEL, honest, honest_bytes, pack, unpack


def canonical(data: bytes) -> bytes:
    written = io.BytesIO()
    with checked_model(io.BytesIO(data)) as model:
        write_canonical(model, written)
    return written.getvalue()


@pytest.mark.parametrize("name", models.NAMES)
def test_the_canonical_form_is_clean_and_its_own_canonical_form(name: str) -> None:
    once = canonical(honest_bytes(name))
    assert inspect_model(io.BytesIO(once)) == inspect_model(io.BytesIO(honest_bytes(name)))
    assert canonical(once) == once


def test_sample_inputs_guards_metadata_and_extra_files_are_left_out() -> None:
    assert b"stack_trace" in honest()[MODEL]
    assert b"site-packages" in honest()[MODEL]
    members = unpack(canonical(pack({**honest(), "extra/notes": b"secret"})))
    assert members["data/sample_inputs/model.pt"] == b""
    assert not any(name.startswith("extra/") for name in members)
    for word in (b"stack_trace", b"nn_module_stack", b"site-packages", b"torch_fn", b"secret"):
        assert word not in b"".join(members.values())


def test_order_names_and_times_of_the_zip_do_not_show() -> None:
    shuffled = dict(sorted(honest().items(), reverse=True))
    assert canonical(pack(shuffled, root="other-name")) == canonical(honest_bytes())


def test_metadata_inside_branches_is_left_out() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, lambda a: a.sin(), lambda a: a.cos(), (x,))

    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Model(), (torch.ones(2, 2),)), buffer)
    assert b"test_canonical.py" in buffer.getvalue()
    assert b"test_canonical.py" not in canonical(buffer.getvalue())


def test_torch_loads_it_with_the_same_outputs() -> None:
    program = torch.export.load(io.BytesIO(canonical(honest_bytes("residual_cnn"))))
    (x,) = models.example("residual_cnn", 7, seed=3)
    assert torch.equal(program.module()(x), models.module("residual_cnn")(x))


def test_the_order_of_the_state_dict_is_kept() -> None:
    program = torch.export.load(io.BytesIO(canonical(honest_bytes("mlp"))))
    assert list(program.state_dict) == list(models.program("mlp").state_dict)


def test_its_members_are_stored_and_dated_alike() -> None:
    with zipfile.ZipFile(io.BytesIO(canonical(honest_bytes()))) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("model/models/model.json"))["guards_code"] == []
