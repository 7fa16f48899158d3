"""Quantities as users write them (`0.5%`, `2MB`, `5ms`), parsed to plain numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

__all__ = [
    "Bytes",
    "Fraction",
    "Seconds",
    "format_bytes",
    "format_fraction",
    "format_seconds",
    "parse_bytes",
    "parse_fraction",
    "parse_seconds",
]

_BYTE_UNITS = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_TIME_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ%]*)\s*")


def _split(text: str, example: str) -> tuple[float, str]:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity. Write it like {example}.")
    return float(match[1]), match[2]


def parse_bytes(text: str) -> int:
    """`2MB` → 2000000, `512KiB` → 524288. Raises `ValueError`."""
    number, unit = _split(text, "2MB")
    factor = _BYTE_UNITS.get(unit.upper() or "B")
    if factor is None:
        raise ValueError(f"{unit!r} is not a unit of size. Use one of B, KB, MB, GB, KiB, MiB, GiB.")
    return round(number * factor)


def parse_seconds(text: str) -> float:
    """`5ms` → 0.005. Raises `ValueError`."""
    number, unit = _split(text, "5ms")
    factor = _TIME_UNITS.get(unit or "s")
    if factor is None:
        raise ValueError(f"{unit!r} is not a unit of time. Use one of us, ms, s, min, h.")
    return number * factor


def parse_fraction(text: str) -> float:
    """`0.5%` → 0.005. Raises `ValueError`."""
    number, unit = _split(text, "0.5%")
    if unit not in ("%", ""):
        raise ValueError(f"{text!r} is not a share. Write it like 0.5% or 0.005.")
    return number / 100 if unit else number


def _if_text(parse: Callable[[str], float]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


Bytes = Annotated[
    int,
    _if_text(parse_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}], "examples": ["2MB"]}, mode="validation"),
]
"""A size in bytes; text like `2MB` or `512KiB` is accepted."""
Seconds = Annotated[
    float,
    _if_text(parse_seconds),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["5ms"]}, mode="validation"),
]
"""A time in seconds; text like `5ms` is accepted."""
Fraction = Annotated[
    float,
    _if_text(parse_fraction),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["0.5%"]}, mode="validation"),
]
"""A share of one; text like `0.5%` is accepted (0.005)."""


def format_bytes(size: int) -> str:
    """`1234567` → `1.23 MB` (decimal units, three digits)."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:.0f} {unit}"
    return f"{size} B"


def format_seconds(seconds: float) -> str:
    """`0.00123` → `1.23 ms`."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def format_fraction(fraction: float) -> str:
    """`0.0051` → `0.51 %`."""
    return f"{100 * fraction:.2f} %"
