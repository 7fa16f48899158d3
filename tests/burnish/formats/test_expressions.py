"""Sizes are arithmetic on symbols, and nothing else."""

import pytest

from burnish.formats.expressions import LONGEST, expression_fault


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Symbol('u0', integer=True)",
        "Mul(Integer(144), Symbol('s41', positive=True, integer=True))",
        "Add(FloorDiv(Add(Symbol('s0', positive=True, integer=True), Integer(-3)), Integer(2)), Integer(1))",
        "Max(Integer(1), Mod(Symbol('s0', integer=True), Integer(3)))",
        "Pow(Symbol('s0', positive=True, integer=True), Integer(2))",
        "PowByNatural(Symbol('s0', positive=True, integer=True), Integer(2))",
        "GreaterThan(Symbol('u0', integer=True), Integer(0))",
        "Mul(Float('0.5', precision=53), ToFloat(Symbol('s0', integer=True)))",
        "Rational(1, 2)",
        "s0 + 2*s1 - 1",
        "s0**2 // 4 % 3",
        "s0",
        "17",
        "(s0 >= 2) & ~(s1 < 3)",
        "true",
    ],
)
def test_arithmetic_is_let_through(text: str) -> None:
    assert expression_fault(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__import__('os').system('x')",
        "s0.__class__",
        "s0.free_symbols",
        "eval('1')",
        "exec('1')",
        "open('x')",
        "print(1)",
        "lambda: 1",
        "(lambda: 1)()",
        "[s0 for s0 in s1]",
        "s0[0]",
        "'s0'",
        "f'{s0}'",
        "s0 if s1 else s2",
        "s0 := 1",
        "Symbol('__import__')",
        "Symbol('s0', cls=s1)",
        "Symbol(s0)",
        "Symbol('s0', positive=s1)",
        "Function('s0')",
        "Float('os', precision=53)",
        "Float('1', precision=10)",
        "Max(key=s0)",
        "Add(*s0)",
        "batch",
        "os",
        "exit",
        "s0!",
        "s0^2",
        "1 if s0",
        "s0;s1",
        "s0\ns1",
        "s0 #",
        "９",
        "LShift(1, 4000000000)",
        "1 << 4000000000",
        "2**s0",
        "s0**9999999",
        "9**9**9",
        "((9**8)**8)**8",
        "Pow(Pow(Integer(9), Integer(8)), Integer(8))",
        "Pow(Integer(2), Symbol('s0'))",
        "PowByNatural(2, 1000000000000)",
        "99999999999999999999999999",
        "1e400",
        "s0 and s1",
        "await s0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert expression_fault(text) is not None


@pytest.mark.parametrize("value", [None, 1, ["s0"], {"s0": 1}, b"s0"])
def test_what_is_no_text_is_refused(value: object) -> None:
    assert expression_fault(value) is not None


def test_a_long_text_is_refused_unparsed() -> None:
    assert expression_fault("s0+" * LONGEST + "s0") is not None


def test_deep_nesting_is_refused_not_crashed_on() -> None:
    assert expression_fault("(" * 1900 + "s0" + ")" * 1900) is not None
    assert expression_fault("-" * 3900 + "s0") is not None
