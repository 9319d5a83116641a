"""What round-trip times show of the queue: short, long, standing, too long; and when they are forgotten."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.rate.delay import QueueEstimate

MS = NS // 1000
BASE_NS = 40 * MS


def queue_of(*queues_ns: int, base_ns: int = BASE_NS, start_ns: int = 1000 * NS) -> QueueEstimate:
    """Round trips of `base_ns` and these queues, 10 ms apart."""
    queue = QueueEstimate()
    for index, queue_ns in enumerate(queues_ns):
        queue.note(base_ns + queue_ns, start_ns + index * 10 * MS)
    return queue


def test_the_queue_is_what_exceeds_the_shortest_round_trip() -> None:
    queue = queue_of(7 * MS, 0, 3 * MS)
    assert queue.shortest_ns == BASE_NS
    assert queue.latest_ns == 3 * MS


@pytest.mark.parametrize(("queue_ns", "short"), [(MS, True), (MS + 1, False)])
def test_a_millisecond_is_noise(queue_ns: int, short: bool) -> None:
    assert queue_of(0, queue_ns).is_short is short


@pytest.mark.parametrize(("queue_ns", "short"), [(5 * MS, True), (5 * MS + 1, False)])
def test_a_queue_is_short_below_an_eighth_of_the_round_trip(queue_ns: int, short: bool) -> None:
    assert queue_of(0, 100 * MS, queue_ns).is_short is short


@pytest.mark.parametrize(("queue_ns", "short"), [(2 * MS, True), (2 * MS + 1, False)])
def test_a_queue_is_short_below_a_quarter_of_the_longest(queue_ns: int, short: bool) -> None:
    assert queue_of(0, 8 * MS, queue_ns).is_short is short


@pytest.mark.parametrize(("queue_ns", "long"), [(10 * MS, False), (10 * MS + 1, True)])
def test_a_queue_is_long_above_half_of_the_longest(queue_ns: int, long: bool) -> None:
    assert queue_of(0, 20 * MS, queue_ns).is_long is long


@pytest.mark.parametrize(("base_ms", "limit_ms"), [(8, 4), (80, 10)])
def test_a_queue_stands_above_4_ms_and_an_eighth_of_the_round_trip(base_ms: int, limit_ms: int) -> None:
    assert not queue_of(0, limit_ms * MS, base_ns=base_ms * MS).is_standing
    assert queue_of(0, limit_ms * MS + 1, base_ns=base_ms * MS).is_standing


@pytest.mark.parametrize(("base_ms", "limit_ms"), [(8, 10), (80, 40)])
def test_a_queue_is_too_long_above_10_ms_and_half_of_the_round_trip(base_ms: int, limit_ms: int) -> None:
    assert not queue_of(0, limit_ms * MS, base_ns=base_ms * MS).is_too_long
    assert queue_of(0, limit_ms * MS + 1, base_ns=base_ms * MS).is_too_long


def test_calm_lasts_since_the_last_queue() -> None:
    queue = queue_of(0, 20 * MS, *[0] * 10)
    assert queue.calm_ns == 100 * MS


def test_the_shortest_round_trip_is_believed_for_ten_seconds_and_forgotten_after_twenty() -> None:
    queue = QueueEstimate()
    queue.note(BASE_NS, 1000 * NS)
    for tenth in range(1, 100):
        queue.note(2 * BASE_NS, 1000 * NS + tenth * NS // 10)
    assert queue.shortest_ns == BASE_NS
    for tenth in range(100, 201):
        queue.note(2 * BASE_NS, 1000 * NS + tenth * NS // 10)
    assert queue.shortest_ns == 2 * BASE_NS
    assert queue.is_short


def test_a_way_that_became_longer_is_no_queue_once_that_is_known() -> None:
    queue = queue_of(0, 30 * MS)
    queue.forget()
    assert queue.shortest_ns == BASE_NS + 30 * MS
    assert queue.latest_ns == 0
    assert queue.is_short
