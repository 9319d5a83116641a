"""Who gets a place where more streams are announced than a receiver takes at once: those whose data comes.

A recording of an old session, played again, is authentic: its Announces and Plans, and its data packets, each of them
once. So a place is kept by new data alone. In this order, a stream without a place gets that of the slowest one which
has been there for `GRACE_NS`:

1. where that has had no new data for `IDLE_NS`, and this one has;
2. where this one has `PACE_FACTOR` times as much of it;
3. to be tried, where that is idle, or much slower than its server says it sends, or answers no report of this receiver
   (a recording never does): most servers send nothing as long as nobody takes it. A stream is tried once in `RETRY_NS`,
   and `TRIAL_COUNT` of them at once, then one in `TRIAL_NS`.

What is counted of a stream without a place is opened first, so nobody without the key can make any stream look better
than it is.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

import numpy as np

from fountain.limits import DATA_OVERHEAD_SIZE, IP_UDP_OVERHEAD_SIZE, NS, SEGMENT_COUNT_MAX
from fountain.net.train import Train
from fountain.protocol.base.clock import LONG_AGO_NS
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.inflow import GroupInflow
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.wire.data import FLAG_OPEN, GOOD, Columns, check_open, expand_sequences, packet_views, parse_headers
from fountain.wire.group import Announce

__all__ = ["CONTENDER_COUNT_MAX", "IDLE_NS", "Contender", "Contenders", "Pace"]

IDLE_NS = 3 * NS  # Without new data for so long a stream is idle.
GRACE_NS = 2 * NS  # So long a stream keeps its place in any case: its data may be under way.
PACE_NS = NS  # New data of the last one to two of these is compared.
PACE_FACTOR = 2  # A stream gets the place of one that has less than this share of its data ...
PACE_COUNT_MIN = 16  # ... if it has so many packets: fewer say nothing.
SLOW_SHARE = 8  # A stream is slow with less than this part of the rate that its server says it sends at.
RETRY_NS = 30 * NS
TRIAL_COUNT, TRIAL_NS = 4, 10 * NS
CONTENDER_COUNT_MAX = 64


class Pace:
    """How much new, authentic data of a stream has come of late."""

    def __init__(self, now_ns: int) -> None:
        self.begun_ns = now_ns
        self.latest_ns = now_ns  # when the last of it came
        self._since_ns = now_ns
        self._current = self._previous = 0
        self._good_count, self._good_ns = 0, now_ns  # blocks that fitted their digests, and when the last one did

    def begin_anew(self, now_ns: int) -> None:
        """Another stream of the same object is taken: what it brings is counted alone."""
        self.begun_ns = self._since_ns = now_ns
        self._current = self._previous = 0

    def note(self, count: int, now_ns: int) -> None:
        """So many new packets came."""
        if count > 0:
            self._turn(now_ns)
            self._current += count
            self.latest_ns = now_ns

    def recent(self, now_ns: int) -> int:
        """New packets of the last one to two seconds."""
        self._turn(now_ns)
        return self._previous + self._current

    def note_good(self, count: int, now_ns: int) -> None:
        """So many blocks have fitted their digests by now."""
        if count > self._good_count:
            self._good_count, self._good_ns = count, now_ns

    def is_doubtful(self, now_ns: int) -> bool:
        """Whether nothing for long shows that what comes is good."""
        return now_ns - self._good_ns >= IDLE_NS

    def is_idle(self, now_ns: int) -> bool:
        """Whether nothing new has come for long."""
        return now_ns - self.latest_ns >= IDLE_NS

    def _turn(self, now_ns: int) -> None:
        passed = (now_ns - self._since_ns) // PACE_NS
        if passed > 0:
            self._previous = self._current if passed == 1 else 0
            self._current = 0
            self._since_ns += passed * PACE_NS


class Contender:
    """A stream without a place: what comes of it is opened and counted, and thrown away."""

    _columns = Columns(SEGMENT_COUNT_MAX)  # One thread looks at one train at a time.

    def __init__(
        self, channel: GroupChannel, announce: Announce, now_ns: int, tried_ns: int = LONG_AGO_NS
    ) -> None:  # fmt: skip
        self.pace = Pace(now_ns)
        self.tried_ns = tried_ns  # when it lost its place
        self._inflow = GroupInflow(channel, announce.next_sequence)
        self._channel = channel
        self._packet_size = announce.offer.symbol_size + DATA_OVERHEAD_SIZE

    def look(self, train: Train, now_ns: int) -> None:
        """Count what is new and authentic of this stream in a train."""
        rows = train.rows()
        if rows.shape[1] != self._packet_size:
            return
        columns, count, counter = self._columns, len(rows), self._inflow.counter
        parse_headers(rows, self._channel.session_id, columns)
        is_open = (columns.flags[:count] & FLAG_OPEN) != 0
        good = (columns.verdict[:count] == GOOD) & (is_open == self._channel.open)
        if self._channel.open:
            good &= check_open(rows)
        sequences = expand_sequences(columns.sequence[:count], counter.expected)
        packets = packet_views(train.view, self._packet_size)
        before = counter.received_count
        for index in np.flatnonzero(good).tolist():
            if self._channel.open:
                counter.accept_doubtful(int(sequences[index]))
            elif self._is_authentic(packets[index], int(sequences[index])):
                counter.accept(int(sequences[index]))
        counter.drain()
        self.pace.note(counter.received_count - before, now_ns)

    def beats(self, holder: Pace, now_ns: int) -> bool:
        """Whether what comes of this stream earns it the place of one whose data comes like that."""
        own = self.pace.recent(now_ns)
        if holder.is_idle(now_ns):
            return own > 0
        return own >= PACE_COUNT_MIN and own >= PACE_FACTOR * holder.recent(now_ns)

    def _is_authentic(self, packet: tuple[memoryview, memoryview], sequence: int) -> bool:
        header, body = packet
        seal = self._channel.data
        assert seal is not None
        return seal.open(sequence, bytes(header), bytes(body)) is not None


class Contenders:
    """Those that were heard of latest, by session."""

    def __init__(self) -> None:
        self._trial_count = TRIAL_COUNT
        self._refilled_ns = 0
        self._by_session: OrderedDict[int, Contender] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_session)

    def get(self, session: int) -> Contender | None:
        """The stream of a session, if it has no place and is remembered."""
        return self._by_session.get(session)

    def wins(self, contender: Contender, machine: GroupReceiverMachine, holder: Pace, now_ns: int) -> bool:
        """Whether `contender` should have the place of `machine`'s stream, whose data comes as `holder` says."""
        if now_ns - holder.begun_ns < GRACE_NS:
            return False
        if contender.beats(holder, now_ns):
            return True
        packet_size = machine.offer.symbol_size + DATA_OVERHEAD_SIZE + IP_UDP_OVERHEAD_SIZE
        is_slow = holder.recent(now_ns) * packet_size * 8 * SLOW_SHARE * NS < machine.rate_bps * PACE_NS
        is_weak = is_slow or holder.is_idle(now_ns) or machine.is_unanswered(now_ns)
        if not is_weak or now_ns - contender.tried_ns < RETRY_NS:
            return False
        return self._try(now_ns)

    def _try(self, now_ns: int) -> bool:
        refill = (now_ns - self._refilled_ns) // TRIAL_NS
        if refill > 0:
            self._trial_count = min(TRIAL_COUNT, self._trial_count + refill)
            self._refilled_ns += refill * TRIAL_NS
        if self._trial_count == 0:
            return False
        self._trial_count -= 1
        return True

    def add(self, session: int, contender: Contender) -> None:
        """Count what comes of this stream from now on; the one heard of longest ago makes room."""
        self._by_session[session] = contender
        self._by_session.move_to_end(session)
        for oldest in list(islice(self._by_session, max(0, len(self._by_session) - CONTENDER_COUNT_MAX))):
            del self._by_session[oldest]

    def remove(self, session: int) -> None:
        """It has a place, or is not wanted."""
        self._by_session.pop(session, None)
