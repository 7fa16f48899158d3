"""Uploaded models: of their rows only the pin changes. A name has versions 1, 2, …; the same bytes are one version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from burnish.errors import NotFound
from storage.database import Transaction
from storage.ids import new_id
from storage.records import Model, from_row
from storage.tables import models

__all__ = ["create", "get", "list_", "names", "pin", "resolve", "unpin"]


def create(tx: Transaction, *, name: str, digest: str, size: int, signature: Mapping[str, Any]) -> Model:
    """The next version of that name, or the version that has these bytes already."""
    same = (models.c.name == name, models.c.digest == digest)
    while (found := _first(tx, *same)) is None:
        newest = tx.execute(select(func.max(models.c.version)).where(models.c.name == name)).scalar() or 0
        row = {"id": new_id("mdl"), "name": name, "version": newest + 1, "digest": digest, "size": size}
        # Another upload may take that version meanwhile; then nothing is inserted, and the next one is tried.
        tx.insert_new(models, {**row, "signature": dict(signature), "created_at": tx.now})
    return found


def get(tx: Transaction, model_id: str) -> Model:
    """The model with that id. Raises `NotFound`."""
    return _known(_first(tx, models.c.id == model_id), model_id)


def resolve(tx: Transaction, ref: str) -> Model:
    """The model of an id (`mdl_…`), a name (its newest version) or `name:version`. Raises `NotFound`."""
    by_id = _first(tx, models.c.id == ref)
    if by_id is not None:
        return by_id
    name, colon, version = ref.rpartition(":")
    if colon and version.isdecimal() and len(version) < 10:
        return _known(_first(tx, models.c.name == name, models.c.version == int(version)), ref)
    return _known(_first(tx, models.c.name == ref), ref)


def list_(tx: Transaction, *, after: str | None, limit: int, name: str | None = None) -> list[Model]:
    """Models, newest first, older than the model `after`."""
    page = select(models).order_by(models.c.id.desc()).limit(limit)
    if after is not None:
        page = page.where(models.c.id < after)
    if name is not None:
        page = page.where(models.c.name == name)
    return [from_row(Model, row) for row in tx.execute(page)]


def names(tx: Transaction, limit: int) -> list[str]:
    """The names that models have, in their order."""
    return list(tx.execute(select(models.c.name).distinct().order_by(models.c.name).limit(limit)).scalars())


def pin(tx: Transaction, model_id: str) -> Model:
    """Keeps what the model's jobs made from being evicted. Pinned already, it stays as it is. Raises `NotFound`."""
    tx.execute(update(models).where(models.c.id == model_id, models.c.pinned_at.is_(None)).values(pinned_at=tx.now))
    return get(tx, model_id)


def unpin(tx: Transaction, model_id: str) -> Model:
    """Takes the pin off, if there is one. Raises `NotFound`."""
    tx.execute(update(models).where(models.c.id == model_id).values(pinned_at=None))
    return get(tx, model_id)


def _first(tx: Transaction, *conditions: ColumnElement[bool]) -> Model | None:
    row = tx.execute(select(models).where(*conditions).order_by(models.c.version.desc()).limit(1)).first()
    return None if row is None else from_row(Model, row)


def _known(found: Model | None, ref: str) -> Model:
    if found is None:
        raise NotFound(f"There is no model {ref}.", cure="Upload it, or list the models to see those that exist.")
    return found
