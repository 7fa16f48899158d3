"""The table of candidates at the widths of terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from burnish.cli.candidates import Candidates
from tests.api.place import verdict


def shown(width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(Candidates(verdict()))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_wide_terminal_has_a_line_for_each_with_every_figure() -> None:
    lines = shown(120)
    assert lines[0].split() == [
        "candidate", "median", "p95", "×", "eager", "×", "compiled", "quality", "drop", "size",
    ]  # fmt: skip
    assert lines[4] == (
        "prune@onnxruntime     500 µs  1 s  4.00 (3.96–4.04)  3.00 (2.97–3.03)  95.70 %  0.30 %  382 kB"
    )
    assert len(lines) == 5  # the one that was refused is told apart


@pytest.mark.parametrize(("width", "left_out"), [(80, "p95, quality"), (50, "p95, × compiled, quality")])
def test_a_narrow_one_puts_names_on_their_own_lines_and_says_what_it_leaves_out(width: int, left_out: str) -> None:
    lines = shown(width)
    assert max(len(line) for line in lines) <= width
    at = lines.index("prune@onnxruntime")
    assert "4.00 (3.96–4.04)" in lines[at + 1]
    assert lines[-1] == f"In a wider terminal: {left_out}."
