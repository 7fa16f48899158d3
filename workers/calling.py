"""How a program is called that is not simply called once per input: the contract that travels with it.

A pass may make a program with another signature than the original's (`cache` of kind `state`), or one that is to be
shipped with something around it (kind `memo`). What is to be known for its use is a contract: plain data, kept as
`extra/calling.json` in the program's archive. It is never read from an upload, since `capture` writes archives anew.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from burnish.document import Document

__all__ = [
    "Calling",
    "CarriedTensor",
    "MemoContract",
    "StateContract",
    "StepInput",
    "StepOutput",
    "parsed",
    "read_calling",
    "write_calling",
]

_MEMBER = "model/extra/calling.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class StepInput(Document):
    """One input of a step, of length 1 along the axis of the steps."""

    name: str
    axis: int


class CarriedTensor(Document):
    """One tensor of the state: an input of the step, and as many places from the end an output."""

    name: str
    shape: tuple[int | None, ...]
    """`None`: the batch."""
    dtype: str
    """As numpy names it. Every sequence starts with zeros."""


class StepOutput(Document):
    """One output of a step."""

    axis: int | None
    """Axis along which the steps' outputs are joined to the original's; `None`: the original gives the last step's."""


class StateContract(Document):
    """A program of one step: inputs are those of the step, then the state; outputs likewise, then the next state."""

    kind: Literal["state"] = "state"
    inputs: tuple[StepInput, ...]
    states: tuple[CarriedTensor, ...]
    outputs: tuple[StepOutput, ...]
    most_steps: int | None = None
    """Steps that a sequence may have; `None`: any number."""


class MemoContract(Document):
    """A program to be shipped behind a memo of its inputs."""

    kind: Literal["memo"] = "memo"
    max_bytes: int


Calling = Annotated[StateContract | MemoContract, Field(discriminator="kind")]
_CALLING: TypeAdapter[StateContract | MemoContract] = TypeAdapter(Calling)


def parsed(text: str | bytes) -> StateContract | MemoContract:
    """A contract from its JSON."""
    return _CALLING.validate_json(text)


def write_calling(path: Path, calling: StateContract | MemoContract) -> None:
    """Adds the contract to a program's archive, as the same bytes for the same contract."""
    info = zipfile.ZipInfo(_MEMBER, _EPOCH)
    info.create_system = 3
    info.external_attr = 0o600 << 16
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(info, calling.model_dump_json())


def read_calling(path: Path) -> StateContract | MemoContract | None:
    """The contract in a program's archive; `None` if it is called as the original is."""
    with zipfile.ZipFile(path) as archive:
        return parsed(archive.read(_MEMBER)) if _MEMBER in archive.namelist() else None
