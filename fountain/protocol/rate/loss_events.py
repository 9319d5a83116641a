"""What a receiver of a group measures: loss events (RFC 5348 section 5), and how fast packets arrive.

TCP does not answer every lost packet but every round trip in which packets were lost; that is a loss event. The rate of
events, put into TCP's throughput equation, gives the rate that a TCP connection would have on the same way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fountain.limits import NS
from fountain.protocol.rate.estimate import LATE_MARGIN, LATE_MAX_NS

__all__ = [
    "EVENT_RATE_MIN",
    "GROUP_RTT_INITIAL_NS",
    "RTT_MIN_NS",
    "TRANSIT_MODULUS_NS",
    "LossEvents",
    "event_rate_of",
    "throughput_bps",
]

GROUP_RTT_INITIAL_NS = 500_000_000  # RFC 4654: for receivers of which nothing is known yet
RTT_MIN_NS = 1_000_000  # Trains and scheduling take that long: nothing can be controlled in less.
EVENT_RATE_MIN = 2.0**-32  # the smallest that the wire can carry
LATE_COUNT = 3  # RFC 5348's NDUPACK: overtaken by so many is lost, ...
LATE_SHARE = 4  # ... but not before a quarter of a round trip has passed (RFC 8985's reordering window).
_LATE_DECAY = 15 / 16  # of what was late, with each loss that is one
_GONE_COUNT_MAX = 256  # holes taken for lost, of which packets may still come
INTERVAL_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2)
DISCOUNT_MIN = 0.5  # RFC 5348 section 5.5: how little the past counts at least, after a long time without loss
RATE_WINDOW_MIN_NS = 10_000_000  # A rate is measured over a round trip, this time, ...
RATE_COUNT_MIN = 4  # ... and so many packets at least.
TRANSIT_MODULUS_NS = (1 << 32) * 1_000  # Timestamps on the wire are 32 bits of microseconds, of two unrelated clocks.
_RATE_MARKS = 16  # places where a window of arrivals may begin


def throughput_bps(packet_size: int, rtt_ns: int, event_rate: float) -> float:
    """TCP's throughput (RFC 5348 section 3.1, b = 1, t_RTO = 4R) in bits per second, at `event_rate` events per packet.

    Without loss there is no limit: infinity.
    """
    if event_rate <= 0.0:
        return math.inf
    smooth = math.sqrt(2.0 * event_rate / 3.0)
    stalls = 12.0 * math.sqrt(3.0 * event_rate / 8.0) * event_rate * (1.0 + 32.0 * event_rate**2)
    return packet_size * 8 * NS / (max(rtt_ns, RTT_MIN_NS) * (smooth + stalls))


def event_rate_of(packet_size: int, rtt_ns: int, rate_bps: float) -> float:
    """The inverse of the equation: with which rate of loss events TCP would reach `rate_bps`."""
    low, high = math.log(EVENT_RATE_MIN), 0.0
    for _ in range(40):
        middle = (low + high) / 2.0
        if throughput_bps(packet_size, rtt_ns, math.exp(middle)) > rate_bps:
            low = middle
        else:
            high = middle
    return math.exp(high)


@dataclass
class _Hole:
    """Numbers that are missing: `first` up to `end`, not `end` itself."""

    first: int
    end: int
    first_ns: int  # when `first` would have arrived
    step_ns: int  # between one packet and the next
    advance_count: int  # packets that had arrived in order when the hole was noticed, ...
    noticed_ns: int  # ... and when that was


@dataclass
class _Gone:
    """A hole that was taken for lost, and belongs to a single event."""

    first: int
    end: int
    missing_count: int
    noticed_ns: int
    event_first: int


class _RoundTrip:
    """The round trip that the sender gave, and by how much the way has become longer since (as in RFC 4654)."""

    def __init__(self, rtt_ns: int) -> None:
        self.transit_ns = 0  # of the latest packet, by whatever two clocks
        self._given_ns = rtt_ns
        self._given_transit_ns = 0

    def set(self, rtt_ns: int) -> None:
        """The sender gives another one."""
        self._given_ns = max(rtt_ns, RTT_MIN_NS)
        self._given_transit_ns = self.transit_ns

    @property
    def ns(self) -> int:
        half = TRANSIT_MODULUS_NS // 2
        growth_ns = (self.transit_ns - self._given_transit_ns + half) % TRANSIT_MODULUS_NS - half
        return self._given_ns + max(0, growth_ns)


class _Arrivals:
    """How fast packets arrive, over a window of time and a minimum of packets."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()  # (when, packets arrived by then)

    def clear(self) -> None:
        """What comes next came at another pace."""
        self._marks.clear()

    def note(self, now_ns: int, count: int, window_ns: int) -> None:
        """By now `count` packets have arrived."""
        marks = self._marks
        if len(marks) > 2 and now_ns - marks[-2][0] < window_ns // _RATE_MARKS:
            marks.pop()
        marks.append((now_ns, count))
        while len(marks) > 2 and now_ns - marks[1][0] >= window_ns and count - marks[1][1] >= RATE_COUNT_MIN:
            marks.popleft()

    def rate_bps(self, packet_size: int, now_ns: int, window_ns: int) -> int:
        """Bits per second of late, 0 while unknown."""
        if len(self._marks) < 2:
            return 0
        (begin_ns, begin), (end_ns, end) = self._marks[0], self._marks[-1]
        if now_ns - end_ns > window_ns:
            end_ns = now_ns
        return (end - begin) * packet_size * 8 * NS // max(1, end_ns - begin_ns)


class _Reordering:
    """Numbers that are missing: whether they are late or lost, and which of the lost ones come after all."""

    def __init__(self) -> None:
        self.holes: deque[_Hole] = deque()
        self.has_new = False  # Holes were noticed since the system's drops were last reported.
        self.advance_count = 0  # packets that arrived in order
        self._gone: deque[_Gone] = deque(maxlen=_GONE_COUNT_MAX)
        self._late_ns = 0.0  # how late packets were of late

    def notice(self, first: int, end: int, before_ns: int, now_ns: int) -> None:
        """The numbers `first` up to `end` did not come between the packets of `before_ns` and of now."""
        # RFC 5348 section 5.2: lost packets would have come evenly between those around them.
        step_ns = (now_ns - before_ns) // (end - first + 1)
        self.holes.append(_Hole(first, end, before_ns + step_ns, step_ns, self.advance_count, now_ns))
        self.has_new = True

    def fill(self, sequence: int, now_ns: int, rtt_ns: int) -> int | None:
        """A late packet is not missing any more. Returns the event that is none any more, by its first number."""
        for place, hole in enumerate(self.holes):
            if hole.first <= sequence < hole.end:
                self._note_late(now_ns - hole.noticed_ns, rtt_ns)
                passed = sequence + 1 - hole.first
                rest = replace(hole, first=sequence + 1, first_ns=hole.first_ns + passed * hole.step_ns)
                hole.end = sequence
                del self.holes[place]
                for part in (rest, hole):
                    if part.first < part.end:
                        self.holes.insert(place, part)
                return None
        for gone in reversed(self._gone):
            if gone.first <= sequence < gone.end:
                self._note_late(now_ns - gone.noticed_ns, rtt_ns)
                gone.missing_count -= 1
                if gone.missing_count:
                    return None
                self._gone.remove(gone)
                is_none = all(other.event_first != gone.event_first for other in self._gone)
                return gone.event_first if is_none else None
        return None

    def take_lost(self, now_ns: int, rtt_ns: int) -> list[_Hole]:
        """Holes that enough packets have overtaken, long enough ago: they are lost."""
        patience_ns = max(rtt_ns / LATE_SHARE, LATE_MARGIN * self._late_ns)
        lost = []
        while self.holes:
            hole = self.holes[0]
            if self.advance_count - hole.advance_count < LATE_COUNT or now_ns - hole.noticed_ns < patience_ns:
                break
            lost.append(self.holes.popleft())
            self._late_ns *= _LATE_DECAY
        return lost

    def remember(self, hole: _Hole, event_first: int) -> None:
        """The hole was lost in a single event: should all of its packets come after all, there was none."""
        size = hole.end - hole.first
        self._gone.append(_Gone(hole.first, hole.end, size, hole.noticed_ns, event_first))

    def _note_late(self, late_ns: int, rtt_ns: int) -> None:
        self._late_ns = max(self._late_ns, min(late_ns, max(LATE_MAX_NS, rtt_ns)))


class _LossHistory:
    """Loss events, and the intervals between them in packets (RFC 5348 sections 5.3 to 5.5)."""

    def __init__(self) -> None:
        self.count = 0
        self.latest_ns = 0  # when the latest event began
        self.initial_bps = 0.0  # the rate that the oldest interval stands for; 0 once it is forgotten
        self._latest_first = 0  # the first number lost in the latest event
        self._starts: deque[int] = deque(maxlen=len(INTERVAL_WEIGHTS) + 1)  # the latest first
        self._intervals: deque[float] = deque(maxlen=len(INTERVAL_WEIGHTS))  # closed ones, the latest first
        self._discounts: deque[float] = deque(maxlen=len(INTERVAL_WEIGHTS))  # of each of them

    @property
    def latest_start(self) -> int | None:
        """The first number lost in the latest event that is remembered."""
        return self._starts[0] if self._starts else None

    def event_rate(self, expected: int) -> float:
        """Events per packet, when `expected` is the next number; 0 before the first event."""
        if not self.count:
            return 0.0
        open_interval = float(expected - self._latest_first)
        discount = self._discount(open_interval)
        weights = [weight * kept for weight, kept in zip(INTERVAL_WEIGHTS, self._discounts)]
        with_open = [1.0, *(discount * kept * weight for weight, kept in zip(INTERVAL_WEIGHTS[1:], self._discounts))]
        closed_mean = _mean(weights, self._intervals)
        open_mean = _mean(with_open, [open_interval, *self._intervals])
        return min(1.0, max(EVENT_RATE_MIN, 1.0 / max(closed_mean, open_mean, 1.0)))

    def begin_first(self, sequence: int, at_ns: int, interval: float, initial_bps: float) -> None:
        """The first event. `interval` stands for the rate that was reached by then, or is a count (`initial_bps` 0)."""
        self.initial_bps = initial_bps
        self._add(sequence, at_ns, interval)

    def begin(self, sequence: int, at_ns: int) -> None:
        """Another event."""
        interval = float(sequence - self._latest_first)
        discount = self._discount(interval)
        for place, kept in enumerate(self._discounts):
            self._discounts[place] = kept * discount
        self._add(sequence, at_ns, interval)

    def restate_initial(self, interval: float) -> None:
        """The oldest interval is no count of packets but a rate, and that does not change with the round trip."""
        if self._intervals:
            self._intervals[-1] = interval

    def take_back(self, event_first: int) -> None:
        """All that was lost in an event has come after all: there was none (RFC 5348 section 5.1)."""
        if event_first not in self._starts:
            return
        place = self._starts.index(event_first)
        del self._starts[place]
        self.count -= 1
        is_oldest = place == len(self._intervals) - 1
        if place < len(self._intervals):
            if place and is_oldest and self.initial_bps:
                self._intervals[place - 1] = self._intervals[place]  # The rate that was reached by then still counts.
            elif place:
                self._intervals[place - 1] += self._intervals[place]
            del self._intervals[place], self._discounts[place]
        if not self.count:
            self.initial_bps = 0.0
        if not place and self._starts:
            self._latest_first = self._starts[0]
        if not place:
            self.latest_ns = 0  # The next loss begins one.

    def _add(self, sequence: int, at_ns: int, interval: float) -> None:
        if len(self._intervals) == self._intervals.maxlen:
            self.initial_bps = 0.0  # It is forgotten.
        self._intervals.appendleft(interval)
        self._discounts.appendleft(1.0)
        self.count += 1
        self._starts.appendleft(sequence)
        self._latest_first, self.latest_ns = sequence, at_ns

    def _discount(self, open_interval: float) -> float:
        """How much the past counts, when the time since the last event is more than twice what was usual."""
        usual = _mean(INTERVAL_WEIGHTS, self._intervals)
        return max(DISCOUNT_MIN, 2.0 * usual / open_interval) if open_interval > 2.0 * usual else 1.0


class LossEvents:
    """The loss history of one receiver in one session, for packets of `packet_size` octets.

    Numbers come train by train: a train without a gap costs the same however long it is.
    """

    def __init__(self, packet_size: int, rtt_ns: int = GROUP_RTT_INITIAL_NS) -> None:
        self.received_count = 0
        self.packet_size = packet_size
        self._round_trip = _RoundTrip(rtt_ns)
        self._arrivals = _Arrivals()
        self._reordering = _Reordering()
        self._history = _LossHistory()
        self._expected = -1  # one above the highest number; -1 before the first
        self._first = 0
        self._has_gap = False  # What is missing before the next packet is no loss.
        self._latest_ns = 0

    # --- What the world did --------------------------------------------------------------------------------

    def set_rtt(self, rtt_ns: int) -> None:
        """The round trip as the sender reports it: this receiver's own, or the group's while that is unknown."""
        self._round_trip.set(rtt_ns)
        if self._history.initial_bps:
            self._history.restate_initial(1.0 / event_rate_of(self.packet_size, self.rtt_ns, self._history.initial_bps))

    def on_packets(self, sequences: Sequence[int], now_ns: int, transit_ns: int) -> bool:
        """Packets arrived together: their numbers ascending, each once. Returns whether a loss event began.

        `transit_ns` is their arrival less the time at which the sender says that they went, by whatever two clocks,
        modulo TRANSIT_MODULUS_NS.
        """
        first, last, count = sequences[0], sequences[-1], len(sequences)
        self._round_trip.transit_ns = transit_ns
        if self._expected < 0:
            self._expected = self._first = first
            self._latest_ns = now_ns
        if self._has_gap:
            self._has_gap = False
            self._expected = max(self._expected, first)
        if first == self._expected and last - first + 1 == count:
            self._expected += count
            self._reordering.advance_count += count
        else:
            self._take_singly(sequences, now_ns)
        self.received_count += count
        self._latest_ns = now_ns
        self._arrivals.note(now_ns, self.received_count, self._rate_window_ns)
        return bool(self._reordering.holes) and self._judge(now_ns)

    def count(self, sequences: Sequence[int], now_ns: int) -> None:
        """Packets arrived that had waited here: they count, and neither when they came nor what is missing matters."""
        self.received_count += len(sequences)
        if self._expected < 0:
            self._first = sequences[0]
        self._expected = max(self._expected, sequences[-1] + 1)
        self._latest_ns = now_ns
        self._arrivals.clear()

    def skip_gap(self) -> None:
        """What is missing up to the next packet was not lost on the way."""
        self._reordering.holes.clear()
        self._has_gap = True
        self._arrivals.clear()

    def on_drops(self, now_ns: int) -> bool:
        """The receiver's own system threw packets away. Returns whether that is a loss event by itself.

        It is not where a gap was seen since the last time: the gap is those packets.
        """
        explained, self._reordering.has_new = self._reordering.has_new, False
        is_same = self.has_lost and now_ns - self._history.latest_ns <= self.rtt_ns
        if explained or self._expected < 0 or is_same:
            return False
        self._begin_event(self._expected, now_ns)
        return True

    # --- What it means -------------------------------------------------------------------------------------

    @property
    def rtt_ns(self) -> int:
        """The round trip that was given, and by how much the way has become longer since."""
        return self._round_trip.ns

    @property
    def has_lost(self) -> bool:
        """Whether anything was lost so far."""
        return self._history.count > 0

    @property
    def event_rate(self) -> float:
        """Loss events per packet, averaged over the last eight intervals between them; 0 before the first."""
        return self._history.event_rate(self._expected)

    def allowed_bps(self, now_ns: int) -> float:
        """The rate that this receiver allows, as it knows its round trip; before the first loss, twice what arrives."""
        if not self.has_lost:
            return 2.0 * self.receive_rate_bps(now_ns)
        return throughput_bps(self.packet_size, self.rtt_ns, self.event_rate)

    def receive_rate_bps(self, now_ns: int) -> int:
        """Bits per second that arrived lately, 0 while unknown."""
        return self._arrivals.rate_bps(self.packet_size, now_ns, self._rate_window_ns)

    @property
    def _rate_window_ns(self) -> int:
        return max(self.rtt_ns, RATE_WINDOW_MIN_NS)

    # --- From gaps to events -------------------------------------------------------------------------------

    def _take_singly(self, sequences: Sequence[int], now_ns: int) -> None:
        before_ns = self._latest_ns
        for sequence in sequences:
            if sequence < self._expected:
                none = self._reordering.fill(sequence, now_ns, self.rtt_ns)
                if none is not None:
                    self._history.take_back(none)
                continue
            if sequence > self._expected:
                self._reordering.notice(self._expected, sequence, before_ns, now_ns)
            self._expected = sequence + 1
            self._reordering.advance_count += 1
            before_ns = now_ns

    def _judge(self, now_ns: int) -> bool:
        """Begin the events of holes that are lost by now; whether there were any."""
        before = self._history.count
        for hole in self._reordering.take_lost(now_ns, self.rtt_ns):
            self._lose(hole)
        return self._history.count > before

    def _lose(self, hole: _Hole) -> None:
        before = self._history.count
        self._begin_events(hole)
        start = self._history.latest_start
        if self._history.count - before <= 1 and start is not None:
            self._reordering.remember(hole, start)

    def _begin_events(self, hole: _Hole) -> None:
        sequence, at_ns, step_ns = hole.first, hole.first_ns, hole.step_ns
        # A long hole is an event for each round trip in it; more than the history holds need not be walked through.
        excess_ns = (hole.end - sequence) * step_ns - (len(INTERVAL_WEIGHTS) + 1) * self.rtt_ns
        if excess_ns > 0:
            sequence += excess_ns // step_ns
            at_ns += excess_ns // step_ns * step_ns
        while sequence < hole.end:
            wait_ns = self._history.latest_ns + self.rtt_ns - at_ns
            if not self.has_lost or wait_ns < 0:
                self._begin_event(sequence, at_ns)
            elif not step_ns:
                return
            else:
                skipped = wait_ns // step_ns + 1
                sequence += skipped
                at_ns += skipped * step_ns

    def _begin_event(self, sequence: int, at_ns: int) -> None:
        if self.has_lost:
            self._history.begin(sequence, at_ns)
            return
        # Packets before the first event: as many as explain the rate that was reached (RFC 5348 section 6.3.1).
        rate_bps = float(self.receive_rate_bps(self._latest_ns))
        interval = float(max(1, sequence - self._first))
        if rate_bps:
            interval = 1.0 / event_rate_of(self.packet_size, self.rtt_ns, rate_bps)
        self._history.begin_first(sequence, at_ns, interval, rate_bps)


def _mean(weights: Sequence[float], intervals: Iterable[float]) -> float:
    total = weight_sum = 0.0
    for weight, interval in zip(weights, intervals):
        total += weight * interval
        weight_sum += weight
    return total / weight_sum
