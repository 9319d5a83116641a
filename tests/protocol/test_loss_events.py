"""Loss events: against the equation's own figures, an obvious twin, and one rule at a time."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.limits import NS
from fountain.protocol.rate import loss_events
from fountain.protocol.rate.loss_events import (
    EVENT_RATE_MIN,
    RTT_MIN_NS,
    TRANSIT_MODULUS_NS,
    LossEvents,
    event_rate_of,
    throughput_bps,
)

MS = NS // 1000
SIZE = 1452
RTT_NS = 40 * MS
WEIGHTS = (1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2)
START_NS = 5 * NS


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three packets alone decide here, at once; waiting has tests of its own, at the end."""
    monkeypatch.setattr(loss_events, "LATE_SHARE", math.inf)


class Stream:
    """Packets a millisecond apart, of which some do not arrive."""

    def __init__(self, rtt_ns: int = RTT_NS, first: int = 1_000) -> None:
        self.events = LossEvents(SIZE)
        self.events.set_rtt(rtt_ns)
        self.first = self.next = first

    def time_of(self, sequence: int) -> int:
        return START_NS + (sequence - self.first) * MS

    def arrive(self, *sequences: int) -> bool:
        return self.events.on_packets(sequences, self.time_of(max(sequences[-1], self.next)), 0)

    def go(self, count: int) -> None:
        for sequence in range(self.next, self.next + count):
            self.arrive(sequence)
        self.next += count

    def lose(self, count: int = 1) -> None:
        self.next += count


# --- The equation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_rate", "packets_per_rtt"),
    [(0.0001, 121.6), (0.001, 38.4), (0.01, 11.2), (0.05, 3.69), (0.1, 1.76), (1.0, 0.00411)],
)
def test_the_equation_gives_the_packets_per_round_trip_of_the_rfc(event_rate: float, packets_per_rtt: float) -> None:
    rate_bps = throughput_bps(SIZE, RTT_NS, event_rate)
    assert rate_bps * RTT_NS / NS / (SIZE * 8) == pytest.approx(packets_per_rtt, rel=0.02)


def test_without_loss_the_equation_sets_no_limit() -> None:
    assert throughput_bps(SIZE, RTT_NS, 0.0) == math.inf


def test_round_trips_below_a_millisecond_count_as_one() -> None:
    assert throughput_bps(SIZE, 1_000, 0.01) == throughput_bps(SIZE, RTT_MIN_NS, 0.01)


@given(st.floats(1e-8, 0.9), st.integers(RTT_MIN_NS, NS))
def test_the_inverse_finds_the_rate_of_events_again(event_rate: float, rtt_ns: int) -> None:
    found = event_rate_of(SIZE, rtt_ns, throughput_bps(SIZE, rtt_ns, event_rate))
    assert found == pytest.approx(event_rate, rel=1e-6)


def test_the_inverse_stays_within_what_the_wire_can_carry() -> None:
    assert event_rate_of(SIZE, RTT_NS, 1e30) == pytest.approx(EVENT_RATE_MIN)
    assert event_rate_of(SIZE, RTT_NS, 0.0) == 1.0


# --- Events ------------------------------------------------------------------------------------------------


def test_before_the_first_loss_there_is_no_rate_of_events() -> None:
    stream = Stream()
    stream.go(500)
    assert not stream.events.has_lost
    assert stream.events.event_rate == 0.0
    assert stream.events.allowed_bps(stream.time_of(1_500)) == 2 * SIZE * 8 * 1000


def test_who_comes_late_has_lost_nothing() -> None:
    stream = Stream(first=1 << 40)
    stream.go(10)
    assert not stream.events.has_lost


def test_a_gap_is_a_loss_when_three_packets_have_overtaken_it() -> None:
    stream = Stream()
    stream.go(100)
    stream.lose()
    assert [stream.arrive(sequence) for sequence in (1_101, 1_102, 1_103)] == [False, False, True]
    assert stream.events.has_lost


def test_a_train_after_a_gap_has_overtaken_it() -> None:
    stream = Stream()
    stream.go(100)
    assert stream.arrive(*range(1_110, 1_130))


def test_packets_that_come_late_are_not_lost() -> None:
    stream = Stream()
    stream.go(100)
    assert not stream.arrive(1_102, 1_104)
    assert not stream.arrive(1_100, 1_101, 1_103)
    stream.next = 1_105
    stream.go(50)
    assert not stream.events.has_lost
    assert stream.events.received_count == 155


def test_of_a_gap_that_is_filled_in_part_the_rest_is_lost() -> None:
    stream = Stream()
    stream.go(100)
    stream.arrive(1_105)
    stream.arrive(1_102)
    stream.next = 1_106
    stream.go(3)
    assert stream.events.has_lost


def test_losses_within_a_round_trip_are_one_event_and_later_ones_another() -> None:
    stream = Stream()
    stream.go(500)
    stream.lose()
    stream.go(20)
    stream.lose(3)
    stream.go(3)
    once = stream.events.event_rate
    stream.go(40)
    stream.lose()
    stream.go(10)
    assert stream.events.event_rate > once
    # Of two events the first interval is made up, the second the packets from one to the other.
    closed = [64 + 3, 1 / event_rate_of(SIZE, RTT_NS, SIZE * 8 * 1000)]
    assert 1 / stream.events.event_rate == pytest.approx(sum(closed) / 2, rel=0.06)


def test_a_long_outage_is_an_event_for_each_round_trip() -> None:
    stream = Stream()
    stream.go(500)
    stream.lose(100_000)
    stream.go(10)
    assert 1 / stream.events.event_rate == pytest.approx(RTT_NS / MS, rel=0.1)


@given(st.lists(st.integers(60, 900), min_size=9, max_size=20))
def test_the_rate_of_events_is_the_weighted_mean_of_eight_intervals(intervals: list[int]) -> None:
    stream = Stream()
    stream.go(100)
    for interval in intervals:
        stream.lose()
        stream.go(interval - 1)
    stream.lose()
    stream.go(4)
    latest = [5, *intervals[:-9:-1]]
    without = sum(weight * interval for weight, interval in zip(WEIGHTS, latest[1:], strict=True)) / sum(WEIGHTS)
    plain = max(without, sum(weight * interval for weight, interval in zip(WEIGHTS, latest[:8], strict=True)) / 6.0)
    # After an interval of more than twice the mean, the intervals before it count half at least.
    if max(intervals) <= 2 * min(intervals):
        assert 1 / stream.events.event_rate == pytest.approx(plain)
    else:
        assert min(latest[1:]) <= 1 / stream.events.event_rate <= max(latest[1:])


def test_a_long_time_without_loss_makes_the_past_count_less() -> None:
    stream = Stream()
    stream.go(100)
    for _ in range(10):
        stream.lose()
        stream.go(99)
    stream.go(2_000)
    plain = (1.0 * 2_100 + 5.0 * 100) / 6.0
    assert 1 / stream.events.event_rate > 1.3 * plain


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_random_loss_gives_its_own_rate_of_events(loss: float, rng: random.Random) -> None:
    stream = Stream(rtt_ns=2 * MS)
    rates = []
    for count in range(20_000):
        if rng.random() < loss:
            stream.lose()
        else:
            stream.go(1)
        if count > 2_000 and count % 100 == 0:
            rates.append(1 / stream.events.event_rate)
    assert 1 / (sum(rates) / len(rates)) == pytest.approx(loss, rel=0.3)


# --- The first interval ------------------------------------------------------------------------------------


def test_the_first_loss_allows_the_rate_that_was_reached() -> None:
    stream = Stream()
    stream.go(500)
    stream.lose()
    stream.go(4)
    assert stream.events.allowed_bps(stream.time_of(stream.next)) == pytest.approx(SIZE * 8 * 1000, rel=0.03)


def test_the_first_interval_follows_the_round_trip_when_it_becomes_known() -> None:
    stream = Stream(rtt_ns=500 * MS)
    stream.go(900)
    stream.lose()
    stream.go(4)
    stream.events.set_rtt(20 * MS)
    assert stream.events.allowed_bps(stream.time_of(stream.next)) == pytest.approx(SIZE * 8 * 1000, rel=0.03)


def test_the_round_trip_grows_with_the_way_until_it_is_reported_again() -> None:
    events = LossEvents(SIZE)
    events.on_packets(range(10), START_NS, 7 * MS)
    events.set_rtt(RTT_NS)
    events.on_packets(range(10, 20), START_NS, 27 * MS)
    assert events.rtt_ns == RTT_NS + 20 * MS
    events.on_packets(range(20, 30), START_NS, 2 * MS)
    assert events.rtt_ns == RTT_NS
    events.on_packets(range(30, 40), START_NS, 27 * MS)
    events.set_rtt(RTT_NS + 5 * MS)
    assert events.rtt_ns == RTT_NS + 5 * MS


def test_clocks_that_differ_by_any_amount_make_no_round_trip() -> None:
    events = LossEvents(SIZE)
    events.on_packets(range(10), START_NS, MS)
    events.set_rtt(RTT_NS)
    events.on_packets(range(10, 20), START_NS, TRANSIT_MODULUS_NS - MS)
    assert events.rtt_ns == RTT_NS
    events.set_rtt(RTT_NS)
    events.on_packets(range(20, 30), START_NS, 4 * MS)
    assert events.rtt_ns == RTT_NS + 5 * MS


# --- What the receiver's own system drops ------------------------------------------------------------------


def test_what_the_receivers_system_drops_is_an_event() -> None:
    stream = Stream()
    assert not stream.events.on_drops(START_NS)
    stream.go(500)
    assert stream.events.on_drops(stream.time_of(stream.next))
    assert stream.events.has_lost


def test_drops_that_left_a_gap_count_once() -> None:
    stream = Stream()
    stream.go(500)
    stream.lose(20)
    stream.go(5)
    before = stream.events.event_rate
    stream.go(60)
    assert not stream.events.on_drops(stream.time_of(stream.next))
    assert stream.events.event_rate <= before
    assert stream.events.on_drops(stream.time_of(stream.next))


# --- How fast it arrives -----------------------------------------------------------------------------------


def test_the_rate_of_arrivals_is_that_of_the_last_round_trip() -> None:
    stream = Stream()
    assert stream.events.receive_rate_bps(START_NS) == 0
    stream.go(1)
    assert stream.events.receive_rate_bps(START_NS) == 0
    stream.go(200)
    assert stream.events.receive_rate_bps(stream.time_of(stream.next)) == SIZE * 8 * 1000
    for sequence in range(stream.next, stream.next + 100):
        stream.events.on_packets([sequence], stream.time_of(stream.next) + (sequence - stream.next) * 4 * MS, 0)
    assert stream.events.receive_rate_bps(stream.time_of(stream.next) + 396 * MS) == SIZE * 8 * 250


def test_trains_do_not_change_the_rate_of_arrivals() -> None:
    events = LossEvents(SIZE)
    events.set_rtt(RTT_NS)
    for train in range(100):
        events.on_packets(range(train * 50, train * 50 + 50), START_NS + train * 5 * MS, 0)
    assert events.receive_rate_bps(START_NS + 99 * 5 * MS) == SIZE * 8 * 10_000


def test_the_rate_of_arrivals_falls_when_nothing_comes() -> None:
    stream = Stream()
    stream.go(200)
    end_ns = stream.time_of(stream.next)
    assert stream.events.receive_rate_bps(end_ns + NS) < SIZE * 8 * 100


def test_few_packets_are_measured_over_a_longer_time() -> None:
    events = LossEvents(SIZE)
    events.set_rtt(RTT_NS)
    for sequence in range(20):
        events.on_packets([sequence], START_NS + sequence * NS, 0)
    assert events.receive_rate_bps(START_NS + 19 * NS) == SIZE * 8


# --- Reordering --------------------------------------------------------------------------------------------


def shuffled(stream: Stream, count: int, late_count: int) -> None:
    """Every other packet comes so many packets later."""
    waiting: list[int] = []
    for sequence in range(stream.next, stream.next + count):
        stream.next = sequence
        while waiting and waiting[0] <= sequence - late_count:
            stream.arrive(waiting.pop(0))
        if sequence % 2:
            stream.arrive(sequence)
        else:
            waiting.append(sequence)
    for sequence in waiting:
        stream.arrive(sequence)
    stream.next += 1


def test_packets_that_come_within_a_quarter_of_a_round_trip_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_events, "LATE_SHARE", 4)
    stream = Stream()
    stream.go(100)
    shuffled(stream, 400, 8)
    assert not stream.events.has_lost


def test_packets_that_were_taken_for_lost_and_come_after_all_leave_no_event() -> None:
    stream = Stream()
    stream.go(100)
    shuffled(stream, 400, 30)
    stream.go(200)
    assert not stream.events.has_lost
    assert stream.events.event_rate == 0.0


def test_a_way_that_has_reordered_is_given_the_time_that_it_takes() -> None:
    stream = Stream()
    stream.go(100)
    shuffled(stream, 100, 30)
    began = []
    for _ in range(5):
        stream.lose()
        stream.go(20)
        began.append(stream.events.has_lost)
        stream.arrive(stream.next - 21)
        stream.go(10)
    assert began == [False] * 5


def test_true_losses_among_late_packets_remain(seed: int) -> None:
    chance, stream = random.Random(seed), Stream()
    stream.go(200)
    for _ in range(40):
        shuffled(stream, 50, chance.randrange(3, 40))
        stream.lose()
        stream.go(100)
    assert stream.events.event_rate == pytest.approx(1 / 152, rel=0.35)


def test_a_way_that_reorders_no_more_is_given_less_time_with_each_loss() -> None:
    stream = Stream()
    stream.go(100)
    shuffled(stream, 100, 40)
    for _ in range(40):
        stream.lose()
        stream.go(100)
    stream.lose()
    count = stream.events._history.count
    stream.go(8)
    assert stream.events._history.count == count + 1
