"""What a waiting step is to work on, once the steps it reads from are settled. Pure: no SQL, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.records import Step

__all__ = ["Bound", "LeftOut", "bound", "refusal", "settled"]

_BLOB = "sha256:"


@dataclass(frozen=True)
class Bound:
    """A step that can be computed now."""

    spec: dict[str, Any]
    """The planned one, without the contenders that are out."""
    inputs: dict[str, str]
    """Digests by role."""


@dataclass(frozen=True)
class LeftOut:
    """A step that has nothing to work on."""

    reason: str


def settled(step: Step, every: Mapping[str, Step]) -> bool:
    """True if all that the step reads from, or asks the opinion of, has ended one way or the other."""
    spec = step.spec
    sources = [source.partition(".")[0] for source in spec["inputs"].values() if not source.startswith(_BLOB)]
    return all(_has_ended(every[name]) for name in (*sources, *spec.get("unless", {}).values()))


def _has_ended(step: Step) -> bool:
    return step.state in ("done", "failed", "canceled")


def bound(step: Step, every: Mapping[str, Step]) -> Bound | LeftOut:
    """Gives a settled step its inputs.

    A role stays empty if its producer failed, was left out, refused or has no such output, or if the step named under
    `unless` refused. An empty role is fatal unless it is `optional`; empty contenders are taken out of the settings.
    """
    spec = step.spec
    inputs: dict[str, str] = {}
    for role, source in spec["inputs"].items():
        found, reason = _read(source, every)
        judge = spec.get("unless", {}).get(role)
        if found is not None and judge is not None and (objection := refusal(every[judge])) is not None:
            found, reason = None, objection
        if found is not None:
            inputs[role] = found
        elif role not in spec.get("optional", ()):
            return LeftOut(reason)
    settings = dict(spec["settings"])
    if "contenders" in settings:
        settings["contenders"] = [each for each in settings["contenders"] if f"artifact.{each['name']}" in inputs]
    return Bound({**spec, "settings": settings}, inputs)


def _read(source: str, every: Mapping[str, Step]) -> tuple[str | None, str]:
    if source.startswith(_BLOB):
        return source.removeprefix(_BLOB), ""
    name, _, role = source.partition(".")
    reason = refusal(every[name])
    if reason is not None:
        return None, reason
    digest = (every[name].outputs or {}).get(role)
    return digest, f"`{name}` gave no {role}."


def refusal(step: Step) -> str | None:
    """Why a step that has ended gave nothing to go on with; `None` if it did its work."""
    if step.state == "failed":
        error = step.error or {}
        return f"`{step.name}` failed: {error.get('message', 'no reason is known.')}"
    if step.state == "canceled":
        return str((step.why or {}).get("skipped", f"`{step.name}` was canceled."))
    refused = (step.report or {}).get("refused")
    return None if refused is None else str(refused)
