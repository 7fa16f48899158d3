"""One GET to a server on this machine."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

__all__ = ["get"]


def get(url: str, token: str = "", timeout: float = 5.0) -> tuple[int, bytes]:
    """Status and body; status 0 if nothing answers. Never goes through a proxy, whatever the environment says."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/", headers={"Authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
