"""Quantities as users write them."""

import pytest

from burnish.recipe.quantities import (
    format_bytes,
    format_fraction,
    format_seconds,
    parse_bytes,
    parse_fraction,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "size"), [("2MB", 2_000_000), ("512 KiB", 524_288), ("1.5kb", 1500), ("7", 7), ("1e3B", 1000)]
)
def test_sizes_are_read_in_decimal_and_binary_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("5ms", 0.005), ("250 us", 0.00025), ("2h", 7200.0), ("3", 3.0)])
def test_times_are_read_with_their_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "share"), [("0.5%", 0.005), ("0.005", 0.005), (" 1 % ", 0.01)])
def test_shares_are_read_with_and_without_a_percent_sign(text: str, share: float) -> None:
    assert parse_fraction(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "five", "-2MB", "2MBs", "2 M B", "nanMB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"Write it like 2MB|is not a unit of size"):
        parse_bytes(text)


def test_figures_are_shown_with_three_digits_and_a_unit() -> None:
    assert (format_bytes(2_768_123), format_bytes(999), format_bytes(12_000)) == ("2.77 MB", "999 B", "12 kB")
    assert (format_seconds(0.00123), format_seconds(2.0), format_seconds(3e-10)) == ("1.23 ms", "2 s", "0.3 ns")
    assert format_fraction(0.0051) == "0.51 %"
