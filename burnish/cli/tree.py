"""The steps of a job as a tree for the terminal: a branch for each variant, folded where the terminal is too low.

Levels of folding, of which the first that fits is taken:

0. every step
1. a branch that has ended is one line
2. so is one that has not begun
3. of branches that run, only the steps that run
4. the branches that have ended are one line together, and so are those that have not begun
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from burnish.cli.tables import STATE_MARKS, STATE_STYLES, printable
from burnish.cli.time_left import duration, time_left
from burnish.recipe.quantities import format_seconds
from burnish.resources import JobResource, StepResource

__all__ = ["tree"]

_BEFORE = frozenset({"capture", "split", "profile", "preflight"})
"""What each job begins with."""
_OF_A_VARIANT = ("pass:", "lower", "verify")
_ENDED = frozenset({"done", "failed", "canceled"})
_LEVELS = 5
_BARS = ((72, 10), (54, 6))
"""Cells of the bar, from a width on; below them all there is only the percentage."""
_WORD = 9
"""Cells of the longest word for a state, and one."""
_TIME = 8
_DOING = 12
"""Cells that must be left for what a step is doing, lest nothing of it can be read."""
_DEEP = 6
"""Cells before a step of a branch."""


@dataclass(frozen=True)
class _Branch:
    title: str
    """Empty for a step that stands for itself."""
    steps: tuple[StepResource, ...]

    @property
    def word(self) -> str:
        """What its steps are, taken together."""
        words = [_word(step) for step in self.steps]
        for word in ("running", "failed", "canceled"):
            if word in words:
                return word
        if all(step.state in _ENDED for step in self.steps):
            return "cached" if set(words) == {"cached"} else "done"
        return "waiting" if all(word == "waiting" for word in words) else "ready"

    @property
    def ended(self) -> bool:
        return all(step.state in _ENDED for step in self.steps)

    @property
    def begun(self) -> bool:
        return any(step.state != "waiting" for step in self.steps)


def tree(job: JobResource, *, width: int, height: int, now: datetime) -> Text:
    """The job as lines, none wider than `width`, and as far as folding does it not more than `height`.

    Args:
        width: cells of the terminal.
        height: lines of the terminal.
        now: to say how long running steps have taken, and about how much is left.
    """
    around = [_head(job, now), *_foot(job, now)]
    branches = _branches(job)
    drawn: list[Text] = []
    for level in range(_LEVELS):
        drawn = list(_draw(branches, level, width, now))
        if len(drawn) + len(around) <= height:
            break
    lines = [around[0], *drawn, *around[1:]]
    for line in lines:
        line.rstrip()
        line.truncate(max(width, 1), overflow="ellipsis")
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def _branches(job: JobResource) -> list[_Branch]:
    """In the order in which they come up, so that a search's rounds grow at the end."""
    passes = "+".join(settings.name for settings in job.spec.recipe.passes)
    found: dict[str, list[StepResource]] = {}
    alone: set[str] = set()
    for step in job.steps:
        variant, found_variant, _ = step.name.partition("/")
        if found_variant:
            title = variant
        elif step.op in _BEFORE:
            title = "model and data"
        elif step.op.startswith(_OF_A_VARIANT):
            title = passes or "as asked"
        else:
            title = step.name
            alone.add(title)
        found.setdefault(title, []).append(step)
    return [_Branch("" if title in alone else title, tuple(steps)) for title, steps in found.items()]


def _draw(branches: Sequence[_Branch], level: int, width: int, now: datetime) -> Iterator[Text]:
    together = level >= 4
    ended = [branch for branch in branches if together and branch.ended]
    waiting = [branch for branch in branches if together and not branch.begun]
    if ended:
        yield _line("├─ ", "done", f"{len(ended)} branches", _counted(ended), width)
    rest = [branch for branch in branches if branch not in ended and branch not in waiting]
    for number, branch in enumerate(rest, 1):
        yield from _branch(branch, level, number == len(rest) and not waiting, width, now)
    if waiting:
        yield _line("└─ ", "waiting", f"{len(waiting)} branches", _counted(waiting), width)


def _branch(branch: _Branch, level: int, last: bool, width: int, now: datetime) -> Iterator[Text]:
    twig, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    if not branch.title:
        yield from (_step(step, step.name, twig, width, now) for step in branch.steps)
        return
    steps = [step for step in branch.steps if level < 3 or step.state == "leased"]
    if (level >= 1 and branch.ended) or (level >= 2 and not branch.begun) or not steps:
        yield _line(twig, branch.word, branch.title, _counted([branch]), width)
        return
    ended = sum(step.state in _ENDED for step in branch.steps)
    hidden = f"  {ended} of {len(branch.steps)} steps" if len(steps) < len(branch.steps) else ""
    yield Text.assemble((twig, "dim"), (branch.title, "bold"), (hidden, "dim"))
    for number, step in enumerate(steps, 1):
        guide = below + ("└─ " if number == len(steps) else "├─ ")
        yield _step(step, step.name.rpartition("/")[2], guide, width, now)


def _step(step: StepResource, name: str, guide: str, width: int, now: datetime) -> Text:
    """State, name and time; of one that runs a bar, and what it is doing where there is room."""
    word = _word(step)
    if word != "running":
        reason = step.error.message if step.error else step.report.get("refused") or step.report.get("unchanged", "")
        took = format_seconds(step.seconds) if word == "done" and step.seconds is not None else ""
        return _line(guide, word, name, f"{took:>{_TIME}}{f'  {reason}' if reason else ''}", width)
    had = max((now - step.started_at).total_seconds(), 0.0) if step.started_at else 0.0
    line = _line(guide, word, name, f"{duration(had):>{_TIME}}  ", width)
    line.append_text(_bar(step.progress, _bar_cells(width))).append(f"{step.progress:>4.0%}")
    room = width - line.cell_len
    return line.append(f"  {printable(step.doing)}", "dim") if step.doing and room >= _DOING else line


def _line(guide: str, word: str, name: str, told: str, width: int) -> Text:
    """One line; the names of all lines are as wide, so that times stand below each other."""
    state = _STATES[word]
    room = _name_room(width) + _DEEP - len(guide)
    shown = name if len(name) <= room else f"{name[: room - 1]}…"
    mark = Text.assemble((guide, "dim"), (f"{STATE_MARKS[state]} {word:<{_WORD}}", STATE_STYLES[state]))
    mark.append(f"{printable(shown):<{room}} ", "" if word == "running" else "dim")
    return mark.append(printable(told), "dim")


def _name_room(width: int) -> int:
    """Cells for the name of a step in a branch: what is left beside the state, the time and the bar."""
    return max(8, min(24, width - _DEEP - 2 - _WORD - 1 - _TIME - 2 - _bar_cells(width) - 4))


def _bar_cells(width: int) -> int:
    return next((cells for least, cells in _BARS if width >= least), 0)


def _bar(share: float, cells: int) -> Text:
    full = round(min(max(share, 0.0), 1.0) * cells)
    return Text.assemble(("━" * full, "cyan"), ("─" * (cells - full), "dim"))


def _counted(branches: Sequence[_Branch]) -> str:
    """Time of what ran, and how many steps there are and came from the cache."""
    steps = [step for branch in branches for step in branch.steps]
    took = sum(step.seconds or 0.0 for step in steps if step.state == "done" and not step.hit)
    cached = sum(step.hit for step in steps)
    time = format_seconds(took) if took else ""
    return f"{time:>{_TIME}}  {len(steps)} step{'s' if len(steps) != 1 else ''}{f', {cached} cached' if cached else ''}"


def _head(job: JobResource, now: datetime) -> Text:
    ended = sum(step.state in _ENDED for step in job.steps)
    cached = sum(step.hit for step in job.steps)
    steps = f"{ended} of {len(job.steps)} steps{f', {cached} from the cache' if cached else ''}" if job.steps else ""
    end = job.finished_at or now
    took = f", {duration((end - job.started_at).total_seconds())}" if job.started_at else ""
    return Text.assemble((job.state, "bold"), f"  {printable(job.model)}  {steps}{took}")


def _foot(job: JobResource, now: datetime) -> list[Text]:
    """Time left, of a job that runs."""
    if job.state != "running" or not job.steps:
        return []
    lines = time_left(job, now).lines()
    if lines and not job.spec.recipe.passes:
        lines[0] += " in this round; the search may add more"
    return [Text(line, "dim") for line in lines]


_STATES = {
    "waiting": "waiting", "ready": "ready", "running": "leased", "done": "done", "cached": "done", "refused": "done",
    "failed": "failed", "canceled": "canceled",
}  # fmt: skip
"""Each word for people, and the state whose sign and colour it has."""


def _word(step: StepResource) -> str:
    """What it is in one word; a refusal is a step that is done without a result."""
    if step.state == "leased":
        return "running"
    if step.state == "done":
        return "refused" if step.report.get("refused") else "cached" if step.hit else "done"
    return step.state
