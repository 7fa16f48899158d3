"""Programs come back from disk as they went, and nothing in an archive runs on the way."""

import io
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from burnish.errors import InternalError, InvalidModel, UnsupportedModel
from tests import keywords, models
from tests.burnish.formats import hostile
from tests.burnish.formats.archives import honest_bytes
from tests.burnish.formats.conftest import quantized
from workers.programs import (
    batch_range,
    clean_archive,
    example_inputs,
    input_names,
    load_program,
    output_names,
    save_program,
    summary,
)

__all__ = ["quantized"]  # the fixture

Attack = Callable[[Path], bytes]


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What an attack would make. Its folder is on `sys.path`, so that a module there could be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "marker"
    sys.modules.pop("burnish_hostile_module", None)


@pytest.mark.parametrize("attack", [*hostile.REFUSED, *hostile.NEUTRALISED], ids=lambda attack: attack.__name__)
def test_loading_a_hostile_archive_runs_nothing_of_it(attack: Attack, marker: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(attack(marker))
    with suppress(InvalidModel):
        load_program(path).module()(torch.zeros(3, 20))
        assert attack in hostile.NEUTRALISED
    assert not marker.exists()


@pytest.mark.parametrize("attack", hostile.REAL, ids=lambda attack: attack.__name__)
def test_the_attacks_are_real_where_torch_loads_them_unchecked(attack: Attack, marker: Path) -> None:
    logging.disable(logging.CRITICAL)  # torch logs its fallback to full pickles
    try:
        torch.export.load(io.BytesIO(attack(marker))).module()(torch.zeros(3, 20))
    # Whatever torch says afterwards: the code has run by then.
    except Exception:  # noqa: BLE001
        pass
    finally:
        logging.disable(logging.NOTSET)
    assert marker.exists()


@pytest.mark.parametrize("name", models.NAMES)
def test_a_program_comes_back_with_the_same_outputs_at_another_batch(name: str, tmp_path: Path) -> None:
    save_program(models.program(name), tmp_path / "a.pt2")
    program = load_program(tmp_path / "a.pt2")
    for batch in (1, 7):
        inputs = models.example(name, batch, seed=batch)
        assert torch.equal(program.module()(*inputs), models.module(name)(*inputs))


@pytest.mark.parametrize("name", models.NAMES)
def test_a_program_that_was_loaded_is_saved_as_the_same_bytes(name: str, tmp_path: Path) -> None:
    save_program(models.program(name), tmp_path / "a.pt2")
    save_program(load_program(tmp_path / "a.pt2"), tmp_path / "b.pt2")
    assert (tmp_path / "a.pt2").read_bytes() == (tmp_path / "b.pt2").read_bytes()


def test_another_process_saves_the_same_program_as_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests import models; from workers.programs import save_program\n"
        "save_program(models.program('concat_cnn'), Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    save_program(models.program("concat_cnn"), tmp_path / "here")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_saving_keeps_no_path_of_this_machine(tmp_path: Path) -> None:
    save_program(models.program("residual_cnn"), tmp_path / "a.pt2")
    content = (tmp_path / "a.pt2").read_bytes()
    assert b"models.py" not in content
    assert b"site-packages" not in content
    assert b"ResidualCNN" not in content


def test_saving_leaves_the_program_as_it_was(tmp_path: Path) -> None:
    program = models.program("mlp")
    before = [dict(node.meta) for node in program.graph.nodes]
    save_program(program, tmp_path / "a.pt2")
    assert [dict(node.meta) for node in program.graph.nodes] == before
    assert program.example_inputs is not None


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
            return x + 1, 3

    program = torch.export.export(Counting(), (torch.zeros(2),))
    with pytest.raises(InternalError, match="could not be loaded again"):
        save_program(program, tmp_path / "a.pt2")
    assert not (tmp_path / "a.pt2").exists()


def test_a_program_called_by_keyword_is_loaded_as_one_called_by_position(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(keywords.archive())
    program = load_program(tmp_path / "a.pt2")
    assert input_names(program) == keywords.INPUTS
    assert output_names(program) == keywords.OUTPUTS
    assert batch_range(program) == (1, 64)
    found = program.module()(*example_inputs(program, 5, seed=0))
    assert [tensor.shape for tensor in found.values()] == [(5, 4), (5, 10, 16), (5, 32)]


def test_outputs_without_keys_have_no_names() -> None:
    assert output_names(models.program("mlp")) == ()


def test_saving_never_overwrites(tmp_path: Path) -> None:
    save_program(models.program("mlp"), tmp_path / "a.pt2")
    with pytest.raises(FileExistsError):
        save_program(models.program("mlp"), tmp_path / "a.pt2")


def test_sample_inputs_of_the_upload_are_gone(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(honest_bytes("mlp"))
    assert load_program(tmp_path / "a.pt2").example_inputs is None


def test_a_clean_archive_is_canonical(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(honest_bytes("mlp"))
    clean_archive(tmp_path / "a.pt2", tmp_path / "b.pt2")
    save_program(models.program("mlp"), tmp_path / "c.pt2")
    assert (tmp_path / "b.pt2").read_bytes() == (tmp_path / "c.pt2").read_bytes()


def test_a_program_that_torch_cannot_read_is_refused_with_its_words(tmp_path: Path) -> None:
    data = honest_bytes("mlp").replace(b"torch.ops.aten.relu.default", b"torch.ops.aten.rexu.default")
    (tmp_path / "a.pt2").write_bytes(_repacked(data))
    with pytest.raises(InvalidModel, match="can't load this program"):
        load_program(tmp_path / "a.pt2")


def _repacked(data: bytes) -> bytes:
    """With checksums that are right again."""
    import zipfile

    from tests.burnish.formats.archives import pack

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {}
        for info in archive.infolist():
            start = info.header_offset + 30 + len(info.filename)
            start += int.from_bytes(data[info.header_offset + 28 : info.header_offset + 30], "little")
            members[info.filename.partition("/")[2]] = data[start : start + info.file_size]
    return pack(members)


def test_a_damaged_weight_is_refused(tmp_path: Path) -> None:
    data = bytearray(honest_bytes("mlp"))
    data[500] ^= 0xFF
    (tmp_path / "a.pt2").write_bytes(data)
    with pytest.raises(InvalidModel, match="damaged"):
        load_program(tmp_path / "a.pt2")


def test_a_quantized_program_comes_back_with_the_same_outputs(quantized: Path, tmp_path: Path) -> None:
    program = load_program(quantized)
    inputs = models.example("mlp", 5)
    assert torch.equal(program.module()(*inputs), torch.export.load(quantized).module()(*inputs))
    save_program(program, tmp_path / "a.pt2")
    save_program(load_program(tmp_path / "a.pt2"), tmp_path / "b.pt2")
    assert (tmp_path / "a.pt2").read_bytes() == (tmp_path / "b.pt2").read_bytes()


def test_a_fresh_process_loads_a_quantized_program(quantized: Path) -> None:
    """Its operators exist only once torchao was imported, which loading sees to."""
    code = (
        "import sys, torch; from pathlib import Path; from workers.programs import load_program\n"
        "print(load_program(Path(sys.argv[1])).module()(torch.zeros(2, 20)).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(quantized)], check=True, capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert b"torch.Size([2, 4])" in done.stdout


def test_the_summary_counts_weights_operations_and_calls() -> None:
    parameters, flops, ops = summary(models.program("mlp"))
    assert parameters == 20 * 64 + 64 + 64 * 64 + 64 + 64 * 4 + 4
    assert flops == 2 * (20 * 64 + 64 * 64 + 64 * 4)
    assert ops == {"aten.dropout.default": 1, "aten.linear.default": 3, "aten.relu.default": 2}


def test_operations_of_a_convolution_are_counted_per_pixel() -> None:
    program = torch.export.export(nn.Conv2d(3, 8, 3), (torch.zeros(4, 3, 10, 10),))
    assert summary(program)[1] == 2 * 8 * 8 * 8 * 3 * 9


def test_operations_of_attention_and_of_an_lstm_are_counted() -> None:
    linears = 12 * (32 * 96 + 32 * 32 + 32 * 64 + 64 * 32) + 32 * 6
    assert summary(models.program("encoder"))[1] == 2 * (linears + 2 * 4 * 12 * 12 * 8)
    assert summary(models.program("lstm"))[1] == 2 * (10 * 4 * 16 * (8 + 16) + 16 * 3)


def test_example_inputs_fit_the_program_and_repeat_with_their_seed() -> None:
    program = models.program("encoder")
    (tokens,) = example_inputs(program, 5, seed=1)
    assert tokens.shape == (5, 12)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, example_inputs(program, 5, seed=1)[0])
    assert program.module()(tokens).shape == (5, 6)


def test_integers_of_example_inputs_ascend_as_offsets_and_corners_of_boxes_do() -> None:
    class Sizes(nn.Module):
        """Looks up the width and the height of boxes, as LayoutLM does."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 3)

        def forward(self, box: torch.Tensor) -> torch.Tensor:
            return self.table(box[..., 2] - box[..., 0]) + self.table(box[..., 3] - box[..., 1])  # type: ignore[no-any-return]

    boxes = torch.zeros(4, 5, 4, dtype=torch.int64)
    program = torch.export.export(Sizes(), (boxes,), dynamic_shapes=({0: Dim("batch", min=1, max=8)},))
    (given,) = example_inputs(program, 8, seed=0)
    assert given.unique().tolist() == [0, 1]
    assert program.module()(given).shape == (8, 5, 3)


def test_example_inputs_that_no_machine_holds_are_refused() -> None:
    program = torch.export.export(nn.ReLU(), (torch.zeros(1).expand(2**20, 2**20),))
    with pytest.raises(UnsupportedModel, match="too large"):
        example_inputs(program, 1, seed=0)


def test_example_inputs_of_a_static_export_have_its_batch() -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.zeros(4, 3),))
    assert example_inputs(program, 1, seed=0)[0].shape == (4, 3)


def test_a_loaded_program_gives_example_inputs_with_other_dynamic_sides_as_they_were(tmp_path: Path) -> None:
    auto = {0: Dim.AUTO, 1: Dim.AUTO}
    save_program(
        torch.export.export(nn.ReLU(), (torch.zeros(4, 9),), dynamic_shapes={"input": auto}), tmp_path / "a.pt2"
    )
    assert example_inputs(load_program(tmp_path / "a.pt2"), 2, seed=0)[0].shape == (2, 9)


def test_the_batch_range_is_that_of_the_export() -> None:
    assert batch_range(models.program("mlp")) == (1, 256)
    assert batch_range(torch.export.export(nn.Linear(3, 2), (torch.zeros(4, 3),))) == (4, 4)
    unbounded = torch.export.export(nn.Linear(3, 2), (torch.zeros(4, 3),), dynamic_shapes=({0: Dim("batch")},))
    assert batch_range(unbounded) == (1, None)


def test_input_names_stand_in_call_order() -> None:
    class Model(nn.Module):
        def forward(self, b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
            return b - a

    assert input_names(torch.export.export(Model(), (torch.zeros(2), torch.zeros(2)))) == ("b", "a")


def test_an_input_that_is_no_tensor_is_refused() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor, times: int) -> torch.Tensor:
            return x * times

    with pytest.raises(UnsupportedModel, match="no tensor"):
        input_names(torch.export.export(Model(), (torch.zeros(2), 3)))
