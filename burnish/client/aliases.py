"""The client's calls about aliases: which artifact of a model is `production`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from burnish.client.transport import Transport
from burnish.errors import BlobCorrupt
from burnish.resources import AliasEntryResource, AliasResource, Page

__all__ = ["AliasCalls"]

_CHUNK = 1 << 20


class AliasCalls:
    """`client.aliases`. An alias belongs to the name of a model."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, model: str) -> Page[AliasResource]:
        """The aliases of a model, by name."""
        response = self._transport.get(f"/v1/models/{quote(model, safe='')}/aliases")
        return Page[AliasResource].model_validate_json(response.content)

    def get(self, model: str, alias: str = "production") -> AliasResource:
        """What an alias stands for. Raises `NotFound` if it stands for nothing."""
        return AliasResource.model_validate_json(self._transport.get(_address(model, alias)).content)

    def set(
        self, model: str, alias: str, job: str, artifact: str | None = None, reason: str | None = None
    ) -> AliasResource:
        """Lets an alias stand for an artifact of a job: the chosen one, or that of this digest or candidate.

        Raises:
            burnish.errors.InvalidSpec: the job is of another model, or has no such artifact.
        """
        document = {"job": job, "artifact": artifact, "reason": reason}
        return AliasResource.model_validate_json(self._transport.put(_address(model, alias), document).content)

    def rollback(self, model: str, alias: str = "production") -> AliasResource:
        """Brings back what it stood for before. Raises `Conflict` if there is nothing."""
        return AliasResource.model_validate_json(self._transport.post(f"{_address(model, alias)}/rollback").content)

    def history(
        self, model: str, alias: str = "production", limit: int = 50, cursor: str | None = None
    ) -> Page[AliasEntryResource]:
        """What it stood for, newest first."""
        response = self._transport.get(f"{_address(model, alias)}/history", {"limit": limit, "cursor": cursor})
        return Page[AliasEntryResource].model_validate_json(response.content)

    def delete(self, model: str, alias: str) -> None:
        """Lets it stand for nothing; its history stays."""
        self._transport.delete(_address(model, alias))

    def fetch(self, model: str, alias: str, path: str | Path, digest: str | None = None) -> str | None:
        """Downloads what an alias stands for to `path`, which is written only when whole and checked.

        Args:
            digest: what is there already; if the alias still stands for it, nothing is transferred.

        Returns:
            The digest of the file, or `None` if it is still `digest`.

        Raises:
            burnish.errors.NotFound: it stands for nothing.
            burnish.errors.BlobCorrupt: the bytes don't have their digest.
        """
        destination = Path(path)
        partial = destination.with_name(f".{destination.name}.part")
        headers = {"If-None-Match": f'"{digest}"'} if digest else {}
        hashed = hashlib.sha256()
        try:
            with self._transport.stream(f"{_address(model, alias)}/artifact", headers=headers) as response:
                if response.status_code == 304:
                    return None
                with partial.open("wb") as file:
                    for chunk in response.iter_bytes(_CHUNK):
                        hashed.update(chunk)
                        file.write(chunk)
                expected: str = response.headers.get("ETag", "").strip('"')
            if hashed.hexdigest() != expected:
                raise BlobCorrupt(f"{alias} of {model} arrived damaged: its digest differs.", cure="Fetch it again.")
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        return expected


def _address(model: str, alias: str) -> str:
    return f"/v1/models/{quote(model, safe='')}/aliases/{quote(alias, safe='')}"
