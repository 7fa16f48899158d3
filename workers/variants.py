"""The variants of a model that a job tries: one way each to treat it before it is lowered.

The program as it is, only lowered, is always one: plain lowering may be the fastest within the limits. A recipe with
passes has one more, all its passes in order. A goal without passes has as many as the search (`workers/search.py`)
comes to.
"""

from __future__ import annotations

from dataclasses import dataclass

from burnish.passes import PassSettings, Prune, Quantize
from burnish.recipe import Recipe

__all__ = ["AS_IS", "Variant", "of_recipe", "searched"]

AS_IS = "as-is"


@dataclass(frozen=True)
class Variant:
    """One way to treat the model before it is lowered."""

    name: str
    """`as-is`, or the names of its passes joined by `+`. Unique in its job."""
    passes: tuple[PassSettings, ...]
    asked: bool
    """True if the user wrote these passes: then a pass that fails is the job's failure, not one contender less."""

    @property
    def prefix(self) -> str:
        """What the names of its steps begin with."""
        return "" if self.asked else f"{self.name}/"


def of_recipe(recipe: Recipe) -> tuple[Variant, ...]:
    """The variants of a recipe with passes, the one with the longest way first: its steps go first."""
    passes = "+".join(settings.name for settings in recipe.passes)
    return Variant(passes, recipe.passes, asked=True), Variant(AS_IS, (), asked=False)


def searched(*passes: PassSettings) -> Variant:
    """One that the search comes to, named by what sets it apart: `prune50+distill+int8`, with the share in percent."""
    return Variant("+".join(_label(settings) for settings in passes) or AS_IS, passes, asked=False)


def _label(settings: PassSettings) -> str:
    if isinstance(settings, Prune):
        return f"prune{round(100 * settings.ratio)}"
    if isinstance(settings, Quantize):
        dynamic = settings.activations == "dynamic" and settings.weights == "int8"
        beside = "dynamic" if dynamic else settings.rest
        return settings.weights if beside == "float32" else f"{settings.weights}-{beside}"
    return settings.name
