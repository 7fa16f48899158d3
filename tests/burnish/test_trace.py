"""The trace context of W3C, level 1: the cases that its specification names."""

from __future__ import annotations

import pytest

from burnish.trace import Trace

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_goes_on_with_the_same_id_and_flags() -> None:
    above = Trace.parse(GIVEN)
    assert above is not None
    assert str(above) == GIVEN
    below = above.child()
    assert (below.trace_id, below.flags) == (above.trace_id, "01")
    assert below.span_id != above.span_id
    assert Trace.parse(str(below)) == below


def test_a_new_trace_is_one_that_can_be_read() -> None:
    made = Trace.new()
    assert Trace.parse(str(made)) == made
    assert made != Trace.new()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        GIVEN.upper(),
        GIVEN + "-more",
        "ff" + GIVEN[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        GIVEN[:-1],
        GIVEN + "\n" + GIVEN,
    ],
)
def test_what_is_no_trace_is_not_gone_on_from(header: str | None) -> None:
    assert Trace.parse(header) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert Trace.parse("01" + GIVEN[2:] + "-what-comes-later") == Trace.parse(GIVEN)
