"""The second part of the page: every failure, every refusal and every backend that could not, with the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["findings"]

_SHOWN = 400
Have = Mapping[tuple[str, str], Mapping[str, Any]]


def findings(have: Have) -> str:
    """Three lists; places with the same reason share a line."""
    failures = _by_reason(
        ((model, cell, None), record["reason"]) for (model, cell), record in have.items() if record["state"] == "failed"
    )
    refusals = _by_reason(
        ((model, cell, None), record["reason"])
        for (model, cell), record in have.items()
        if record["state"] == "refused"
    )
    return "\n".join(
        [
            _listed("Failures", "Bugs: neither done nor refused with a reason.", failures),
            _listed("Rejected by verification", _REJECTED, _of_backends(have, "rejected", "failed")),
            _listed("Refused", _REFUSED, refusals),
            _listed("Refused by one backend", "Others made an artifact.", _of_backends(have, "refused")),
        ]
    )


_REFUSED = "Nothing was made, and this is why. A pass that finds no layer to treat says so."
_REJECTED = (
    "A backend made an artifact, and its outputs were not those of the program, or it broke. It is never delivered: "
    "where the cell works, another backend's is, and where it is rejected, none is."
)


def _of_backends(have: Have, *kinds: str) -> dict[str, list[str]]:
    return _by_reason(
        ((model, cell, name), found[kind])
        for (model, cell), record in have.items()
        for name, found in record.get("backends", {}).items()
        for kind in kinds
        if kind in found and (record["state"] == "works" or kind != "refused")
    )


def _by_reason(found: Any) -> dict[str, list[str]]:
    """Reason → models and the cells of each."""
    places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (model, cell, backend), reason in found:
        text = " ".join(str(reason).split())
        text = text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"
        key = text if backend is None else f"{backend}: {text}"
        places[key][model].append(cell)
    return {
        reason: [f"{model} ({', '.join(cells)})" for model, cells in models.items()]
        for reason, models in places.items()
    }


def _listed(title: str, words: str, reasons: Mapping[str, list[str]]) -> str:
    if not reasons:
        return f"## {title}\n\nNone.\n"
    lines = [f"- {'; '.join(where)}: {_escaped(reason)}" for reason, where in reasons.items()]
    return "\n".join([f"## {title}", "", words, "", *lines, ""])


def _escaped(text: str) -> str:
    """A reason may name types in angle brackets."""
    return text.replace("<", "&lt;")
