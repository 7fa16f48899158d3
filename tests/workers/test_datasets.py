"""Samples come back from disk as they went, in the order of the program's inputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from burnish.errors import InvalidDataset
from workers.datasets import read_samples, write_samples
from workers.passes.base import Samples


def test_both_formats_read_alike(tmp_path: Path) -> None:
    images, labels = torch.rand(6, 3, 4), torch.arange(6)
    save_file({"inputs": images, "targets": labels}, tmp_path / "a")
    np.savez_compressed(tmp_path / "b.npz", inputs=images.numpy(), targets=labels.numpy())
    for path in (tmp_path / "a", tmp_path / "b.npz"):
        samples = read_samples(path)
        assert torch.equal(samples.inputs[0], images)
        assert samples.targets is not None
        assert torch.equal(samples.targets, labels)
        assert len(samples) == 6


def test_the_format_is_told_by_content(tmp_path: Path) -> None:
    save_file({"inputs": torch.ones(2, 1)}, tmp_path / "named.npz")
    assert read_samples(tmp_path / "named.npz").targets is None


def test_arrays_named_after_the_programs_inputs_come_in_its_order(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 1), "b": torch.ones(2, 1)}, tmp_path / "x")
    assert read_samples(tmp_path / "x", ("b", "a")).inputs[0].sum() == 2
    assert read_samples(tmp_path / "x").inputs[0].sum() == 0


@pytest.mark.parametrize("count", [1, 3, 12])
def test_what_is_written_is_read_again(count: int, tmp_path: Path) -> None:
    samples = Samples(tuple(torch.rand(5, index + 1) for index in range(count)), torch.arange(5))
    write_samples(samples, tmp_path / "x.safetensors")
    again = read_samples(tmp_path / "x.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(again.inputs, samples.inputs, strict=True))


def test_the_same_samples_are_the_same_bytes(tmp_path: Path) -> None:
    samples = Samples((torch.rand(5, 2)[:, ::2], torch.rand(5, 3)), torch.arange(5))
    write_samples(samples, tmp_path / "a")
    write_samples(samples, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unsigned_labels_become_integers_that_torch_computes_with(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", inputs=np.zeros((2, 1), np.float32), targets=np.array([1, 2], np.uint32))
    targets = read_samples(tmp_path / "x.npz").targets
    assert targets is not None
    assert targets.dtype == torch.int64


def test_fortran_order_is_read_right(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "x.npz", inputs=np.asfortranarray(array))
    assert torch.equal(read_samples(tmp_path / "x.npz").inputs[0], torch.from_numpy(array))


def test_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", inputs=np.array([None, 1], dtype=object))
    with pytest.raises(InvalidDataset, match="unpickled"):
        read_samples(tmp_path / "x.npz")


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", inputs=np.zeros((100, 10), np.float32))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[1000] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(InvalidDataset, match="can't be read"):
        read_samples(tmp_path / "x.npz")
