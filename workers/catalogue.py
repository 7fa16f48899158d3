"""What the worker knows of steps and backends without importing them (they import torch): read once, as plain data.

The zygote imports the table for real and sends this to the worker at start, so that planning, cache keys and the
commit of results run in a process without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from burnish.errors import InternalError

__all__ = ["Catalogue", "Facts", "backends_of"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a step, or a backend it uses, depends on."""

    modules: tuple[str, ...]
    """Where its code starts: the modules of its class and of the parts it is made of."""
    libraries: tuple[str, ...]
    """Distributions whose versions its result depends on."""
    depends_on_isa: bool = False
    alone: bool = False
    """True if nothing else may run on the host meanwhile."""

    @classmethod
    def of(cls, thing: object, parts: tuple[object, ...] = ()) -> Facts:
        """Reads a step (or a backend) and its parts."""
        every = (thing, *parts)
        return cls(
            modules=_unique(type(each).__module__ for each in every),
            libraries=_unique(name for each in every for name in getattr(each, "libraries", ())),
            depends_on_isa=any(getattr(each, "depends_on_isa", False) for each in every),
            alone=bool(getattr(thing, "alone", False)),
        )

    def __or__(self, other: Facts) -> Facts:
        return Facts(
            modules=_unique((*self.modules, *other.modules)),
            libraries=_unique((*self.libraries, *other.libraries)),
            depends_on_isa=self.depends_on_isa or other.depends_on_isa,
            alone=self.alone or other.alone,
        )


@dataclass(frozen=True)
class Catalogue:
    """Facts by op and by backend."""

    steps: Mapping[str, Facts]
    backends: Mapping[str, Facts]

    @classmethod
    def read(cls, steps: Mapping[str, Any], backends: Mapping[str, Any]) -> Catalogue:
        """From the real tables."""
        return cls(
            {op: Facts.of(step, step.parts()) for op, step in steps.items()},
            {name: Facts.of(backend) for name, backend in backends.items()},
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Catalogue:
        """Inverse of `plain`."""
        return cls(*({name: _facts(facts) for name, facts in plain[kind].items()} for kind in ("steps", "backends")))

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "steps": {op: asdict(facts) for op, facts in self.steps.items()},
            "backends": {name: asdict(facts) for name, facts in self.backends.items()},
        }

    def of(self, op: str, settings: Mapping[str, Any]) -> Facts:
        """All that a step with these settings depends on: its own facts and those of the backends it names.

        Raises:
            InternalError: there is no such step here.
        """
        facts = self.steps.get(op)
        if facts is None:
            raise InternalError(
                f"This worker has no step {op!r}.", cure="Run the same version of Burnish on every worker."
            )
        for name in backends_of(settings):
            if name in self.backends:
                facts = facts | self.backends[name]
        return facts


def backends_of(settings: Mapping[str, Any]) -> Iterator[str]:
    """The backends that a step's settings name, in order: its own, and those of the contenders it measures."""
    if isinstance(name := settings.get("backend"), str):
        yield name
    for contender in settings.get("contenders", ()):
        yield contender["backend"]


def _unique(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _facts(plain: Mapping[str, Any]) -> Facts:
    lists = {name: tuple(plain[name]) for name in ("modules", "libraries")}
    return Facts(**lists, depends_on_isa=plain["depends_on_isa"], alone=plain["alone"])
