"""The version, the same in the package's metadata."""

__all__ = ["__version__"]

__version__ = "0.1.0"
