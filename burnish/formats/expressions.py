"""Symbolic sizes, as text that torch hands to `sympy.sympify`, which evaluates it as Python.

So an expression is parsed here first, and refused unless it is arithmetic on symbols and small numbers:

1. only names of symbols (`s0`, `u3`) and calls of the functions listed here; no attributes, subscripts or strings;
2. numbers fit 64 bits;
3. powers have a small constant exponent, and stand on no other power: `((9**9)**9)**9` would not end;
4. shifts are not supported, for the same reason;
5. at most `LONGEST` characters.

Spec: `torch/_export/serde/serialize.py`, `_parse_sym_expr`; sympy's `srepr` writes `Symbol('s0', positive=True)`.
"""

from __future__ import annotations

import ast
import re

__all__ = ["LONGEST", "expression_fault"]

LONGEST = 4000
_ALPHABET = re.compile(r"[A-Za-z0-9_'+\-*/%(),.<>=&|~ ]*")
_SYMBOL = re.compile(r"(?:s|u|zf|zuf|ps)[0-9]{1,9}")
_FUNCTIONS = frozenset({
    "Add", "Mul", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing", "Where",
    "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "TruncToFloat", "FloorToInt", "CeilToInt", "RoundToInt",
    "RoundDecimal", "Identity", "Integer", "Rational", "Abs", "floor", "ceiling", "IsNonOverlappingAndDenseIndicator",
    "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "StrictGreaterThan", "LessThan",
    "GreaterThan", "And", "Or", "Not",
})  # fmt: skip
_POWERS = frozenset({"Pow", "PowByNatural"})
_FLAGS = frozenset({"positive", "nonnegative", "integer", "real", "negative", "nonzero", "finite"})
_FLOAT = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:e[+-]?[0-9]{1,3})?")
_CONSTANTS = frozenset({"true", "false"})
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
_UNARY = (ast.USub, ast.UAdd, ast.Invert)
_COMPARE = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_LARGEST = 2**63
_LARGEST_EXPONENT = 8


class _Refused(Exception):
    """Carries the reason; never leaves this module."""


def expression_fault(text: object) -> str | None:
    """Why the expression is refused, or `None` if it is harmless arithmetic."""
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST or not _ALPHABET.fullmatch(text):
        return "it is no arithmetic expression"
    try:
        _check(ast.parse(text, mode="eval").body, in_power=False)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "it can't be parsed"
    except _Refused as refused:
        return str(refused)
    return None


def _check(node: ast.expr, in_power: bool) -> None:
    match node:
        case ast.Name(id=name):
            if not _SYMBOL.fullmatch(name) and name not in _CONSTANTS:
                raise _Refused(f"{name!r} is no symbol")
        case ast.Constant(value=value):
            _check_number(value)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            _check_power(left, right, in_power)
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _BINARY):
            _check(left, in_power)
            _check(right, in_power)
        case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _UNARY):
            _check(operand, in_power)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, _COMPARE) for op in ops):
            for side in (left, *others):
                _check(side, in_power)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            _check_call(name, args, keywords, in_power)
        case _:
            raise _Refused(f"{type(node).__name__} is not allowed")


def _check_number(value: object) -> None:
    if isinstance(value, bool):
        return
    if not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        raise _Refused(f"{value!r:.30} is no number of 64 bits")


def _check_call(name: str, args: list[ast.expr], keywords: list[ast.keyword], in_power: bool) -> None:
    if name == "Symbol":
        _check_symbol(args, keywords)
    elif name == "Float":
        _check_float(args, keywords)
    elif keywords:
        raise _Refused(f"{name} takes no options")
    elif name in _POWERS and len(args) == 2:
        _check_power(args[0], args[1], in_power)
    elif name in _FUNCTIONS:
        for arg in args:
            _check(arg, in_power)
    else:
        raise _Refused(f"a call of {name} is not allowed")


def _check_symbol(args: list[ast.expr], keywords: list[ast.keyword]) -> None:
    match args:
        case [ast.Constant(value=str(name))] if _SYMBOL.fullmatch(name):
            pass
        case _:
            raise _Refused("a Symbol has no usable name")
    for keyword in keywords:
        if keyword.arg not in _FLAGS or not _is_flag(keyword.value):
            raise _Refused("a Symbol has unknown options")


def _is_flag(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, bool)


def _check_float(args: list[ast.expr], keywords: list[ast.keyword]) -> None:
    match args, keywords:
        case [ast.Constant(value=str(text))], [ast.keyword(arg="precision", value=ast.Constant(value=53))]:
            if _FLOAT.fullmatch(text):
                return
    raise _Refused("a Float has no usable value")


def _check_power(base: ast.expr, exponent: ast.expr, in_power: bool) -> None:
    if in_power:
        raise _Refused("a power of a power is not allowed")
    value = _constant(exponent)
    if value is None or abs(value) > _LARGEST_EXPONENT:
        raise _Refused(f"an exponent is no constant up to {_LARGEST_EXPONENT}")
    _check(base, in_power=True)


def _constant(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return -value
        case ast.Call(func=ast.Name(id="Integer"), args=[inner], keywords=[]):
            return _constant(inner)
    return None
