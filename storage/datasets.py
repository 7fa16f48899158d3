"""Uploaded datasets: rows that never change. A name stands for its newest; the same bytes under a name are one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, select

from burnish.errors import NotFound
from storage.database import Transaction
from storage.ids import new_id
from storage.records import Dataset, from_row
from storage.tables import datasets

__all__ = ["create", "get", "list_", "resolve"]


def create(
    tx: Transaction,
    *,
    name: str,
    digest: str,
    size: int,
    format: str,
    schema: Mapping[str, Any],
    samples: int,
    labelled: bool,
) -> Dataset:
    """The row of these bytes under that name, made if there is none."""
    stored = {"id": new_id("dst"), "name": name, "digest": digest, "size": size, "created_at": tx.now}
    shape = {"format": format, "schema": dict(schema), "samples": samples, "labelled": labelled}
    tx.insert_new(datasets, {**stored, **shape})
    return _known(_first(tx, datasets.c.name == name, datasets.c.digest == digest), name)


def get(tx: Transaction, dataset_id: str) -> Dataset:
    """The dataset with that id. Raises `NotFound`."""
    return _known(_first(tx, datasets.c.id == dataset_id), dataset_id)


def resolve(tx: Transaction, ref: str) -> Dataset:
    """The dataset of an id (`dst_…`) or a name (the newest one). Raises `NotFound`."""
    return _known(_first(tx, datasets.c.id == ref) or _first(tx, datasets.c.name == ref), ref)


def list_(tx: Transaction, *, after: str | None, limit: int, name: str | None = None) -> list[Dataset]:
    """Datasets, newest first, older than the dataset `after`."""
    page = select(datasets).order_by(datasets.c.id.desc()).limit(limit)
    if after is not None:
        page = page.where(datasets.c.id < after)
    if name is not None:
        page = page.where(datasets.c.name == name)
    return [from_row(Dataset, row) for row in tx.execute(page)]


def _first(tx: Transaction, *conditions: ColumnElement[bool]) -> Dataset | None:
    row = tx.execute(select(datasets).where(*conditions).order_by(datasets.c.id.desc()).limit(1)).first()
    return None if row is None else from_row(Dataset, row)


def _known(found: Dataset | None, ref: str) -> Dataset:
    if found is None:
        raise NotFound(f"There is no dataset {ref}.", cure="Upload it, or list the datasets to see those that exist.")
    return found
