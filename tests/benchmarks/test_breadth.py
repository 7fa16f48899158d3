"""The breadth's table of architectures is complete, and its page says what the records say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.breadth.architecture import Architecture
from benchmarks.breadth.architectures import ARCHITECTURES
from benchmarks.breadth.cells import BACKENDS, CELLS, cells_of
from benchmarks.breadth.table import document
from benchmarks.matrix.records import Records


def _architecture(name: str, **settings: bool) -> Architecture:
    def build() -> Any:
        raise AssertionError("a page is made from records alone")

    return Architecture(name, "plain", (), build, **settings)


def _record(state: str, **more: Any) -> dict[str, Any]:
    counts = {"name": "quantize", "treated": 3, "left": 1, "reasons": ["it has 7 columns"], "changed": True}
    return {"state": state, "passes": [counts], "backends": {}, **more}


def test_no_two_architectures_have_one_name() -> None:
    names = [each.name for each in ARCHITECTURES]
    assert len(set(names)) == len(names) > 100


def test_every_chain_says_which_backends_lower_it() -> None:
    assert set(BACKENDS) == {cell.name for cell in CELLS}


def test_carried_state_is_for_what_reads_step_by_step() -> None:
    assert "state" not in {cell.name for cell in cells_of(_architecture("net"))}
    assert "state" in {cell.name for cell in cells_of(_architecture("net", stepwise=True))}


def test_the_page_counts_what_works_and_lists_what_does_not(tmp_path: Path) -> None:
    records = Records(tmp_path)
    nets = [_architecture("good"), _architecture("bound"), _architecture("stuck")]
    for net in nets:
        (tmp_path / net.name).mkdir()
    records.write_exported("good", {"batch": "dynamic", "notes": []})
    records.write_exported("bound", {"batch": "static", "notes": ["dynamic batch: it fails at a batch of 1"]})
    records.write_exported("stuck", {"refused": "torch.export can't export it <here>"})
    records.write("good", "int2", _record("works"))
    records.write("bound", "int2", _record("refused", reason="no layer can be rounded"))
    page = document(records, nets)
    assert (
        f"Architectures run so far: 3 of {len(ARCHITECTURES)}, of which 1 were exported with a dynamic batch as asked"
        in page
    )
    assert "Cells run: 2, of which 1 work" in page
    assert "- stuck (not exported): torch.export can't export it &lt;here>" in page
    assert "| good | 3/4 |" in page
    assert "no layer can be rounded" in page
    assert "| quantize | 2 | it has … columns |" in page
