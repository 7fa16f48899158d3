"""Documents as terminal tables and sentences."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from burnish.cli.candidates import Candidates
from burnish.recipe.quantities import format_bytes, format_seconds
from burnish.resources import JobResource, StepResource
from burnish.results import Verdict

__all__ = [
    "STATE_MARKS",
    "STATE_STYLES",
    "failure_lines",
    "plain_table",
    "printable",
    "step_line",
    "steps_table",
    "usage",
    "verdict_table",
]

_TAIL_LINES = 20
"""Lines of a failed step's log that are shown; `--json` has all that was kept."""
STATE_MARKS = {"waiting": "·", "ready": "·", "leased": "▸", "done": "✓", "failed": "✗", "canceled": "–"}
STATE_STYLES = {
    "waiting": "dim", "ready": "dim", "leased": "cyan", "done": "green", "failed": "red", "canceled": "yellow",
}  # fmt: skip


def plain_table() -> Table:
    """An empty table without lines, as every list here has it."""
    return Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))


def verdict_table(job: JobResource) -> RenderableType:
    """The verdict: its sentence, every candidate with intervals, and the limits."""
    verdict = job.verdict
    if verdict is None:
        return Text(f"Job {job.id} is {job.state}: no verdict yet.")
    style = {"improved": "green", "no_gain": "yellow", "target_missed": "yellow"}[verdict.outcome]
    headline = Text.assemble((verdict.outcome.replace("_", " "), f"bold {style}"), "  ", verdict.sentence)
    return Group(headline, "", Candidates(verdict), *_refused(verdict), _environment(verdict), *_limits(verdict))


def _refused(verdict: Verdict) -> list[Text]:
    return [
        Text(f"{candidate.name} refused: {candidate.refused}", style="dim")
        for candidate in verdict.candidates
        if candidate.refused
    ]


def _environment(verdict: Verdict) -> Text:
    where = verdict.environment
    threads = f"{where.threads} thread{'s' if where.threads != 1 else ''}"
    return Text(f"\nMeasured on {where.cpu}, {threads}, batch {where.batch}, load {where.load:.1f}.", style="dim")


def _limits(verdict: Verdict) -> list[Text]:
    return [Text(f"{limit.name}: {limit.advice}", style="yellow") for limit in verdict.limits if limit.advice]


def steps_table(job: JobResource) -> Table:
    """Each step with its state, why it hit or missed the cache, its time and memory."""
    table = plain_table()
    for title in ("", "step", "state", "time", "memory", "cache"):
        table.add_column(title, overflow="fold")
    for step in job.steps:
        table.add_row(
            Text(STATE_MARKS[step.state], style=STATE_STYLES[step.state]),
            step.name,
            step.state,
            format_seconds(step.seconds) if step.seconds is not None else "",
            format_bytes(step.peak_memory) if step.peak_memory else "",
            ("hit" if step.hit else "") + (f" {step.why}" if step.why else ""),
        )
    return table


def failure_lines(job: JobResource) -> list[Text]:
    """Why the job failed: every attempt at the step that did it, and the end of the last one's log."""
    if job.error is None:
        return []
    failed = next((step for step in job.steps if step.name == job.error.details.get("step")), None)
    lines = []
    for failure in failed.failures if failed else ():
        details = failure.error.details
        figures = [f"{failed.name}, attempt {failure.attempt}" if failed else ""]
        figures += [f"after {format_seconds(failure.seconds)}"] if failure.seconds is not None else []
        figures += [f"{format_bytes(details['peak_memory'])} at most"] if details.get("peak_memory") else []
        lines.append(Text(f"  {', '.join(figures)}: {failure.error.message}"))
    if job.error.details.get("settings"):
        settings = ", ".join(f"{name}={value}" for name, value in job.error.details["settings"].items())
        lines.append(Text(f"  settings: {settings}", style="dim"))
    tail = str(job.error.details.get("log_tail") or "").rstrip().splitlines()[-_TAIL_LINES:]
    return lines + [Text(f"  | {printable(line)}", style="dim") for line in tail]


def printable(line: str) -> str:
    """A line of a foreign log, that can't steer the terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in line)


def step_line(step: StepResource) -> str:
    """One step as one plain line, for output that is not a terminal."""
    took = f" in {format_seconds(step.seconds)}" if step.seconds is not None and not step.hit else ""
    return f"{STATE_MARKS[step.state]} {step.name}: {'from the cache' if step.hit else step.state}{took}"


def usage(job: JobResource, console: Console) -> None:
    """Prints how to run what was handed back, without Burnish."""
    if job.artifacts:
        console.print(f"Run it ({job.artifacts[0].name}, no Burnish needed):", style="dim")
        for line in job.artifacts[0].usage.splitlines():
            console.print(f"    {line}", markup=False, soft_wrap=True)
