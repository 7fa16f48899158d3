"""What the processor can do, as far as arithmetic in int8 and bfloat16 depends on it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

__all__ = ["isa", "multiplies_bfloat16", "saturates_int8"]

NOTEWORTHY = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
"""Flags that decide which kernels run, as Linux spells them (x86 first, then ARM)."""

_EXACT_INT8 = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "asimd"})
"""Any of these multiplies int8 into 32 bits without an intermediate that can overflow."""

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Any of these multiplies pairs of bfloat16 into float32, at least twice as many a cycle as of float32."""


@lru_cache(maxsize=1)
def isa() -> tuple[str, ...]:
    """The noteworthy instruction-set flags of this machine, sorted; empty where the system doesn't tell."""
    return flags_of(Path("/proc/cpuinfo"))


def flags_of(cpuinfo: Path) -> tuple[str, ...]:
    """Reads the flags of the first processor in a file of the form of `/proc/cpuinfo`."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return tuple(sorted(set(value.split()) & set(NOTEWORTHY)))
    return ()


def saturates_int8(flags: tuple[str, ...]) -> bool:
    """True if 8-bit kernels add pairs of products in 16 bits there (`vpmaddubsw`), which overflows at full range.

    Weights of 7 bits keep the sum of two products below 2¹⁵. An unknown machine counts as one that saturates.
    """
    return not _EXACT_INT8 & set(flags)


def multiplies_bfloat16(flags: tuple[str, ...]) -> bool:
    """True if products in bfloat16 are faster there than in float32. On an unknown machine they are not."""
    return bool(_BFLOAT16 & set(flags))
