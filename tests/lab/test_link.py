"""What a person writes about a link becomes the numbers that the kernel's tools take."""

from __future__ import annotations

from typing import Any

import pytest

from bench.lab.link import LabError, Link, burst_size, loss_per_million, parse_rate, parse_time, queue_size
from bench.lab.script import relay_settings

MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "bps"), [("100M", 100_000_000), ("2.5G", 2_500_000_000), ("64k", 64_000), ("1200", 1200)]
)
def test_rates_are_bits_per_second(text: str, bps: int) -> None:
    assert parse_rate(text) == bps


@pytest.mark.parametrize("text", ["", "0", "-1M", "100MB", "1e6", "fast", "1 G"])
def test_what_is_not_a_rate_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="not a rate"):
        parse_rate(text)


@pytest.mark.parametrize(("text", "ns"), [("0", 0), ("20ms", 20 * MS), ("1.5s", 1500 * MS), ("300us", 300_000)])
def test_times_have_units(text: str, ns: int) -> None:
    assert parse_time(text) == ns


@pytest.mark.parametrize("text", ["20", "-1ms", "ms", "1m"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="not a time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("queue", "round_trip_ns", "size"),
    [
        ("1bdp", 40 * MS, 500_000),
        ("0.25bdp", 40 * MS, 125_000),
        ("10ms", 0, 125_000),
        ("64k", 0, 64_000),
        (None, 40 * MS, 500_000),
        (None, 0, 125_000),
        ("1", 0, 2 * 1514),
    ],
)
def test_a_queue_is_octets_time_or_multiples_of_the_path(queue: str | None, round_trip_ns: int, size: int) -> None:
    assert queue_size(Link(rate="100M", queue=queue), round_trip_ns, 1500) == size


def test_a_queue_in_bdp_without_delay_is_refused() -> None:
    with pytest.raises(LabError, match="needs a delay"):
        queue_size(Link(rate="100M", queue="1bdp"), 0, 1500)


@pytest.mark.parametrize(
    "fields",
    [{"loss": 5}, {"loss": -0.1}, {"duplicate": 2}, {"reorder": 1.1}, {"delay": "20"}, {"rate": "x"}, {"queue": "1ms"}],
)
def test_a_link_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(LabError):
        Link(**fields)


def test_a_burst_holds_two_packets_at_least_and_half_a_millisecond() -> None:
    assert burst_size(1_000_000, 1500) == 2 * 1514
    assert burst_size(1_000_000_000, 1500) == 62_500


def test_loss_is_a_share_of_a_million() -> None:
    assert [loss_per_million(Link(loss=loss)) for loss in (0.0, 0.05, 1.0)] == [0, 50_000, 1_000_000]


@pytest.mark.parametrize(
    ("link", "needs"),
    [
        (Link(rate="1G", queue="10ms", loss=0.5), False),
        (Link(delay="1ms"), True),
        (Link(jitter="1ms"), True),
        (Link(reorder=0.1), True),
        (Link(duplicate=0.1), True),
    ],
)
def test_only_what_the_kernel_cannot_do_needs_the_relay(link: Link, needs: bool) -> None:
    assert link.needs_relay is needs


def test_the_relay_has_room_for_what_is_on_the_wire() -> None:
    settings = relay_settings(Link(rate="1G", delay="100ms", jitter="20ms"), 1500)
    assert settings.slot_count * 1500 >= 125_000_000 * 0.12
    assert settings.slot_size >= 1500 + 14
