"""The zip around a program keeps every rule, and other kinds of files are told apart."""

import io
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from burnish.errors import InvalidModel
from burnish.formats import inspect_model
from tests.burnish.formats.archives import MODEL, honest, honest_bytes, pack


def refused(data: bytes) -> InvalidModel:
    with pytest.raises(InvalidModel) as caught:
        inspect_model(io.BytesIO(data))
    return caught.value


def saved(value: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def test_an_empty_file_is_called_empty() -> None:
    assert refused(b"").message == "The file is empty."


def test_a_file_that_is_no_zip_is_refused_with_the_cure() -> None:
    error = refused(b"hello, world" * 10)
    assert "no zip" in error.message
    assert "burnish.capture" in error.cure


def test_a_pickle_is_called_one_and_not_opened() -> None:
    assert "pickle" in refused(pickle.dumps({"a": 1})).message


def test_a_checkpoint_is_called_one_with_the_cure() -> None:
    error = refused(saved(nn.Linear(2, 2).state_dict()))
    assert "checkpoint" in error.message
    assert "torch.export.save" in error.cure


def test_an_old_checkpoint_is_called_a_pickle() -> None:
    assert "pickle" in refused(saved({"w": torch.zeros(2)}, _use_new_zipfile_serialization=False)).message


def test_torchscript_is_called_so(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript itself is deprecated
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(tmp_path / "m.pt"))
    assert "TorchScript" in refused((tmp_path / "m.pt").read_bytes()).message


def test_a_safetensors_file_is_told_to_lack_the_computation() -> None:
    from safetensors.torch import save

    assert "safetensors" in refused(save({"w": torch.zeros(2)})).message


def test_an_npz_is_called_so() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(2))
    assert ".npz" in refused(buffer.getvalue()).message


def test_a_compiled_library_is_called_so() -> None:
    assert "library" in refused(b"\x7fELF" + bytes(100)).message


def test_another_zip_is_no_program() -> None:
    assert "no exported program" in refused(pack({"readme.txt": b"hello"})).message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_called_so(share: float) -> None:
    data = honest_bytes()
    assert "truncated" in refused(data[: int(len(data) * share)]).message


def test_bytes_behind_the_archive_are_refused() -> None:
    assert "behind its end" in refused(honest_bytes() + b"more").message


def test_bytes_in_front_of_the_archive_are_refused() -> None:
    assert "no zip" in refused(b"#!/bin/sh\n" + honest_bytes()).message


def test_a_damaged_byte_in_the_json_is_noticed() -> None:
    data = honest_bytes()
    at = data.index(b'"range_constraints"')
    assert "damaged" in refused(data[:at] + b"X" + data[at + 1 :]).message


def test_a_compressed_member_is_refused_before_it_is_unpacked() -> None:
    bomb = pack({**honest(), "extra/zeros": bytes(50 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    assert "compressed" in refused(bomb).message


def test_members_that_share_their_bytes_are_refused() -> None:
    """A zip bomb without compression: many directory entries point at one body (Fifield 2019)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**honest(), "extra/body": bytes(100_000)}.items():
            archive.writestr(f"model/{name}", content)
        body = archive.getinfo("model/extra/body")
        for index in range(50):
            twin = zipfile.ZipInfo(f"model/extra/{index}")
            twin.file_size, twin.compress_size, twin.CRC = body.file_size, body.compress_size, body.CRC
            twin.header_offset = body.header_offset
            archive.filelist.append(twin)
    assert "zip bomb" in refused(buffer.getvalue()).message


def test_a_name_that_stands_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of the duplicate that is wanted here
        for name, content in (*honest().items(), (MODEL, b"{}")):
            archive.writestr(f"model/{name}", content)
    assert "same name" in refused(buffer.getvalue()).message


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\b", "a//b", "./a", "a\nb", "ä", "dir/"])
def test_an_odd_name_is_refused(name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in honest().items():
            archive.writestr(f"model/{member}", content)
        archive.writestr(f"model/extra/{name}", b"")
    assert "no plain name" in refused(buffer.getvalue()).message


def test_a_second_folder_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in honest().items():
            archive.writestr(f"model/{member}", content)
        archive.writestr("other/extra/x", b"")
    assert "outside the folder" in refused(buffer.getvalue()).message


def test_an_encrypted_member_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in honest().items():
            archive.writestr(f"model/{member}", content)
        archive.getinfo(f"model/{MODEL}").flag_bits |= 0x1
    assert "encrypted" in refused(buffer.getvalue()).message


@pytest.mark.parametrize("name", ["data/weights/model.pt", "models/other.json", "data/weights/weight_01", "code/x.py"])
def test_a_member_without_a_place_is_refused(name: str) -> None:
    error = refused(pack({**honest(), name: b""}))
    assert name in (error.where or "") or "TorchScript" in error.message


@pytest.mark.parametrize("name", [MODEL, "data/weights/model_weights_config.json", "data/sample_inputs/model.pt"])
def test_a_missing_member_is_named(name: str) -> None:
    members = honest()
    del members[name]
    assert refused(pack(members)).where == name


@pytest.mark.parametrize(
    ("name", "content"), [("byteorder", b"big"), ("archive_version", b"7"), ("archive_format", b"pt3")]
)
def test_a_fixed_member_with_other_content_is_refused(name: str, content: bytes) -> None:
    assert refused(pack({**honest(), name: content})).where == name


def test_json_too_large_to_hold_is_refused_unread() -> None:
    error = refused(pack({**honest(), MODEL: b" " * (64 * 2**20 + 1)}))
    assert "larger than 64 MiB" in error.message


def test_a_directory_too_large_to_hold_is_refused_unread() -> None:
    data = honest_bytes()
    at = data.rindex(b"PK\x05\x06") + 12
    assert "directory" in refused(data[:at] + (2**31).to_bytes(4, "little") + data[at + 4 :]).message
