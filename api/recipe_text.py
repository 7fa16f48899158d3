"""Recipes as YAML: read without surprises, written back, and each place of one found in its text.

What is read is what JSON could say too: no dates, no tags, no anchors (a few lines of those unfold to gigabytes), no
key twice, and keys are text.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from burnish.errors import Fault
from burnish.recipe import Recipe

__all__ = ["RecipeText", "written"]

LONGEST = 100_000
"""Characters."""
_DEEPEST = 20


class _Loader(yaml.SafeLoader):
    """Refuses what JSON can't say."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not taken", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(None, None, "a key has to be text", key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class RecipeText:
    """A recipe's YAML, parsed."""

    def __init__(self, text: str) -> None:
        """`document` is the recipe as plain data, `None` with `fault` set if it can't be read."""
        self.text = text
        self.document: Any = None
        self.fault: Fault | None = None
        self.line: int | None = None
        """Of the fault, from 1."""
        self._lines: dict[str, int] = {}
        try:
            self.document = self._read(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.line = None if mark is None else mark.line + 1
            self.fault = _unreadable(f"{error.problem or error.context}", self.line)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self.fault = _unreadable(str(error), None)

    def line_of(self, where: str) -> int | None:
        """The line, from 1, on which what JSON pointer `where` names begins, or what encloses it."""
        while where and where not in self._lines:
            where = where.rpartition("/")[0]
        return self._lines.get(where)

    def _read(self, text: str) -> Any:
        if len(text) > LONGEST:
            raise ValueError(f"it is longer than {LONGEST:,} characters")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return {}
            self._note(node, "", 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()

    def _note(self, node: yaml.Node, where: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(None, None, "it is nested too deeply", node.start_mark)
        self._lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = f"{where}/{key.value}"
                self._lines[inner] = key.start_mark.line + 1
                self._note(value, inner, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._note(value, f"{where}/{index}", depth + 1)


def written(document: Any) -> str:
    """Plain data as YAML: keys in the order of the language, the settings of one pass on one line if they fit."""
    if document in (None, {}, []):
        return ""
    lines: list[str] = []
    for key, value in _in_order(document) if isinstance(document, dict) else ():
        if key == "passes" and isinstance(value, list) and value:
            lines.append("passes:")
            lines += [f"  - {_flow(entry)}" for entry in value]
        else:
            lines.append(_flow({key: value}))
    return "\n".join(lines) + "\n" if lines else _dumped(document)


def _in_order(document: dict[str, Any]) -> list[tuple[str, Any]]:
    """As the language has its keys, then what it does not know."""
    known = {key: document[key] for key in Recipe.model_fields if key in document}
    return [*known.items(), *((key, value) for key, value in document.items() if key not in known)]


def _flow(value: Any) -> str:
    """`name: {settings}` on one line."""
    if not isinstance(value, dict) or len(value) != 1:
        return _dumped(value, flow=True)
    ((name, settings),) = value.items()
    return f"{_dumped(str(name), flow=True)}: {_dumped(settings, flow=True)}"


def _dumped(value: Any, *, flow: bool = False) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True if flow else None, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text.removesuffix("...\n").rstrip("\n") + ("" if flow else "\n")


def _unreadable(reason: str, line: int | None) -> Fault:
    place = "" if line is None else f" in line {line}"
    return Fault(where="/", message=f"The YAML can't be read{place}: {reason}.", cure="Correct it.")
