"""Which operators a program may call: pure computation that stock torch knows, and nothing that touches files.

torch resolves a target by `getattr` from the modules `torch`, `operator` and `math` (`deserialize_operator`), so the
list is by pattern of the whole name, never by prefix.
"""

from __future__ import annotations

import re

__all__ = ["operator_fault"]

_OPERATOR = re.compile(r"torch\.ops\.(?P<space>aten|prims|quantized_decomposed)\.(?P<name>\w+)\.\w+", re.ASCII)
_TORCHAO = re.compile(
    r"torch\.ops\.torchao\.(?:quantize_affine|dequantize_affine|choose_qparams_affine\w*)\.\w+", re.ASCII
)
_PLAIN = frozenset({
    *(f"_operator.{name}" for name in (
        "getitem", "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "pow",
        "truediv", "and_", "or_",
    )),
    *(f"math.{name}" for name in ("trunc", "ceil", "floor")),
    *(f"torch.sym_{name}" for name in ("not", "int", "float", "ite", "max", "min", "sqrt")),
    "torch._sym_sqrt",
    *(f"torch.ops.higher_order.{name}" for name in (
        "cond", "while_loop", "map_impl", "scan", "wrap_with_set_grad_enabled", "wrap_with_autocast",
    )),
})  # fmt: skip
_DENIED = {
    "from_file": "it opens a file",
    "save": "it writes a file",
    "set_": "it replaces a tensor's memory",
    "set": "it replaces a tensor's memory",
    "_print": "it writes to the log",
    "warn": "it writes to the log",
}
"""Operators of `aten` that do more than compute."""


def operator_fault(target: object) -> str | None:
    """Why the target of a node is refused, or `None` if it may be called."""
    if not isinstance(target, str):
        return "it has no name"
    if target in _PLAIN or _TORCHAO.fullmatch(target):
        return None
    match = _OPERATOR.fullmatch(target)
    if match is None:
        return "it is not one of the operators of stock torch that compute and nothing else"
    if match["name"].startswith("__") and match["name"].endswith("__") and match["name"] not in _DUNDERS:
        return "it is no operator"
    return _DENIED.get(match["name"])


_DUNDERS = frozenset(f"__{name}__" for name in ("and", "or", "xor", "lshift", "rshift", "iand", "ior", "ixor"))
