"""The candidates of a verdict as a table that fits the terminal: no figure is broken over lines.

Layouts, of which the first that fits is taken; what the others leave out is said below them:

1. one line each, with every figure
2. the name on a line of its own, without 95th percentile and quality
3. the same without the speed-up over compiled
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from burnish.recipe.quantities import format_bytes, format_fraction, format_seconds
from burnish.results import Candidate, Estimate, Verdict

__all__ = ["Candidates"]

_NAME = "candidate"
_FIGURES = ("median", "p95", "× eager", "× compiled", "quality", "drop", "size")
_LAYOUTS = (
    (_NAME, *_FIGURES),
    ("median", "× eager", "× compiled", "drop", "size"),
    ("median", "× eager", "drop", "size"),
)
_GAP = "  "


class Candidates:
    """Those that were measured, the chosen one in bold."""

    def __init__(self, verdict: Verdict) -> None:
        self._chosen = verdict.chosen
        self._measured = [candidate for candidate in verdict.candidates if not candidate.refused]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for columns in _LAYOUTS:
            lines = self._lines(columns)
            if max(line.cell_len for line in lines) <= options.max_width:
                break
        yield from lines
        if left_out := [name for name in _FIGURES if name not in columns]:
            yield Text(f"In a wider terminal: {', '.join(left_out)}.", "dim")

    def _lines(self, columns: Sequence[str]) -> list[Text]:
        """The names of the columns, and the candidates below them."""
        rows = [_cells(candidate) for candidate in self._measured]
        widths = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in columns}
        apart = _NAME not in columns
        indent = _GAP if apart else ""
        lines = [Text(indent + _line(dict(zip(columns, columns, strict=True)), widths), "dim")]
        for candidate, row in zip(self._measured, rows, strict=True):
            style = "bold" if candidate.name == self._chosen else ""
            lines += [Text(candidate.name, style)] if apart else []
            lines.append(Text((indent + _line(row, widths)).rstrip(), style))
        return lines


def _line(row: dict[str, str], widths: dict[str, int]) -> str:
    """Names to the left, figures to the right."""
    return _GAP.join(f"{row[name]:{'<' if name == _NAME else '>'}{width}}" for name, width in widths.items())


def _cells(candidate: Candidate) -> dict[str, str]:
    latency, quality = candidate.latency, candidate.quality
    return {
        _NAME: candidate.name,
        "median": format_seconds(latency.median.value) if latency else "",
        "p95": format_seconds(latency.p95) if latency else "",
        "× eager": _ratio(candidate.speedup_over_eager),
        "× compiled": _ratio(candidate.speedup_over_compiled),
        "quality": format_fraction(quality.value) if quality else "",
        "drop": format_fraction(quality.drop.value) if quality else "",
        "size": format_bytes(candidate.artifact.size) if candidate.artifact else "",
    }


def _ratio(estimate: Estimate | None) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})" if estimate else ""
