"""The version, the same in the package's metadata."""

__version__ = "0.1.0"
