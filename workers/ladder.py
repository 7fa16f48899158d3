"""The variants of a model that a job tries.

Rules:

1. The program as it is, only lowered, is always a variant: plain lowering may be the fastest within the limits.
2. A recipe with passes has one more: all its passes, in order.
3. A goal without passes has a ladder of more, each faster and less exact than the one before.
4. Recovery in the ladder costs about the same whatever the model and the dataset are: `_TRAINING` weights × samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from burnish.passes import Distill, PassSettings, Prune, Quantize
from burnish.recipe import Recipe

__all__ = ["AS_IS", "Variant", "variants"]

AS_IS = "as-is"
_TRAINING = 2e10
_MOST_EPOCHS = 20


@dataclass(frozen=True)
class Variant:
    """One way to treat the model before it is lowered."""

    name: str
    """`as-is`, or the names of its passes joined by `+`."""
    passes: tuple[PassSettings, ...]
    asked: bool
    """True if the user wrote these passes: then a pass that fails is the job's failure, not one contender less."""


def variants(recipe: Recipe, parameters: int, samples: int) -> tuple[Variant, ...]:
    """The variants to try, the ones that change least first.

    Args:
        parameters: weights of the model.
        samples: samples of the dataset.
    """
    as_is = Variant(AS_IS, (), asked=False)
    if recipe.passes:
        return as_is, _variant(recipe.passes, asked=True)
    recovery = Distill(epochs=_epochs(parameters, samples))
    ladder: tuple[tuple[PassSettings, ...], ...] = (
        (Quantize(),),
        (Prune(ratio=0.5), recovery, Quantize()),
    )
    return as_is, *(_variant(passes, asked=False) for passes in ladder)


def _variant(passes: tuple[PassSettings, ...], *, asked: bool) -> Variant:
    return Variant("+".join(settings.name for settings in passes), passes, asked)


def _epochs(parameters: int, samples: int) -> int:
    return max(1, min(_MOST_EPOCHS, round(_TRAINING / max(1, parameters * samples))))
