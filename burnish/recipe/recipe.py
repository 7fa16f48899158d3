"""The recipe: target, goal and passes, with every rule that can be checked without the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from burnish.document import Document
from burnish.errors import Fault, InvalidSpec
from burnish.passes import PASSES, PassSettings
from burnish.recipe.target import Goal, Target

__all__ = ["DEFAULT_MAX_DROP", "PassEntry", "Recipe", "faults_of"]

DEFAULT_MAX_DROP = 0.005
"""Limit on the drop (0.5 points) where a goal names none: no result gets worse than this unasked."""


def _read_entry(value: object) -> object:
    if isinstance(value, PassSettings):
        return value
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError("A pass is one name with its settings, like `prune: {ratio: 0.5}`.")
    ((name, settings),) = value.items()
    kind = PASSES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"There is no pass {name!r}. Use one of {', '.join(PASSES)}.")
    try:
        return kind.model_validate(settings if settings is not None else {})
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            error.title, [_under(name, item) for item in error.errors()]
        ) from None


def _under(name: str, item: ErrorDetails) -> InitErrorDetails:
    """The same fault with the pass's name in its path."""
    type_ = (
        PydanticCustomError("value_error", "{message}", {"message": item["msg"]})
        if item["type"] == "value_error"
        else item["type"]
    )
    return {"type": type_, "loc": (name, *item["loc"]), "input": item["input"], "ctx": item.get("ctx", {})}


def _write_entry(settings: PassSettings) -> dict[str, Any]:
    return {settings.name: settings.model_dump(mode="json")}


def _entry_schema() -> dict[str, Any]:
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {name: _whole(kind.model_json_schema())},
                "required": [name],
                "additionalProperties": False,
            }
            for name, kind in PASSES.items()
        ]
    }


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema with what it refers to in its own `$defs` put in place: those end at its door."""
    definitions = schema.pop("$defs", {})

    def placed(part: Any) -> Any:
        if isinstance(part, list):
            return [placed(each) for each in part]
        if not isinstance(part, dict):
            return part
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions:
            return {**placed(definitions[name]), **{key: value for key, value in part.items() if key != "$ref"}}
        return {key: placed(value) for key, value in part.items()}

    found: dict[str, Any] = placed(schema)
    return found


PassEntry = Annotated[
    PassSettings,
    BeforeValidator(_read_entry),
    PlainSerializer(_write_entry),
    WithJsonSchema(_entry_schema()),
]
"""One pass with its settings, written `name: {settings}`."""


class Recipe(Document):
    """What to do: passes with their settings, or a goal for the search to fill in."""

    target: Target = Target()
    goal: Goal = Goal()
    passes: tuple[PassEntry, ...] = Field((), max_length=32)
    """In the order they run. Empty: the search fills them in under the goal."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of everything random: the split, augmentation, initialisation."""

    @classmethod
    def parse(cls, document: object, at: str = "") -> Recipe:
        """Checks everything that needs no model or data.

        Args:
            document: the recipe as plain data (from JSON or YAML).
            at: JSON pointer of the recipe inside the whole request.

        Raises:
            InvalidSpec: with every fault and its path.
        """
        faults = _order_faults(document, at)
        try:
            recipe = cls.model_validate(document)
        except ValidationError as error:
            raise InvalidSpec(faults_of(error, at) + faults) from error
        faults += _conflicts(recipe, at)
        if faults:
            raise InvalidSpec(faults)
        return recipe


def _order_faults(document: object, at: str) -> list[Fault]:
    """Each pair of passes that may not stand in the order given, read from the names alone."""
    entries = document.get("passes") if isinstance(document, Mapping) else None
    names = [_name_of(entry) for entry in entries] if isinstance(entries, list | tuple) else []
    return [
        Fault(
            where=f"{at}/passes/{index}",
            message=f"`{later}` may not stand after `{earlier}`.",
            cure=f"Move it before `{earlier}`."
            if PASSES[earlier].may_follow(PASSES[later])
            else "Leave one of the two out.",
        )
        for index, later in enumerate(names)
        for earlier in names[:index]
        if later in PASSES and earlier in PASSES and not PASSES[later].may_follow(PASSES[earlier])
    ]


def _conflicts(recipe: Recipe, at: str) -> list[Fault]:
    """Each pair of passes whose settings exclude each other."""
    return [
        Fault(where=f"{at}/passes/{index}", message=message, cure="Leave one of the two out.")
        for index, later in enumerate(recipe.passes)
        for earlier in recipe.passes[:index]
        if (message := later.conflict_with(earlier)) is not None
    ]


def _name_of(entry: object) -> str:
    if isinstance(entry, PassSettings):
        return entry.name
    return str(next(iter(entry), "")) if isinstance(entry, Mapping) else str(entry)


def faults_of(error: ValidationError, at: str = "") -> list[Fault]:
    """Each fault that pydantic found, as path, message and cure; nested errors of a pass keep their own path."""
    faults: list[Fault] = []
    for item in error.errors(include_url=False):
        where = at + "".join(f"/{part}" for part in item["loc"])
        message = str(item["msg"]).removeprefix("Value error, ")
        faults.append(Fault(where=where or "/", message=_sentence(message, item), cure=_cure(str(item["type"]), item)))
    return faults


def _sentence(message: str, item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return f"There is no setting {str(item['loc'][-1])!r} here."
    if item["type"] == "missing":
        return f"{str(item['loc'][-1])!r} is required."
    given = item.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return message.rstrip(".") + shown + "."


def _cure(kind: str, item: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return "Remove it, or look up the right name with `burnish passes`."
    if kind == "missing":
        return "Add it."
    return "Correct the value."
