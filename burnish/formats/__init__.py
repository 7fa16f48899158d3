"""What an upload is, told from its bytes by the standard library alone: before torch or numpy sees any of them."""

from burnish.formats.fit import faults
from burnish.formats.pt2 import inspect_model
from burnish.formats.tensors import DatasetSchema, inspect_dataset

__all__ = ["DatasetSchema", "faults", "inspect_dataset", "inspect_model"]
