"""What JSON may look like, as rules that are put together: anything a rule does not name is refused.

A rule is a function of a value and its place. It returns nothing, and raises `InvalidModel` at the first fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from burnish.errors import InvalidModel

__all__ = [
    "EXPORT_AGAIN",
    "Place",
    "Rule",
    "anything",
    "flag",
    "integer",
    "later",
    "list_of",
    "mapping_of",
    "number",
    "one_of",
    "optional",
    "record",
    "refuse",
    "text",
    "union",
]

Place = tuple[Any, ...]
"""`(place above, key)`, or `(member,)` at the top: cheap to extend, and only rendered if there is a fault."""
Rule = Callable[[Any, Place], None]
EXPORT_AGAIN = "Export the model again with torch 2.8 or later, by `burnish.capture` or `torch.export.save`."
_INT64 = 2**63
_SPELLED = frozenset({"Infinity", "-Infinity", "NaN", "inf", "-inf", "nan"})


def refuse(message: str, place: Place, cure: str = EXPORT_AGAIN) -> NoReturn:
    """Raises `InvalidModel` for what stands at `place`: `member#/pointer/into/it`."""
    keys: list[str] = []
    while len(place) == 2:
        place, key = place
        keys.append(str(key)[:80])
    pointer = "".join(f"/{key}" for key in reversed(keys))
    raise InvalidModel(message, cure=cure, where=f"{place[0]}#{pointer}" if keys else str(place[0]))


def anything(value: Any, place: Place) -> None:
    """For what is dropped or said anew when the program is rewritten, whatever it is."""


def flag(value: Any, place: Place) -> None:
    if not isinstance(value, bool):
        refuse("A true or false is expected.", place)


def integer(value: Any, place: Place) -> None:
    if type(value) is not int or not -_INT64 <= value < _INT64:
        refuse("An integer of 64 bits is expected.", place)


def number(value: Any, place: Place) -> None:
    if type(value) is float or (isinstance(value, str) and value in _SPELLED):
        return
    integer(value, place)


def text(pattern: str, longest: int, what: str) -> Rule:
    """A string that matches `pattern` whole; `what` names it in the refusal."""
    compiled = re.compile(pattern, re.ASCII)

    def rule(value: Any, place: Place) -> None:
        if not isinstance(value, str) or len(value) > longest or not compiled.fullmatch(value):
            refuse(f"{value!r:.60} is no usable {what}.", place)

    return rule


def one_of(*values: Any, cure: str = EXPORT_AGAIN) -> Rule:
    """Exactly one of these values, of the same type."""

    def rule(value: Any, place: Place) -> None:
        if not any(type(value) is type(allowed) and value == allowed for allowed in values):
            refuse(f"{value!r:.60} is not supported here.", place, cure)

    return rule


def optional(inner: Rule) -> Rule:
    """`null`, or what `inner` allows."""

    def rule(value: Any, place: Place) -> None:
        if value is not None:
            inner(value, place)

    return rule


def list_of(inner: Rule) -> Rule:
    """A list. The place of an item that has a name shows it: `nodes/3 (conv2d)`."""

    def rule(value: Any, place: Place) -> None:
        if not isinstance(value, list):
            refuse("A list is expected.", place)
        for index, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            inner(item, (place, f"{index} ({name})" if isinstance(name, str) and name.isidentifier() else index))

    return rule


def mapping_of(key: Rule, inner: Rule) -> Rule:
    """An object with keys of the user's choice."""

    def rule(value: Any, place: Place) -> None:
        if not isinstance(value, dict):
            refuse("An object is expected.", place)
        for name, item in value.items():
            key(name, place)
            inner(item, (place, name))

    return rule


def record(required: Mapping[str, Rule], extra: Mapping[str, Rule] | None = None) -> Rule:
    """An object with these keys; those of `extra` may be absent, others may not be there."""
    rules = {**required, **(extra or {})}

    def rule(value: Any, place: Place) -> None:
        if not isinstance(value, dict):
            refuse("An object is expected.", place)
        for name in required:
            if name not in value:
                refuse(f"{name!r} is missing.", place)
        for name, item in value.items():
            if name not in rules:
                refuse(f"There is no {name!r:.60} here in any format this version knows.", place)
            rules[name](item, (place, name))

    return rule


def union(variants: Mapping[str, Rule], refused: Mapping[str, tuple[str, str]] | None = None) -> Rule:
    """An object with exactly one of these keys. `refused` gives others their own message and cure."""
    reasons = refused or {}

    def rule(value: Any, place: Place) -> None:
        if not isinstance(value, dict) or len(value) != 1:
            refuse("An object with one key is expected.", place)
        ((name, item),) = value.items()
        if name in reasons:
            refuse(reasons[name][0], place, reasons[name][1])
        if name not in variants:
            refuse(f"{name!r:.60} is not supported here.", place)
        variants[name](item, (place, name))

    return rule


def later(get: Callable[[], Rule]) -> Rule:
    """For rules that contain themselves."""
    return lambda value, place: get()(value, place)
