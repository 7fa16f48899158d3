"""Secrets of webhooks, and signatures by them, as Standard Webhooks has them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

__all__ = ["new_secret", "signatures"]

_PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signatures(keys: Iterable[str], event_id: str, timestamp: int, payload: str) -> str:
    """The header `webhook-signature`: one `v1,<base64>` for each secret, HMAC-SHA256 over `id.timestamp.payload`."""
    content = f"{event_id}.{timestamp}.{payload}".encode()
    return " ".join(f"v1,{_sign(key, content)}" for key in keys)


def _sign(key: str, content: bytes) -> str:
    raw = base64.b64decode(key.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(raw, content, hashlib.sha256).digest()).decode()
