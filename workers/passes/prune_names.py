"""The names that the setting `layers` uses, held against those of the model."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from burnish.passes import Prune
from workers.passes.coupling import layer_of

__all__ = ["unknown_patterns"]

_SHOWN = 8


def unknown_patterns(settings: Prune, weights: Sequence[str]) -> list[str]:
    """One sentence for each pattern that no layer's name matches: a typo should not pass silently.

    Args:
        weights: names of all weights of the model.
    """
    layers = list(dict.fromkeys(map(layer_of, weights)))
    shown = ", ".join(layers[:_SHOWN]) + (", …" if len(layers) > _SHOWN else "")
    return [
        f"`layers` names {pattern!r}, which matches no layer of this model. Its layers are: {shown}."
        for pattern in settings.layers
        if not any(fnmatchcase(layer, pattern) for layer in layers)
    ]
