"""The client's calls about schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from burnish.client.transport import Transport
from burnish.recipe import ScheduleSpec
from burnish.resources import FiringResource, Page, ScheduleResource

__all__ = ["ScheduleCalls"]


class ScheduleCalls:
    """`client.schedules`. A schedule is named by its id or its name."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, limit: int = 50, cursor: str | None = None) -> Page[ScheduleResource]:
        """Schedules, newest first."""
        response = self._transport.get("/v1/schedules", {"limit": limit, "cursor": cursor})
        return Page[ScheduleResource].model_validate_json(response.content)

    def get(self, id: str) -> ScheduleResource:
        """One schedule."""
        return ScheduleResource.model_validate_json(self._transport.get(_address(id)).content)

    def create(self, spec: ScheduleSpec | Mapping[str, Any]) -> ScheduleResource:
        """Makes a schedule, which counts from now.

        Raises:
            burnish.errors.InvalidSpec: with every fault of the schedule and its job, and its path.
        """
        document = spec.model_dump(mode="json") if isinstance(spec, ScheduleSpec) else dict(spec)
        return ScheduleResource.model_validate_json(self._transport.post("/v1/schedules", document).content)

    def change(self, id: str, **members: Any) -> ScheduleResource:
        """Gives a schedule other members (`trigger`, `job`, `overlap`, …), each whole, as plain data.

        Raises:
            burnish.errors.InvalidSpec: with every fault that it would have.
        """
        return ScheduleResource.model_validate_json(self._transport.patch(_address(id), members).content)

    def pause(self, id: str) -> ScheduleResource:
        """Lets it fire no more until it is resumed."""
        return ScheduleResource.model_validate_json(self._transport.post(f"{_address(id)}/pause").content)

    def resume(self, id: str) -> ScheduleResource:
        """Lets it fire again, from now on."""
        return ScheduleResource.model_validate_json(self._transport.post(f"{_address(id)}/resume").content)

    def run(self, id: str) -> FiringResource:
        """Fires it now, under its overlap policy: look at `outcome` and `reason`."""
        return FiringResource.model_validate_json(self._transport.post(f"{_address(id)}/run").content)

    def history(self, id: str, limit: int = 50, cursor: str | None = None) -> Page[FiringResource]:
        """Every time it was due, newest first, with what came of it."""
        response = self._transport.get(f"{_address(id)}/history", {"limit": limit, "cursor": cursor})
        return Page[FiringResource].model_validate_json(response.content)

    def delete(self, id: str) -> None:
        """Deletes it and its history; its jobs stay."""
        self._transport.delete(_address(id))


def _address(id: str) -> str:
    return f"/v1/schedules/{quote(id, safe='')}"
