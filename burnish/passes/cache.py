"""Settings of caching."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from burnish.passes.base import PassSettings

__all__ = ["Cache"]


class Cache(PassSettings):
    """Computes once what would be computed again: constant parts, the prefix of a sequence, or repeated inputs."""

    name: ClassVar[str] = "cache"
    summary: ClassVar[str] = (
        "Computes once what comes again: constant parts of the model, the steps of a sequence so far, or whole inputs."
    )
    understands: ClassVar[str] = (
        "`constants` and `memo`: every operator without side effects; `state`: LSTM, GRU, RNN, causal attention and "
        "operators that treat each step by itself."
    )

    kind: Literal["constants", "state", "memo"] = "constants"
    """`constants`: parts that depend on no input are computed once and stored; `state`: a model over a window of steps
    becomes one over a single step that carries its state (recurrent layers, keys and values of causal attention);
    `memo`: the artifact comes with a bounded, exact memo of inputs seen before."""
    max_bytes: int = Field(64 * 2**20, ge=0)
    """For `constants`: bytes that the stored results may add to the model. For `memo`: bytes the memo may hold."""
    time_axis: int = Field(1, ge=1, le=8)
    """For `state`: the axis of the steps in every input. Axis 0 is the batch."""
    max_length: int | None = Field(None, ge=2, le=1_048_576)
    """For `state`: steps that a sequence may have, where the model attends to them or numbers them: its keys and values
    are kept in buffers of this length. Default: the window, or its upper bound where its length is dynamic."""

    def conflict_with(self, earlier: PassSettings) -> str | None:
        if not isinstance(earlier, Cache):
            return None
        if self.kind == earlier.kind:
            return f"`cache` of kind `{self.kind}` may stand in a recipe once."
        if {self.kind, earlier.kind} == {"state", "memo"}:
            return (
                "A memo in front of a model that carries state never sees the same input twice, "
                "since the state is part of it."
            )
        return None
