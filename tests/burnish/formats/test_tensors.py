"""Datasets are told apart and checked by their headers."""

import io
import json
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from burnish.errors import InvalidDataset
from burnish.formats import DatasetSchema, inspect_dataset
from burnish.results import TensorSpec

IMAGES = np.zeros((6, 3, 4), np.float32)
LABELS = np.arange(6)


def npz(compressed: bool = False, **arrays: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def tensors(**arrays: np.ndarray[Any, Any]) -> bytes:
    return save({name.replace("__", "."): array for name, array in arrays.items()})


def raw(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def inspected(data: bytes) -> DatasetSchema:
    return inspect_dataset(io.BytesIO(data))


def refused(data: bytes) -> InvalidDataset:
    with pytest.raises(InvalidDataset) as caught:
        inspected(data)
    assert caught.value.cure
    return caught.value


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (npz(inputs=IMAGES, targets=LABELS), "npz"),
        (npz(True, inputs=IMAGES, targets=LABELS), "npz"),
        (tensors(inputs=IMAGES, targets=LABELS), "safetensors"),
    ],
    ids=["npz", "compressed npz", "safetensors"],
)
def test_both_formats_give_the_same_schema(data: bytes, format_: str) -> None:
    assert inspected(data) == DatasetSchema(
        format=format_,  # type: ignore[arg-type]
        inputs=(TensorSpec(name="inputs", dtype="float32", shape=(6, 3, 4)),),
        targets=TensorSpec(name="targets", dtype="int64", shape=(6,)),
        samples=6,
    )


def test_numbered_inputs_stand_in_the_order_of_their_numbers() -> None:
    arrays = {f"inputs__{index}": np.zeros((2, index + 1), np.float32) for index in range(12)}
    assert [spec.shape[1] for spec in inspected(tensors(**arrays)).inputs] == list(range(1, 13))


def test_a_dataset_needs_no_labels() -> None:
    assert inspected(npz(inputs=IMAGES)).targets is None


def test_a_fortran_ordered_array_is_accepted() -> None:
    assert inspected(npz(inputs=np.asfortranarray(np.zeros((3, 4), np.float32)))).samples == 3


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float64", "complex64"])
def test_every_plain_type_of_numpy_is_named_as_numpy_names_it(dtype: str) -> None:
    assert inspected(npz(inputs=np.zeros((2, 2), dtype))).inputs[0].dtype == dtype


def test_arrays_of_objects_are_refused_with_the_cure() -> None:
    error = refused(npz(inputs=np.array([{"a": 1}, None], dtype=object)))
    assert "unpickled" in error.message
    assert "astype" in error.cure
    assert error.where == "inputs"


@pytest.mark.parametrize(
    "array",
    [np.zeros(2, [("a", "f4"), ("b", "i4")]), np.zeros(2, ">f4"), np.array(["a", "b"]), np.zeros(2, "datetime64[s]")],
    ids=["structured", "big-endian", "text", "time"],
)
def test_other_element_types_are_refused(array: np.ndarray[Any, Any]) -> None:
    assert refused(npz(inputs=array)).where == "inputs"


@pytest.mark.parametrize("make", [npz, tensors])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_file_is_called_so(make: Any, share: float) -> None:
    data = make(inputs=np.random.default_rng(0).random((50, 20)))
    assert "truncated" in refused(data[: int(len(data) * share)]).message


@pytest.mark.parametrize("make", [npz, tensors])
def test_arrays_of_different_length_are_refused(make: Any) -> None:
    message = refused(make(inputs=IMAGES, targets=LABELS[:4])).message
    assert "inputs: 6, targets: 4" in message


def test_a_single_number_is_no_list_of_samples() -> None:
    assert refused(npz(inputs=np.float32(1))).where == "inputs"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"hello, world", "neither"),
        (pickle.dumps([1]), "pickle"),
        (b"\x93NUMPY\x01\x00v\x00{}", "single .npy"),
    ],
)
def test_other_files_are_refused_by_what_they_are(data: bytes, said: str) -> None:
    assert said in refused(data).message


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"targets": LABELS}, "no inputs"),
        ({"inputs__0": IMAGES, "inputs__2": IMAGES}, "gap"),
        ({"inputs": IMAGES, "inputs__0": IMAGES}, "mix"),
        ({"inputs": IMAGES, "mask": IMAGES}, "mix"),
    ],
)
def test_arrays_that_do_not_say_what_they_are_are_refused(arrays: dict[str, Any], said: str) -> None:
    assert said in refused(tensors(**arrays)).message


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        (2**62).to_bytes(8, "little") + b"{}",
        raw(b"{"),
        raw([]),
        raw(b"{" + b'"a":' * 5 + b"}"),
        raw(b"[" * 100_000),
        raw({}),
        raw({"inputs": 1}),
        raw({"inputs": {**ENTRY, "extra": 1}}, bytes(8)),
        raw({"inputs": {**ENTRY, "dtype": "F8_E4M3"}}, bytes(8)),
        raw({"inputs": {**ENTRY, "dtype": ["F32"]}}, bytes(8)),
        raw({"inputs": {**ENTRY, "shape": [-2]}}, bytes(8)),
        raw({"inputs": {**ENTRY, "shape": [10**30]}}, bytes(8)),
        raw({"inputs": {**ENTRY, "shape": [1.5]}}, bytes(8)),
        raw({"inputs": {**ENTRY, "shape": [3]}}, bytes(8)),
        raw({"inputs": {**ENTRY, "data_offsets": [0, True]}}, bytes(8)),
        raw({"inputs": {**ENTRY, "data_offsets": [8, 16]}}, bytes(16)),
        raw({"inputs": ENTRY, "targets": ENTRY}, bytes(8)),
        raw({"inputs": ENTRY}, bytes(12)),
        raw({"inputs": ENTRY}, bytes(4)),
        raw(
            b'{"inputs": ' + json.dumps(ENTRY).encode() + b', "inputs": ' + json.dumps(ENTRY).encode() + b"}", bytes(8)
        ),
    ],
)
def test_a_header_that_contradicts_itself_or_the_file_is_refused(data: bytes) -> None:
    refused(data)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        b"not an array",
        b"\x93NUMPY\x09\x00\x00\x00",
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        npy("__import__('os').mkdir('x')"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os'),)}", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", bytes(8)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", bytes(8)),
        npy("{'descr': '<V4', 'fortran_order': False, 'shape': (2,)}", bytes(8)),
    ],
)
def test_a_damaged_member_of_an_npz_is_refused(member: bytes) -> None:
    assert refused(zipped({"inputs.npy": member})).where == "inputs"


def test_a_member_that_is_no_array_is_refused() -> None:
    assert refused(zipped({"inputs.txt": b"x"})).where == "inputs.txt"


def test_an_npz_without_arrays_is_refused() -> None:
    refused(zipped({}))


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    body = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000000,)}", bytes(10**8))
    assert "zip bomb" in refused(zipped({"inputs.npy": body}, zipfile.ZIP_DEFLATED)).message
