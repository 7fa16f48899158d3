"""Faults in documents, as the API answers with them."""

from __future__ import annotations

from burnish.document import Document

__all__ = ["FaultResource"]


class FaultResource(Document):
    """One fault in what was sent, or in what is stored."""

    where: str
    message: str
    cure: str
