"""The page `docs/breadth.md`, made from the records alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.breadth.architectures import ARCHITECTURES, Architecture
from benchmarks.breadth.cells import CELLS
from benchmarks.matrix.cells import Cell
from benchmarks.matrix.findings import findings
from benchmarks.matrix.records import Records
from benchmarks.matrix.table import state

__all__ = ["document"]

_INTRODUCTION = """# What works on which architecture

Made by `python -m benchmarks.breadth --table docs/breadth.md`; `--help` says how. Every row is a network of a public
package as that package defines it, mostly its smallest or a shortened member, with random weights, exported by
`burnish.capture`. Every column is a recipe, run by the service's own steps: passes, a backend (as it is: ONNX Runtime
and OpenVINO; 4 bits and bfloat16: OpenVINO; the others: ONNX Runtime), and verification in a fresh process, where
an artifact must give the outputs of the program that it was made from. Weights and data are random, so nothing is said
of quality or speed; [the matrix](matrix.md) does that for trained models.

A cell tells what became of it, and how many of the layers with weights each pass treated, in the recipe's order:
`20/21 21/21`.
"""
_WORDS = {"works": "", "nothing to do": "nothing to do", "refused": "refused", "rejected": "**rejected**",
          "failed": "**failed**"}  # fmt: skip
Have = Mapping[tuple[str, str], Mapping[str, Any]]


def document(
    records: Records, architectures: Sequence[Architecture] = ARCHITECTURES, cells: Sequence[Cell] = CELLS
) -> str:
    """The whole page."""
    exports = {each.name: found for each in architectures if (found := records.exported(each.name)) is not None}
    known = {(each.name, cell.name): records.read(each.name, cell.name) for each in architectures for cell in cells}
    have = {place: record for place, record in known.items() if record is not None}
    parts = [_INTRODUCTION, _counted(exports, have), _totals(have, cells)]
    for family in dict.fromkeys(each.family for each in architectures):
        members = [each for each in architectures if each.family == family and each.name in exports]
        if members:
            parts.append(_section(family, members, cells, exports, have))
    return "\n".join([*parts, _exports(exports), findings(have), _left_alone(have)])


def _counted(exports: Mapping[str, Mapping[str, Any]], have: Have) -> str:
    batches = Counter(found.get("batch", "not") for found in exports.values())
    states = Counter(state(record) for record in have.values())
    return (
        f"Architectures run so far: {len(exports)} of {len(ARCHITECTURES)}, of which {batches['dynamic']} were "
        f"exported with a dynamic batch as asked, {batches['inferred']} within bounds that torch inferred, "
        f"{batches['static']} for one batch size, and "
        f"{batches['not']} were not. Cells run: {len(have)}, of which {states['works']} work, "
        f"{states['nothing to do']} find nothing to do, {states['refused']} are refused with a reason, "
        f"{states['rejected']} are rejected by verification and {states['failed']} fail.\n"
    )


def _totals(have: Have, cells: Sequence[Cell]) -> str:
    lines = ["| recipe | run | work | nothing to do | refused | rejected | failed | layers treated |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for cell in cells:
        mine = [record for (_, name), record in have.items() if name == cell.name]
        states = Counter(state(record) for record in mine)
        counts = " | ".join(str(states[word]) for word in _WORDS)
        lines.append(f"| {cell.words} | {len(mine)} | {counts} | {_treated_in_all(mine)} |")
    return "\n".join(lines) + "\n"


def _treated_in_all(mine: Sequence[Mapping[str, Any]]) -> str:
    treated: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for each in (each for record in mine for each in record.get("passes", ()) if each["treated"] + each["left"]):
        treated[each["name"]] += each["treated"]
        layers[each["name"]] += each["treated"] + each["left"]
    return ", ".join(f"{name} {treated[name] / layers[name]:.0%}" for name in layers if name != "simplify")


def _section(
    family: str,
    members: Sequence[Architecture],
    cells: Sequence[Cell],
    exports: Mapping[str, Mapping[str, Any]],
    have: Have,
) -> str:
    run = [cell for cell in cells if any((each.name, cell.name) in have for each in members)]
    lines = [f"## {family[0].upper()}{family[1:]}", "", "| |" + "".join(f" {cell.words} |" for cell in run),
             "|---|" + "---|" * len(run)]  # fmt: skip
    for each in members:
        otherwise = "" if "batch" in exports[each.name] else "not exported"
        texts = (_told(have.get((each.name, cell.name)), otherwise) for cell in run)
        lines.append(f"| {each.name} |" + "".join(f" {text} |" for text in texts))
    return "\n".join([*lines, ""])


def _told(record: Mapping[str, Any] | None, otherwise: str) -> str:
    if record is None:
        return otherwise
    # What `simplify` reports are calls, and what `distill` trains is the whole.
    counts = [each for each in record.get("passes", ()) if each["name"] not in ("simplify", "distill")]
    told = " ".join(f"{each['treated']}/{each['treated'] + each['left']}" for each in counts)
    return " ".join(word for word in (_WORDS[state(record)], told) if word) or "works"


def _exports(exports: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"- {name} ({found.get('batch', 'not exported')}): {_escaped(_why(found))}"
        for name, found in exports.items()
        if found.get("batch") != "dynamic"
    ]
    return "\n".join(["## Not exported with a dynamic batch", "", *(lines or ["None."]), ""])


def _why(found: Mapping[str, Any]) -> str:
    return str(found.get("refused") or found.get("failed") or " ".join(found["notes"]))


def _left_alone(have: Have) -> str:
    """Reasons for leaving a layer as it is, numbers blotted out, with the number of architectures where it was said."""
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (name, _), record in have.items():
        for each in record.get("passes", ()):
            for reason in each["reasons"] if each["left"] else ():
                places[each["name"], _general(reason)].add(name)
    ranked = sorted(places.items(), key=lambda item: (item[0][0], -len(item[1])))
    lines = [f"| {name} | {len(where)} | {_escaped(reason)} |" for (name, reason), where in ranked]
    head = ["| pass | architectures | reason |", "|---|---|---|"]
    return "\n".join(["## Layers left alone", "", *([*head, *lines] if lines else ["None."]), ""])


def _general(reason: str) -> str:
    """Without the names of single layers and without numbers, so that equal reasons are counted together."""
    return re.sub(r"\d+", "…", re.sub(r"`[^`]*`", "`…`", reason))


def _escaped(text: str) -> str:
    """A reason may name types in angle brackets, and hold a bar."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")[:400]
