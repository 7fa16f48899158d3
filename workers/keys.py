"""The cache key of a step: SHA-256 over all that its result depends on, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from burnish.document import canonical_json
from burnish.errors import InternalError
from workers.catalogue import Catalogue, backends_of
from workers.environment import Environment
from workers.sources import STANDALONE, code_digest

__all__ = ["Key", "KeyMaker"]


@dataclass(frozen=True)
class Key:
    """A key, and what it was made from, by name (`settings.ratio`, `inputs.program`), so that a miss can be told."""

    digest: str
    parts: dict[str, Any]
    alone: bool


@dataclass(frozen=True)
class KeyMaker:
    """Makes keys as this worker would compute the steps."""

    catalogue: Catalogue
    environment: Environment

    def key(self, op: str, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> Key:
        """The key of a step.

        Args:
            spec: `settings` (after defaults), `target`, `seed`; each as far as the step depends on it.
            inputs: digests by role.

        Raises:
            InternalError: this worker has no such step, or can't read its spec.
        """
        try:
            return self._key(op, spec, inputs)
        except (LookupError, TypeError, AttributeError) as error:
            raise InternalError(
                f"This worker can't read the spec of a step {op!r}: {type(error).__name__}: {error}.",
                cure="Run the same version of Burnish on every worker.",
            ) from error

    def _key(self, op: str, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> Key:
        facts = self.catalogue.of(op, spec["settings"])
        # Whatever names a backend runs the stand-alone loaders, which no import shows.
        standalone = (STANDALONE,) if any(True for _ in backends_of(spec["settings"])) or facts.alone else ()
        parts: dict[str, Any] = {
            "op": op,
            "code": code_digest((*facts.modules, *standalone)),
            "seed": spec["seed"],
            **_flat("settings", spec["settings"]),
            **_flat("inputs", inputs),
            **_flat("target", spec["target"]),
            **_flat("versions", self.environment.library_versions(facts.libraries)),
        }
        if facts.depends_on_isa or facts.alone:
            parts["isa"] = list(self.environment.isa)
            parts["cpu"] = self.environment.cpu
        return Key(hashlib.sha256(canonical_json(parts).encode()).hexdigest(), parts, facts.alone)


def _flat(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """One part per setting. An empty mapping has no parts, and equals no other since every setting is filled in."""
    return {f"{name}.{key}": value for key, value in values.items()}
