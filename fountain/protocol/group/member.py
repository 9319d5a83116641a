"""One receiver of a group, as the server knows it from its reports."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

from fountain.limits import NS
from fountain.protocol.base.bucket import Bucket
from fountain.protocol.base.stream import Address
from fountain.protocol.rate.estimate import LossEstimate, RttEstimate, echoed_rtt_us
from fountain.protocol.rate.group_round_trip import bounded_rtt_ns
from fountain.wire.group import FRACTION_UNIT, GroupReport, MemberState

__all__ = [
    "AWAY_NS",
    "FINAL_STATES",
    "HOLDING_STATES",
    "MEMBER_REPORT_SPACING_NS",
    "TAKING_STATES",
    "Holding",
    "Member",
    "Reception",
    "ReportNumbers",
    "SendTimes",
    "follows",
    "returns",
]

# It has the object; nothing more will come of it.
HOLDING_STATES = frozenset({MemberState.DONE, MemberState.HOOKING, MemberState.HOOK_DONE, MemberState.HOOK_FAILED})
FINAL_STATES = (HOLDING_STATES - {MemberState.HOOKING}) | {MemberState.FAILED, MemberState.LEFT}
TAKING_STATES = frozenset({MemberState.JOINING, MemberState.RECEIVING})
_BEGUN_STATES = frozenset(MemberState)
# What a receiver may say next, until it starts again. Another one comes back to the group where unicast fails, or runs
# a hook again that failed.
_NEXT_STATES = {
    MemberState.JOINING: _BEGUN_STATES,
    MemberState.RECEIVING: _BEGUN_STATES,
    MemberState.DONE: HOLDING_STATES,
    MemberState.HOOKING: HOLDING_STATES,
    MemberState.HOOK_DONE: frozenset({MemberState.HOOK_DONE}),
    MemberState.HOOK_FAILED: frozenset({MemberState.HOOK_FAILED, MemberState.HOOKING, MemberState.HOOK_DONE}),
    MemberState.FAILED: frozenset({MemberState.FAILED}),
    MemberState.LEFT: frozenset({MemberState.LEFT}),
    MemberState.FALLBACK: _BEGUN_STATES - {MemberState.JOINING},
}
_RETURNS = frozenset(
    {
        (MemberState.FALLBACK, MemberState.RECEIVING),
        (MemberState.HOOK_FAILED, MemberState.HOOKING),
        (MemberState.HOOK_FAILED, MemberState.HOOK_DONE),
    }
)

_HISTORY_NS = 5 * NS  # No report is older when it comes.
_WORTH_COUNT = 200  # Packets after which a loss says something.
MEMBER_REPORT_SPACING_NS = NS // 100  # Between the reports of one receiver; ...
REPORT_BURST_COUNT = 16  # ... so many may have been held up and come together.
DEAF_COUNT = 1_000  # Packets of which not one came: there is no such loss. It hears nothing, for now.
AWAY_NS = NS  # Who was not heard for so long, and for some intervals, was away: what it missed is no loss.


def follows(before: MemberState, said: MemberState) -> bool:
    """Whether a receiver that was `before` can be what it says now, if it has not started again: ends are final."""
    return said in _NEXT_STATES[before]


def returns(before: MemberState, said: MemberState, *, has_restarted: bool) -> bool:
    """Whether a receiver begins again after an end: each return is reported, so nobody may return without limit."""
    if said is before:
        return False
    return has_restarted if before in FINAL_STATES and not follows(before, said) else (before, said) in _RETURNS


class SendTimes:
    """When which data packets went: what a report that comes now must have counted."""

    def __init__(self) -> None:
        self._ends: deque[int] = deque()
        self._times: deque[int] = deque()
        self._end = 0
        self._earlier_count = 0  # in sessions before this one

    @property
    def count(self) -> int:
        """Packets that ever went."""
        return self._earlier_count + self._end

    def restart(self) -> None:
        """Sequence numbers begin anew."""
        self._earlier_count, self._end = self.count, 0
        self._ends.clear()
        self._times.clear()

    def record(self, end_sequence: int, now_ns: int) -> None:
        """The packets up to, not including, `end_sequence` have gone."""
        self._end = end_sequence
        self._ends.append(end_sequence)
        self._times.append(now_ns)

    def before(self, time_ns: int) -> int:
        """One above the last packet that went before `time_ns`; 0 for none that is remembered."""
        at = bisect_right(self._times, time_ns)
        return self._ends[at - 1] if at else 0

    def forget(self, now_ns: int) -> int:
        """Forget what is older than any report can be; one above the last of that, or 0."""
        end = 0
        while len(self._times) > 1 and self._times[0] < now_ns - _HISTORY_NS:
            self._times.popleft()
            end = self._ends.popleft()
        return end


class ReportNumbers:
    """The numbers of one receiver's reports: which are new, how often they may come, whether it has started again."""

    def __init__(self) -> None:
        self._latest = 0
        self.pace = Bucket(MEMBER_REPORT_SPACING_NS, REPORT_BURST_COUNT)  # that its reports have to keep

    def is_fresh(self, number: int, announced: int) -> bool:
        """Whether a report of this number is newer than those before, and none of the future.

        Its upper half is the number of the latest Announce or Plan that its receiver had heard, and `announced` that
        of the latest one that went: so a receiver that starts again is newer than all that was recorded of it.
        """
        return number > self._latest and number >> 32 <= announced & 0xFFFF_FFFF

    def is_restart(self, number: int) -> bool:
        """Whether a fresh report of this number is counted from the start: its receiver has started again."""
        return number & 0xFFFF_FFFF <= self._latest & 0xFFFF_FFFF

    def take(self, number: int) -> None:
        """No report with this number or a lower one is fresh any more."""
        self._latest = number


class Reception:
    """How much of the stream's data packets one receiver has counted."""

    def __init__(self) -> None:
        self.loss = LossEstimate()
        self.first_sequence = -1  # the first data packet that it could count
        self.came_sequence = 0  # the same, or of when it came back
        self.expected_sequence = 0
        self.received_count = 0
        self.deaf_since_ns: int | None = None  # It hears nothing of the data since then.
        self._loss_weight = 0
        self._kernel_drop_count = 0

    @property
    def sent_count(self) -> int:
        """Data packets that were sent since it came, as far as it knows."""
        return self.expected_sequence - max(0, self.first_sequence)

    @property
    def total_loss(self) -> float:
        """Share of these that did not arrive."""
        expected = self.sent_count
        return max(0.0, 1.0 - self.received_count / expected) if expected > 0 else 0.0

    @property
    def likely_loss(self) -> float:
        """Its loss less a standard deviation of chance; 0 while little is known."""
        weight = self._loss_weight
        if weight < _WORTH_COUNT:
            return 0.0
        loss = self.loss.fraction
        return max(0.0, loss - math.sqrt(loss * (1.0 - loss) / weight))

    def restart(self) -> None:
        """It counts from its next report on."""
        self.first_sequence = -1

    def come_back(self, sequence: int) -> None:
        """It was away, and what it missed meanwhile says nothing of its way; the next data packet is `sequence`."""
        self.deaf_since_ns = None
        self._count_from(sequence)

    def listen(self, resolved: int, now_ns: int) -> None:
        """See whether it hears anything of what was sent, of which it should have counted all below `resolved`."""
        if resolved - max(self.expected_sequence, self.came_sequence) < DEAF_COUNT:
            self.deaf_since_ns = None
        elif self.deaf_since_ns is None:
            self.deaf_since_ns = now_ns

    def count(self, report: GroupReport) -> None:
        """Take in what a report counts."""
        expected, received = report.expected_sequence, report.received_count
        if self.first_sequence < 0 or received < self.received_count:  # It counts from where it came, or came back.
            self.first_sequence = max(0, expected - received)
            self._count_from(self.first_sequence)
        elif expected > self.expected_sequence >= self.came_sequence:
            self.loss.sample(expected - self.expected_sequence, received - self.received_count)
            self._loss_weight = min(2_000, self._loss_weight + expected - self.expected_sequence)
        self.expected_sequence = max(expected, 0)
        self.received_count = received

    def has_dropped(self, report: GroupReport) -> bool:
        """Whether its own system has thrown packets away since this was last asked."""
        # The counter wraps at 32 bits; one that went back by less than half of that is a receiver that started again.
        dropped_count = (report.kernel_drop_count - self._kernel_drop_count) & 0xFFFF_FFFF
        self._kernel_drop_count = report.kernel_drop_count
        return 0 < dropped_count < 1 << 31

    def _count_from(self, sequence: int) -> None:
        self.came_sequence = sequence
        self.loss = LossEstimate()
        self._loss_weight = 0


@dataclass(frozen=True)
class Holding:
    """When a receiver first had the object, and where."""

    since_ns: int
    address: Address
    host: str


class Member:
    """State of one receiver. `address` is where its latest report came from, `party` the host of the first one."""

    def __init__(self, peer_id: bytes, address: Address, now_ns: int) -> None:
        self.peer_id = peer_id
        self.party = address[0]
        self.address = address
        self.host = ""
        self.state = MemberState.JOINING
        self.joined_ns = now_ns
        self.heard_ns = now_ns
        self.holding: Holding | None = None  # since it first had the object
        self.is_silent = False
        self.is_leaving = False  # asked to leave
        self.slow_since_ns: int | None = None
        self.report: GroupReport | None = None  # the latest one
        self.rtt = RttEstimate()
        self.numbers = ReportNumbers()
        self.reception = Reception()

    def hold(self, now_ns: int) -> None:
        """It has the object: from now on, unless it had it before."""
        self.holding = self.holding or Holding(now_ns, self.address, self.host)

    @property
    def place(self) -> tuple[Address, str]:
        """Where it is, and what it calls its host: once it has the object, as it was when it got that.

        Somebody else may speak in its name when it has left.
        """
        return (self.address, self.host) if self.holding is None else (self.holding.address, self.holding.host)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in FINAL_STATES

    @property
    def is_active(self) -> bool:
        """Whether it still takes part in the stream."""
        return self.state in TAKING_STATES and not self.is_silent

    @property
    def is_expected(self) -> bool:
        """Whether it should go on reporting: it takes part, or its hook is running."""
        return (self.state in TAKING_STATES or self.state is MemberState.HOOKING) and not self.is_silent

    @property
    def counts(self) -> bool:
        """Whether others wait for its reports: it should go on reporting, and was not asked to leave."""
        return self.is_expected and not self.is_leaving

    @property
    def is_deaf(self) -> bool:
        """Whether its reports come, and nothing of the data comes to it."""
        return self.reception.deaf_since_ns is not None

    @property
    def fraction(self) -> float:
        """The share of the object that it has."""
        return 0.0 if self.report is None else self.report.fraction / FRACTION_UNIT

    @property
    def loss(self) -> LossEstimate:
        """What it loses of the stream."""
        return self.reception.loss

    def take(self, report: GroupReport, address: Address, now_ns: int) -> int:
        """Learn from an authentic report that is newer than those before; its round trip in ns, 0 if it has none."""
        self.report = report
        self.heard_ns = now_ns
        self.is_silent = False
        self.address = address
        self.host = report.host or self.host
        self.reception.count(report)
        if not report.echo_timestamp_us:
            return 0
        rtt_us = echoed_rtt_us(report.echo_timestamp_us, report.hold_us, now_ns)
        rtt_ns = bounded_rtt_ns(rtt_us * 1000, self.rtt.smoothed_ns)
        if rtt_us < 0 or (rtt_us and not rtt_ns):
            return 0
        self.rtt.sample(rtt_ns)
        return max(1_000, rtt_ns)

    def resolved(self, sends: SendTimes, now_ns: int) -> int:
        """Up to where packets have arrived or are lost: it saw a later one, or should have by now."""
        return max(self.reception.expected_sequence, sends.before(self.rtt.counted_ns(now_ns)))
