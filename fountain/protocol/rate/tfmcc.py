"""How fast a group is sent to: as fast as TCP would go to the receiver that has it worst (TFMCC, RFC 4654).

Why and from where: docs/concepts/congestion.md, "Groups". The rules
--------------------------------------------------------------------
1. What a receiver allows is TCP's throughput at its round trip and its rate of loss events; before its first loss,
   twice the rate that arrives there. The one that allows least is the CLR, the current limiting receiver. It reports
   every round trip, the others when they allow less than `suppress_rate_bps`, and now and then.
2. Slow start: a packet per round trip, then twice as much every round trip, up to twice what arrives at the CLR. The
   first loss anywhere ends it for good.
3. Afterwards: down to what any receiver allows, at once; up to what the CLR allows, by no more than a packet per round
   trip in each round trip, whether that receiver is better off now or another one has taken its place.
4. A CLR that is silent for HALVING_ROUNDS halves the rate, after SILENCE_ROUNDS it is none any more. When nobody
   reports, every SILENCE_ROUNDS halve the rate, down to a packet in 8 s.
5. One address alone that allows less than half of what all others allow cannot take the rate below half. After
   HELD_BACK_NS the receivers there that allow so little are asked to leave: whether their way is slow or their reports
   are false, the others go on. The time counts down at a twentieth of its speed, so a receiver that is slow now and
   then stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fountain.limits import NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.rate.group_round_trip import longest_rtt_ns
from fountain.protocol.rate.loss_events import EVENT_RATE_MIN, GROUP_RTT_INITIAL_NS, RTT_MIN_NS, throughput_bps

__all__ = [
    "FixedGroupRate",
    "GroupRate",
    "TfmccRate",
    "group_rate",
]

SUPPRESS_SHARE = 0.9  # RFC 4654's 1 - g: a receiver that allows only a little less need not report
SUPPRESS_NOBODY_BPS = (1 << 63) - 1
ROUNDS_LOOK_NS = NS // 4  # The group's round trip comes down so soon when its receivers' do.
HELD_BACK_NS = 3 * NS
HELD_SHARE = 0.5
HELD_SHARE_CLEAN = 0.25  # Without loss what arrives grows with the rate: the far ones are a round trip behind.
HELD_LOOK_NS = NS // 10
HELD_FORGOTTEN = 0.05
WINDOW_ROUNDS = 6  # RFC 4654's T: a feedback window, in which each receiver that should report does
ROUND_MIN_NS = 50_000_000  # A CLR on a short way need not report as often as packets come back.
HALVING_ROUNDS = 4
SILENCE_ROUNDS = 10
RATE_MIN_NS = 8 * NS  # A packet in this time is sent whatever happens (RFC 4654; RFC 5348 has 64 s).
SMOOTHING_CLR = 0.1  # weight of a new round trip; RFC 4654: many samples for the CLR, ...
SMOOTHING_OTHERS = 0.5  # ... few for the others
DAMPER_SMOOTHING = 0.1
DAMPER_MAX = 2.0
RECEIVER_COUNT_MAX = 16_384  # remembered; the one heard longest ago is forgotten


class GroupRate(Protocol):
    """Decides over the stream to one group. The rate counts whole packets with their headers."""

    @property
    def rate_bps(self) -> int:
        """Bits per second to send at."""

    @property
    def clr(self) -> bytes | None:
        """The current limiting receiver, which reports at least once in `round_ns`."""

    @property
    def suppress_rate_bps(self) -> int:
        """Other receivers report only when they allow less."""

    @property
    def group_rtt_ns(self) -> int:
        """The longest round trip of late: what receivers take that have none of their own."""

    @property
    def round_ns(self) -> int:
        """A feedback round: the CLR's longest time without a report."""

    def rtt_ns(self, peer_id: bytes) -> int:
        """The smoothed round trip of a receiver, for its Plan; the group's while it has none."""

    def on_report(
        self, now_ns: int, peer_id: bytes, *, rtt_ns: int, event_rate: float, receive_rate_bps: int, has_lost: bool,
        party: str = "",
    ) -> None:  # fmt: skip
        """A receiver at the address `party` reported; `rtt_ns` is what this report alone measured, 0 for nothing."""

    def blames(self, peer_id: bytes) -> bool:
        """Whether a receiver's address alone has held all others back for too long, and this receiver does so."""

    def on_leave(self, peer_id: bytes, now_ns: int) -> None:
        """A receiver has all that it wants, or was asked to leave."""

    def next_timeout(self) -> int:
        """When `on_timeout` is due."""

    def on_timeout(self, now_ns: int) -> None:
        """Time passed, perhaps without any report."""


def group_rate(name: str, packet_size: int, cap_bps: int, now_ns: int) -> GroupRate:
    """The controller of a new group; `name` is one of GROUP_CONTROL_NAMES."""
    return FixedGroupRate(cap_bps) if name == "fixed" else TfmccRate(packet_size, cap_bps, now_ns)


class _Rounds:
    """The round trips of the group's receivers: each smoothed, and the longest that is to be believed."""

    def __init__(self) -> None:
        self.group_ns = GROUP_RTT_INITIAL_NS
        self.is_measured = False
        self._limit_ns = 0
        self._looked_ns = 0

    def note(self, smoothed_ns: int, receivers: Iterable[_Receiver], now_ns: int) -> None:
        """The round trip of one of the `receivers` is `smoothed_ns` now."""
        if not self.is_measured or now_ns - self._looked_ns >= ROUNDS_LOOK_NS:
            self.is_measured = True
            self._looked_ns = now_ns
            self.group_ns, self._limit_ns = longest_rtt_ns((item.party, item.rtt_ns) for item in receivers)
        self.group_ns = max(self.group_ns, min(smoothed_ns, self._limit_ns))

    def look_soon(self) -> None:
        """One of the receivers was far away, and is none any more."""
        self._looked_ns = -ROUNDS_LOOK_NS


class _Receiver:
    """What the latest reports of one receiver said."""

    def __init__(self) -> None:
        self.party = ""
        self.rtt_ns = 0  # smoothed; 0 while unknown
        self.receive_bps = 0
        self.event_rate = 0.0
        self.has_lost = False
        self.is_worse = False  # It lost more since the report before.
        self.allowed_bps = math.inf
        self.equation_bps = math.inf  # TCP's throughput; without a loss all
        self.doubled_bps = math.inf  # twice what arrives, or a packet per round trip
        self.heard_ns = 0

    def smooth(self, rtt_ns: int, weight: float) -> None:
        """Take in a measured round trip."""
        smoothed_ns = int(self.rtt_ns + (rtt_ns - self.rtt_ns) * weight) if self.rtt_ns else rtt_ns
        self.rtt_ns = max(smoothed_ns, RTT_MIN_NS)

    def judge(self, packet_size: int, group_rtt_ns: int) -> None:
        """What rate this receiver allows."""
        self.doubled_bps = max(2.0 * self.receive_bps, packet_size * 8 * NS / group_rtt_ns)
        self.allowed_bps, self.equation_bps = self.doubled_bps, math.inf
        if self.has_lost:
            rate_bps = throughput_bps(packet_size, self.rtt_ns or group_rtt_ns, max(self.event_rate, EVENT_RATE_MIN))
            self.equation_bps = rate_bps
            self.allowed_bps = min(rate_bps, self.doubled_bps) if self.is_worse else rate_bps


@dataclass
class _Hold:
    """How an address has held all others back."""

    limit_bps: float  # A receiver there that allows less holds others back ...
    has_lost: bool  # ... if it has lost packets, or the CLR had not when it was looked at.
    floor_bps: float  # The rate does not fall below this for it.
    floor_until_ns: int
    looked_ns: int
    total_ns: int = 0

    def look(self, now_ns: int, *, is_held: bool) -> None:
        """Let time pass."""
        elapsed_ns, self.looked_ns = now_ns - self.looked_ns, now_ns
        if is_held:
            self.total_ns += min(elapsed_ns, 2 * HELD_LOOK_NS)
        else:
            self.total_ns = max(0, self.total_ns - int(HELD_FORGOTTEN * elapsed_ns))


@dataclass
class _Clr:
    """The current limiting receiver; `peer_id` is None while there is none."""

    peer_id: bytes | None
    since_ns: int
    is_halved: bool = False  # The rate was, since this receiver was heard.
    root_mean: float = 0.0  # of its round trips: of their square roots
    damper: float = 1.0  # RFC 5348 section 4.5: a queue that grows slows the stream before it overflows

    def measure(self, rtt_ns: int) -> None:
        """Take in a measured round trip."""
        root = math.sqrt(max(rtt_ns, RTT_MIN_NS))
        self.root_mean += (root - self.root_mean) * DAMPER_SMOOTHING if self.root_mean else root
        self.damper = min(DAMPER_MAX, max(1.0 / DAMPER_MAX, self.root_mean / root))


class FixedGroupRate:
    """No congestion control: `cap_bps`, whatever else is on the way. For networks of one's own."""

    def __init__(self, cap_bps: int) -> None:
        self.rate_bps = cap_bps
        self.clr: bytes | None = None
        self.suppress_rate_bps = 0  # Reports would change nothing.
        self._rounds = _Rounds()
        self._receivers: dict[bytes, _Receiver] = {}

    @property
    def group_rtt_ns(self) -> int:
        return self._rounds.group_ns

    @property
    def round_ns(self) -> int:
        return max(self.group_rtt_ns, ROUND_MIN_NS)

    def rtt_ns(self, peer_id: bytes) -> int:
        known = self._receivers.get(peer_id)
        return known.rtt_ns if known else self.group_rtt_ns

    def on_report(
        self,
        now_ns: int,
        peer_id: bytes,
        *,
        rtt_ns: int,
        event_rate: float,  # noqa: ARG002  the rate is fixed
        receive_rate_bps: int,  # noqa: ARG002
        has_lost: bool,  # noqa: ARG002
        party: str = "",
    ) -> None:
        if rtt_ns:
            receiver = _heard(self._receivers, peer_id)
            receiver.party = party
            receiver.smooth(rtt_ns, SMOOTHING_OTHERS)
            self._rounds.note(receiver.rtt_ns, self._receivers.values(), now_ns)

    def blames(self, peer_id: bytes) -> bool:  # noqa: ARG002  an interface
        return False

    def on_leave(self, peer_id: bytes, now_ns: int) -> None:  # noqa: ARG002  an interface
        self._receivers.pop(peer_id, None)

    def next_timeout(self) -> int:
        return NEVER_NS

    def on_timeout(self, now_ns: int) -> None:
        """Silence changes nothing."""


class TfmccRate:
    """Congestion control of the stream of packets of `packet_size` octets to a group, never above `cap_bps`."""

    def __init__(self, packet_size: int, cap_bps: int, now_ns: int) -> None:
        self._packet_size = packet_size
        self._bits = packet_size * 8
        self._cap_bps = float(cap_bps)
        self._floor_bps = min(self._cap_bps, self._bits * NS / RATE_MIN_NS)
        self._rate = min(self._cap_bps, self._bits * NS / GROUP_RTT_INITIAL_NS)
        self._is_starting = True
        self._rounds = _Rounds()
        self._receivers: dict[bytes, _Receiver] = {}  # the one heard longest ago first
        self._clr = _Clr(None, now_ns)
        self._grown_ns = now_ns
        self._silence_ns = now_ns  # when somebody was heard last, or silence was answered last
        self._is_silent = True  # The next report takes the rate to a packet per round trip at least.
        self._holds: dict[str, _Hold] = {}
        self._held_by: str | None = None

    # --- What it decides -----------------------------------------------------------------------------------

    @property
    def rate_bps(self) -> int:
        return int(max(self._floor_bps, min(self._cap_bps, self._rate * self._clr.damper)))

    @property
    def clr(self) -> bytes | None:
        return self._clr.peer_id

    @property
    def suppress_rate_bps(self) -> int:
        receiver = self._clr_receiver
        if receiver is None:
            return SUPPRESS_NOBODY_BPS
        # Where one address alone allows too little, others that cannot take the rate either must report it.
        allowed_bps = receiver.allowed_bps if self._held_by is None else max(receiver.allowed_bps, self._rate)
        return int(min(SUPPRESS_SHARE * allowed_bps, SUPPRESS_NOBODY_BPS))

    @property
    def group_rtt_ns(self) -> int:
        return self._rounds.group_ns

    @property
    def round_ns(self) -> int:
        return max(self.group_rtt_ns, ROUND_MIN_NS, int(self._bits * NS / self._rate))

    def rtt_ns(self, peer_id: bytes) -> int:
        receiver = self._receivers.get(peer_id)
        return receiver.rtt_ns if receiver and receiver.rtt_ns else self.group_rtt_ns

    def next_timeout(self) -> int:
        due_ns = NEVER_NS
        if self._rate > self._floor_bps:
            due_ns = self._silence_ns + SILENCE_ROUNDS * self.round_ns
        if self.clr is not None:
            rounds = SILENCE_ROUNDS if self._clr.is_halved else HALVING_ROUNDS
            due_ns = min(due_ns, self._clr_heard_ns + rounds * self.round_ns)
        return due_ns

    # --- What the world did --------------------------------------------------------------------------------

    def on_report(
        self, now_ns: int, peer_id: bytes, *, rtt_ns: int, event_rate: float, receive_rate_bps: int, has_lost: bool,
        party: str = "",
    ) -> None:  # fmt: skip
        receiver = _heard(self._receivers, peer_id)
        receiver.party = party
        self._silence_ns = now_ns
        receiver.receive_bps = receive_rate_bps
        receiver.is_worse = event_rate > receiver.event_rate
        receiver.event_rate, receiver.has_lost = event_rate, has_lost
        if rtt_ns:
            self._measure(peer_id, receiver, rtt_ns, now_ns)
        receiver.heard_ns = now_ns
        receiver.judge(self._packet_size, self.group_rtt_ns)
        clr = self._clr_receiver
        if clr is None or receiver.allowed_bps < clr.allowed_bps or self._must_slow_down(receiver):
            self._limit_by(peer_id, now_ns)
        if has_lost:
            self._is_starting = False
        if self._is_silent and self._rounds.is_measured:
            self._is_silent = False
            self._rate = max(self._rate, min(self._bits * NS / self.group_rtt_ns, receiver.allowed_bps, self._cap_bps))
        if peer_id == self.clr:
            self._clr.is_halved = False
            self._watch(receiver, now_ns)
            if not self.blames(peer_id):  # Otherwise it is asked to leave, and the others do not wait for it.
                self._follow(receiver, now_ns)

    def blames(self, peer_id: bytes) -> bool:
        receiver = self._receivers.get(peer_id)
        if receiver is None or receiver.party != self._held_by or not self._has_held(receiver.party):
            return False
        hold = self._holds[receiver.party]
        if hold.has_lost:  # Other receivers there may fare well: it is not their fault that little arrives.
            return receiver.has_lost and receiver.equation_bps < hold.limit_bps
        return receiver.allowed_bps < hold.limit_bps

    def on_leave(self, peer_id: bytes, now_ns: int) -> None:
        left = self._receivers.pop(peer_id, None)
        if left is not None and not self._is_starting and self._has_held(left.party):
            # What it said it lost is no reason for the others to begin slowly, nor are the round trips that it had.
            self._is_starting = not any(receiver.has_lost for receiver in self._receivers.values())
            self._is_silent = True
            self._rounds.look_soon()
        if peer_id == self.clr:
            self._elect(now_ns)

    def on_timeout(self, now_ns: int) -> None:
        round_ns = self.round_ns
        if self.clr is not None:
            silent_ns = now_ns - self._clr_heard_ns
            if silent_ns >= SILENCE_ROUNDS * round_ns:
                self.on_leave(self.clr, now_ns)
            elif silent_ns >= HALVING_ROUNDS * round_ns and not self._clr.is_halved:
                self._clr.is_halved = True
                self._halve()
        if now_ns - self._silence_ns >= SILENCE_ROUNDS * round_ns:
            self._silence_ns = now_ns
            self._is_silent = True
            self._halve()

    # --- How it decides ------------------------------------------------------------------------------------

    @property
    def _clr_receiver(self) -> _Receiver | None:
        return None if self.clr is None else self._receivers.get(self.clr)

    @property
    def _clr_heard_ns(self) -> int:
        """Since when the CLR owes a report."""
        receiver = self._clr_receiver
        return max(receiver.heard_ns if receiver else 0, self._clr.since_ns)

    def _must_slow_down(self, receiver: _Receiver) -> bool:
        return receiver.has_lost and receiver.allowed_bps < self._rate

    def _measure(self, peer_id: bytes, receiver: _Receiver, rtt_ns: int, now_ns: int) -> None:
        is_clr = peer_id == self.clr
        weight = SMOOTHING_OTHERS
        if now_ns - receiver.heard_ns > WINDOW_ROUNDS * self.group_rtt_ns:
            weight = 1.0  # The queue may have come and gone meanwhile.
        elif is_clr and not self._is_starting:
            weight = SMOOTHING_CLR
        receiver.smooth(rtt_ns, weight)
        self._rounds.note(receiver.rtt_ns, self._receivers.values(), now_ns)
        if is_clr:
            self._clr.measure(rtt_ns)

    def _limit_by(self, peer_id: bytes | None, now_ns: int) -> None:
        if peer_id != self._clr.peer_id:
            self._clr = _Clr(peer_id, now_ns)

    def _elect(self, now_ns: int) -> None:
        """The next CLR, of those that were heard lately; if none was, the next that reports."""
        since_ns = now_ns - SILENCE_ROUNDS * WINDOW_ROUNDS * self.round_ns
        heard = [peer_id for peer_id, receiver in self._receivers.items() if receiver.heard_ns >= since_ns]
        slowest = min(heard, key=lambda peer_id: self._receivers[peer_id].allowed_bps, default=None)
        self._limit_by(slowest, now_ns)
        self._clr.is_halved = True  # It did not promise to report: its silence shows only that it may be gone.

    def _watch(self, clr: _Receiver, now_ns: int) -> None:
        """See whether the CLR's address alone holds all others back."""
        hold = self._holds.get(clr.party)
        is_new = self._held_by != clr.party
        if not is_new and hold is not None and now_ns - hold.looked_ns < HELD_LOOK_NS:
            return
        limit_bps = self._alone_limit_bps(clr, now_ns)
        is_held = clr.allowed_bps < limit_bps
        if is_held and hold is None:
            until_ns = now_ns + 2 * HELD_BACK_NS
            hold = self._holds[clr.party] = _Hold(limit_bps, clr.has_lost, HELD_SHARE * self.rate_bps, until_ns, now_ns)
        if hold is not None:
            hold.limit_bps, hold.has_lost = limit_bps, clr.has_lost
            if is_held and now_ns >= hold.floor_until_ns:
                hold.floor_bps, hold.floor_until_ns = HELD_SHARE * self.rate_bps, now_ns + 2 * HELD_BACK_NS
            hold.look(now_ns, is_held=is_held)
            if not is_held and not hold.total_ns and now_ns >= hold.floor_until_ns:
                del self._holds[clr.party]
        self._held_by = clr.party if is_held else None

    def _has_held(self, party: str) -> bool:
        """Whether an address alone has held all others back for so long that its slow receivers should leave."""
        hold = self._holds.get(party)
        return hold is not None and hold.total_ns >= HELD_BACK_NS

    def _alone_limit_bps(self, clr: _Receiver, now_ns: int) -> float:
        """Far less than all receivers of other addresses than the CLR's allow; 0 if there are none."""
        share = HELD_SHARE if clr.has_lost else HELD_SHARE_CLEAN
        if clr.allowed_bps >= share * self._cap_bps:
            return 0.0
        since_ns = now_ns - SILENCE_ROUNDS * WINDOW_ROUNDS * self.round_ns
        minimum_bps, is_alone = self._cap_bps, False
        for receiver in self._receivers.values():
            if receiver.party != clr.party and receiver.heard_ns >= since_ns:
                is_alone = True
                if receiver.has_lost or not clr.has_lost:
                    minimum_bps = min(minimum_bps, receiver.allowed_bps)
        return share * minimum_bps if is_alone else 0.0

    def _follow(self, receiver: _Receiver, now_ns: int) -> None:
        """Go where the CLR allows."""
        rtt_ns = receiver.rtt_ns or self.group_rtt_ns
        if self._is_starting:
            if now_ns - self._grown_ns >= self.group_rtt_ns:
                self._grown_ns = now_ns
                self._rate = max(self._rate, min(2.0 * self._rate, receiver.allowed_bps, self._cap_bps))
            return
        elapsed_ns = min(now_ns - self._grown_ns, max(rtt_ns, ROUND_MIN_NS))
        self._grown_ns = now_ns
        if self._must_slow_down(receiver):
            self._rate = max(self._floor_bps, receiver.allowed_bps, self._held_floor_bps(now_ns))
            return
        step = self._bits * NS / rtt_ns * elapsed_ns / rtt_ns
        ceiling = min(receiver.allowed_bps, receiver.doubled_bps, self._cap_bps)
        self._rate = max(self._rate, min(self._rate + step, ceiling))

    def _held_floor_bps(self, now_ns: int) -> float:
        """What the rate is kept at, though one address alone allows less."""
        hold = self._holds.get(self._held_by) if self._held_by is not None else None
        return min(hold.floor_bps, self._rate) if hold is not None and now_ns < hold.floor_until_ns else 0.0

    def _halve(self) -> None:
        self._rate = max(self._floor_bps, self._rate / 2.0)


def _heard(receivers: dict[bytes, _Receiver], peer_id: bytes) -> _Receiver:
    """What is known of a receiver that reports now, put last."""
    receiver = receivers.pop(peer_id, None)
    if receiver is None:
        receiver = _Receiver()
        if len(receivers) >= RECEIVER_COUNT_MAX:
            del receivers[next(iter(receivers))]
    receivers[peer_id] = receiver
    return receiver
