"""What a group's server sends to all of its group, and when: Announces and Plans."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import NS
from fountain.protocol.base.stream import Address
from fountain.protocol.base.transmit import Transmit
from fountain.protocol.group.channel import GroupChannel
from fountain.wire.control import OfferBody
from fountain.wire.data import rtt_code
from fountain.wire.group import SERVER_PROOF_SIZE, Announce, AnnounceFlag, GroupPacketType, Plan

__all__ = ["GRTT_INITIAL_NS", "PLAN_MIN_NS", "Announcer", "GroupRoundTrip", "GroupStream"]

ANNOUNCE_SHARE = 0.001  # Of the rate.
ANNOUNCE_SIZE = 300
ANNOUNCE_MIN_NS = NS // 5
ANNOUNCE_MAX_NS = 5 * NS
FIRST_ANNOUNCE_COUNT = 4  # Close together: one may be lost, and everybody is waiting.
PLAN_SHARE = 0.002
PLAN_SIZE = 250
PLAN_ROUNDS = 2
PLAN_MIN_NS = NS // 50
PLAN_FULL_NS = NS // 500  # The same for Plans that are full of acknowledgements, where the rate allows.
PLAN_MAX_NS = NS
PROOF_SHARE = 0.005  # Of the rate, at most, for the signatures of Plans ...
PROOF_FREE_COUNT = 64  # ... after so many: while the rate finds its level, few Plans would keep it low.
GRTT_INITIAL_NS = NS // 20
GRTT_MIN_NS = NS // 1000


@dataclass
class GroupRoundTrip:
    """The group's round-trip time: the longest of its receivers, but no longer than `limit_ns`.

    No receiver alone takes it further.
    """

    smoothed_ns: int = GRTT_INITIAL_NS
    limit_ns: int = GRTT_INITIAL_NS

    def rise(self, rtt_ns: int) -> None:
        """A receiver has that round trip: the longest one counts at once."""
        self.smoothed_ns = max(self.smoothed_ns, min(rtt_ns, self.limit_ns))

    def follow(self, longest_ns: int, limit_ns: int) -> None:
        """The receivers that take part have round trips up to `longest_ns` (0: none is known): come down slowly."""
        self.limit_ns = limit_ns
        if longest_ns:
            longest_ns = max(longest_ns, self.smoothed_ns * 3 // 4)
            self.smoothed_ns = max(GRTT_MIN_NS, min(longest_ns, limit_ns))


@dataclass(frozen=True)
class GroupStream:
    """The stream as `fountain.protocol.base.stream.Stream` describes it."""

    session_id: int
    object_index: int
    address: Address
    offer: OfferBody
    keys: GroupChannel
    rtt: GroupRoundTrip = field(default_factory=GroupRoundTrip)
    part_count: int = 1  # A receiver that needs them in parts leaves the group.


class Announcer:
    """Puts control packets together; `announce_ns` and `plan_ns` are when the next ones are due.

    `sequence` is the number of the latest one. They are signed where the server has an `identity`.
    """

    def __init__(
        self, stream: GroupStream, control_port: int, min_rate_bps: int, seed: int, now_ns: int,
        identity: Ed25519PrivateKey | None = None,
    ) -> None:  # fmt: skip
        self.datagrams: deque[Transmit[Address]] = deque()
        self.announce_ns = now_ns
        self.plan_ns = now_ns
        self._stream = stream
        self._control_port = control_port
        self._min_rate_bps = min_rate_bps
        self._planned_ns = now_ns - PLAN_MAX_NS
        self._plan_min_ns = 0  # what the rate leaves between two signed Plans
        self._identity = identity
        self.sequence = 0
        self._announce_count = 0
        self._jitter = seed

    def announce(
        self, flags: AnnounceFlag, rate_bps: int, cap_bps: int, next_sequence: int, cycle_overhead: int, now_ns: int
    ) -> None:  # fmt: skip
        """Announce what is sent, at `rate_bps` now and at `cap_bps` at most."""
        release = self._stream.offer.release
        size = ANNOUNCE_SIZE + self._proof_size + (0 if release is None else len(release.encode()))
        interval_ns = int(size * 8 * NS / (ANNOUNCE_SHARE * rate_bps))
        interval_ns = min(max(interval_ns, ANNOUNCE_MIN_NS), ANNOUNCE_MAX_NS)
        announce = Announce(
            timestamp_us=now_ns // 1000 & 0xFFFF_FFFF,
            grtt_code=rtt_code(self._stream.rtt.smoothed_ns // 1000),
            flags=flags,
            rate_bps=cap_bps,
            min_rate_bps=self._min_rate_bps,
            next_sequence=next_sequence,
            control_port=self._control_port,
            interval_ms=interval_ns // 1_000_000,
            cycle_overhead=cycle_overhead,
            offer=self._stream.offer,
        )
        self._send(GroupPacketType.ANNOUNCE, announce.encode())
        self._announce_count += 1
        if self._announce_count < FIRST_ANNOUNCE_COUNT:
            interval_ns = min(interval_ns, PLAN_MIN_NS << self._announce_count)
        # A quarter more or less: several servers of one group do not stay in step.
        self._jitter = (self._jitter * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        self.announce_ns = now_ns + interval_ns * 3 // 4 + interval_ns // 2 * (self._jitter >> 8) // 0x7F_FFFF

    def plan(self, plan: Plan, *, is_going_on: bool, has_more: bool, now_ns: int) -> None:
        """Send a Plan; the next one comes soon while anything is going on.

        Where a receiver limits the rate all have to learn their round trips as these change.
        """
        self._send(GroupPacketType.PLAN, plan.encode())
        self._planned_ns = now_ns
        interval_ns = PLAN_MAX_NS
        shared_ns = int((PLAN_SIZE + self._proof_size) * 8 * NS / (PLAN_SHARE * plan.rate_bps))
        if self.sequence > PROOF_FREE_COUNT:
            self._plan_min_ns = min(int(self._proof_size * 8 * NS / (PROOF_SHARE * plan.rate_bps)), PLAN_MAX_NS)
        if has_more:
            # A receiver that is not acknowledged before its next turn reports in vain.
            self.plan_ns = now_ns + max(min(max(shared_ns, PLAN_FULL_NS), PLAN_MIN_NS), self._plan_min_ns)
            return
        if is_going_on:
            interval_ns = shared_ns
            if any(plan.clr):
                interval_ns = min(interval_ns, PLAN_ROUNDS * self._stream.rtt.smoothed_ns)
        self.plan_ns = now_ns + min(max(interval_ns, PLAN_MIN_NS, self._plan_min_ns), PLAN_MAX_NS)

    def renew(self, stream: GroupStream, now_ns: int) -> None:
        """Announce `stream` from now on, at once: nobody has heard of it."""
        self._stream = stream
        self._announce_count = 0
        self.announce_ns = self.plan_ns = now_ns

    def plan_soon(self, now_ns: int, spacing_ns: int = PLAN_MIN_NS) -> None:
        """Let the next Plan go out at once, but not closer than `spacing_ns` behind the last one."""
        self.plan_ns = min(self.plan_ns, max(now_ns, self._planned_ns + max(spacing_ns, self._plan_min_ns)))

    @property
    def _proof_size(self) -> int:
        return 0 if self._identity is None else SERVER_PROOF_SIZE

    def _send(self, packet_type: GroupPacketType, body: bytes) -> None:
        self.sequence += 1
        packet = self._stream.keys.wrap(packet_type, self.sequence, body, self._identity)
        self.datagrams.append(Transmit(packet, self._stream.address))
