"""The circuit breaker: five bad slices in a row, each of enough packets; one that is not bad begins anew."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.rate.breaker import END_NS, CircuitBreaker, end_breaker

START_NS = 1000 * NS
TENTH_NS = NS // 10


def lossy(breaker: CircuitBreaker, seconds: float, lost: int, now_ns: int = START_NS, expected: int = 100) -> int:
    """Ten reports a second, of so many packets each; the time afterwards."""
    for _ in range(round(10 * seconds)):
        now_ns += TENTH_NS
        breaker.note(now_ns, expected, lost)
    return now_ns


def test_it_opens_after_its_time_and_not_before() -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    now_ns = lossy(breaker, 5.0, 21)
    assert not breaker.has_tripped
    lossy(breaker, 0.5, 21, now_ns)
    assert breaker.has_tripped


@pytest.mark.parametrize(("lost", "opens"), [(20, False), (21, True)])
def test_it_opens_above_its_limit_and_not_at_it(lost: int, opens: bool) -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    lossy(breaker, 20.0, lost)
    assert breaker.has_tripped is opens


def test_a_burst_at_the_beginning_does_not_count_against_a_stream_that_gave_way() -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    now_ns = lossy(breaker, 2.0, 900, expected=1000)
    lossy(breaker, 20.0, 1, now_ns)
    assert not breaker.has_tripped


def test_one_good_slice_begins_anew() -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    now_ns = START_NS
    for _ in range(10):
        now_ns = lossy(breaker, 4.0, 50, now_ns)
        now_ns = lossy(breaker, 2.0, 0, now_ns)
    assert not breaker.has_tripped


@pytest.mark.parametrize(("slice_count", "opens"), [(4, False), (5, True)])
def test_a_slice_has_twenty_packets_however_long_that_takes(slice_count: int, opens: bool) -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    now_ns = START_NS
    for _ in range(20 * slice_count):
        now_ns += 10 * NS
        breaker.note(now_ns, 1, 1)
    assert breaker.has_tripped is opens


def test_it_stays_open_until_it_is_closed() -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    now_ns = lossy(breaker, 6.0, 100)
    now_ns = lossy(breaker, 60.0, 0, now_ns)
    assert breaker.has_tripped
    breaker.reset()
    assert not breaker.has_tripped
    assert lossy(breaker, 5.0, 100, now_ns)
    assert not breaker.has_tripped


def test_reports_without_news_end_a_slice_and_begin_none() -> None:
    breaker = CircuitBreaker(0.2, 5 * NS)
    now_ns = lossy(breaker, 3.5, 100)
    for _ in range(100):
        now_ns += TENTH_NS
        breaker.note(now_ns, 0, 0)
    assert not breaker.has_tripped
    lossy(breaker, 3.0, 100, now_ns)
    assert breaker.has_tripped


def test_silences_alone_open_it() -> None:
    breaker = end_breaker(0.15)
    now_ns = START_NS
    while not breaker.has_tripped:
        now_ns += 2 * NS
        breaker.note_silence(now_ns)
    assert END_NS <= now_ns - START_NS <= 1.5 * END_NS


@pytest.mark.parametrize(("tolerance", "limit"), [(0.0, 0.5), (0.15, 0.5), (0.4, 0.72), (0.5, 0.9)])
def test_the_end_comes_later_to_those_who_tolerate_more(tolerance: float, limit: float) -> None:
    assert end_breaker(tolerance).limit == pytest.approx(limit)


def test_no_slice_is_shorter_than_a_round_trip() -> None:
    breaker, now_ns = CircuitBreaker(0.2, 5 * NS), START_NS
    for _ in range(140):
        now_ns += TENTH_NS
        breaker.note(now_ns, 100, 50, 3 * NS)
    assert not breaker.has_tripped
    for _ in range(20):
        now_ns += TENTH_NS
        breaker.note(now_ns, 100, 50, 3 * NS)
    assert breaker.has_tripped
