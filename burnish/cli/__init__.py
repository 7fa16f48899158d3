"""The command line."""

from burnish.cli.main import main

__all__ = ["main"]
