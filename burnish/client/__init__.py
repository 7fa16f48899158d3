"""The Python client."""

from burnish.client.client import Client

__all__ = ["Client"]
