"""What an upload is, told from its bytes by the standard library alone: before torch or numpy sees any of them."""

from burnish.formats.tensors import DatasetSchema, inspect_dataset

__all__ = ["DatasetSchema", "inspect_dataset"]
