"""What a report counts on a way that reorders: packets that have had the time to come, and every true loss."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.base.replay import SequenceCounter
from fountain.protocol.rate.estimate import LATE_MAX_NS
from fountain.protocol.session.reordering import WINDOW_NS, Reordering

MS = NS // 1000
RTT_NS = 20 * MS


class Stream:
    """Packets a millisecond apart."""

    def __init__(self) -> None:
        self.counter, self.order, self.now_ns = SequenceCounter(), Reordering(), 1000 * NS

    def arrive(self, *sequences: int) -> None:
        for sequence in sequences:
            self.now_ns += MS
            self.counter.accept(sequence)
            self.order.note(self.counter, RTT_NS, self.now_ns)

    def due(self) -> tuple[int, int]:
        return self.order.due(self.counter, self.now_ns)


def swapped(begin: int, end: int, late_count: int) -> list[int]:
    """Every other packet comes so many places later."""
    return sorted(range(begin, end), key=lambda sequence: sequence + (late_count if sequence % 2 else 0))


def test_a_way_that_keeps_the_order_is_reported_at_once() -> None:
    stream = Stream()
    stream.arrive(*range(50), *range(52, 80))
    assert stream.due() == (80, 2)


def test_packets_behind_later_ones_do_not_look_lost_once_the_way_is_known() -> None:
    stream, order = Stream(), swapped(0, 400, 11)
    for sequence in order[:40]:
        stream.arrive(sequence)
    for sequence in order[40:360]:
        stream.arrive(sequence)
        due, missing = stream.due()
        assert missing == 0
    assert due > 300


def test_a_packet_that_is_lost_among_late_ones_is_missing_for_good() -> None:
    stream = Stream()
    stream.arrive(*(sequence for sequence in swapped(0, 400, 11) if sequence != 200))
    stream.now_ns += LATE_MAX_NS + RTT_NS
    assert stream.due() == (400, 1)


def test_what_was_due_stays_due() -> None:
    stream = Stream()
    stream.arrive(*range(100))
    before, _ = stream.due()
    for sequence in swapped(100, 200, 15):
        stream.arrive(sequence)
        now, missing = stream.due()
        assert now >= before
        assert missing <= now
        before = now


def test_a_way_that_reorders_no_more_is_reported_at_once_again() -> None:
    stream = Stream()
    stream.arrive(*swapped(0, 100, 11))
    stream.now_ns += 2 * WINDOW_NS
    stream.arrive(*range(100, 200))
    stream.now_ns += WINDOW_NS
    stream.arrive(*range(200, 250))
    assert stream.due() == (250, 0)


def test_a_number_that_a_forgery_had_moved_up_is_forgotten() -> None:
    stream = Stream()
    stream.arrive(*range(10), 100_000)
    assert stream.due()[0] == 100_001
    stream.counter = SequenceCounter()
    stream.arrive(*range(10, 20))
    assert stream.due()[0] == 20
