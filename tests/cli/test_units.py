"""Numbers are read exactly, refused clearly, and written the way they are typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.cli.units import (
    format_duration,
    format_loss,
    format_percent,
    format_rate,
    format_size,
    parse_fraction,
    parse_integer,
    parse_rate,
    parse_seconds,
    parse_size,
)
from fountain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("100M", 100_000_000),
        ("2.5G", 2_500_000_000),
        ("800k", 800_000),
        ("800K", 800_000),
        ("1000000", 1_000_000),
        ("0.1M", 100_000),
        (".5k", 500),
        ("1.0000001G", 1_000_000_100),
    ],
)
def test_rates_are_read_in_bits_per_second(text: str, bps: int) -> None:
    assert parse_rate(text) == bps


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        "fast",
        "100 M",
        "-1M",
        "+1M",
        "1e9",
        "1,5G",
        "100Mbit",
        "1T",
        "100m",
        "1.",
        "0x10",
        "٣M",
        "9" * 40,
        "nan",
    ],
)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rate(text)
    assert repr(text) in caught.value.message
    assert "100M" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10.0),
        ("1.5", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("30s", 30.0),
        ("0.001", 0.001),
    ],
)
def test_times_are_read_as_seconds_or_with_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1d", "1m30s", "inf", "nan", "1 m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_seconds(text)


@pytest.mark.parametrize("text", ["", "1.5", "-1", "0x10", "ten", "1_000", "²", "9" * 5000])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_integer(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-0.1", "10%", "1e-3"])
def test_what_is_no_fraction_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fraction(text)


def test_numbers_are_read_plainly() -> None:
    assert parse_integer("6330") == 6330
    assert parse_fraction("0.1") == 0.1
    assert parse_fraction(".25") == 0.25


@pytest.mark.parametrize(
    ("bps", "text"),
    [
        (0, "0"),
        (-3, "0"),
        (999, "999"),
        (999.6, "1k"),
        (1000, "1k"),
        (94_123_456, "94.1M"),
        (100e6, "100M"),
        (999_600_000, "1G"),
        (2.5e9, "2.5G"),
        (9.999e9, "10G"),
        (1e12, "1000G"),
    ],
)
def test_rates_print_as_they_are_typed(bps: float, text: str) -> None:
    assert format_rate(bps) == text


@given(st.integers(min_value=1, max_value=10**12))
def test_a_printed_rate_reads_back_within_its_three_digits(bps: int) -> None:
    assert abs(parse_rate(format_rate(bps)) - bps) <= bps * 0.00501


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1, "1 B"), (999, "999 B"), (1000, "1 kB"), (200_000_000, "200 MB"), (4_294_967_296, "4.29 GB")],
)
def test_sizes_print_in_decimal_units(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0, "0s"),
        (0.02, "<0.1s"),
        (0.05, "0.1s"),
        (2.44, "2.4s"),
        (3.0, "3s"),
        (9.97, "10s"),
        (59.4, "59s"),
        (59.6, "1m 0s"),
        (80, "1m 20s"),
        (3600, "1h 0m"),
        (7500, "2h 5m"),
        (273_600, "3d 4h"),
    ],
)
def test_durations_print_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(-1, "0.0%"), (0, "0.0%"), (0.375, "37.5%"), (0.29, "29.0%"), (0.99999, "99.9%"), (1.0, "100%"), (1.5, "100%")],
)
def test_a_hundred_percent_means_all_of_it(fraction: float, text: str) -> None:
    assert format_percent(fraction) == text


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=1, max_value=10**9))
def test_nothing_short_of_everything_prints_as_a_hundred_percent(have: int, lacking: int) -> None:
    assert format_percent(have / (have + lacking)) != "100%"


@pytest.mark.parametrize(
    ("fraction", "text"), [(0, "0%"), (0.0004, "<0.1%"), (0.001, "0.1%"), (0.1034, "10.3%"), (1.0, "100.0%")]
)
def test_small_losses_are_not_called_none(fraction: float, text: str) -> None:
    assert format_loss(fraction) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500000", 500_000), ("64k", 64_000), ("64K", 64_000), ("2.5G", 2_500_000_000), ("1TB", 10**12)],
)
def test_sizes_are_octets_with_decimal_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1e9", "1KiB", "much", "1 GB", "1P", "\u0661M", "9" * 16])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)
