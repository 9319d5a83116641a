"""The receivers of a server's group, whatever object they take: what is shown of each, who is done, who is missing.

One that was asked to leave the group fetches the rest by itself. It stays one receiver: what its single session tells
stands for it from then on.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fountain.events import (
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerReason,
    PeerSnapshot,
    PeerState,
    ReceiverOutcome,
    ReceiverResult,
)
from fountain.limits import NS
from fountain.net.address import text
from fountain.protocol.group.member import HOLDING_STATES, Member
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.group import MemberState

__all__ = ["SNAPSHOT_COUNT_MAX", "DoneObject", "Members", "Peer"]

SNAPSHOT_COUNT_MAX = 500  # More rows than anybody looks at; to make 10,000 of them would hold the stream up.
# With several objects a listener that is done with one joins another as soon as it hears of it. Two Announces of each
# object pass in this time, and the first report on one.
SETTLE_MIN_NS = 2 * NS
SETTLE_MAX_NS = 13 * NS
SETTLE_BITS = 6_000_000  # of the rate, while that is so small that Announces are rare
HOST_COUNT_MAX = 3

_STATES = {
    MemberState.JOINING: PeerState.WAITING,
    MemberState.RECEIVING: PeerState.STREAMING,
    MemberState.APART: PeerState.LEAVING,
    MemberState.FAILED: PeerState.FAILED,
    MemberState.LEFT: PeerState.GONE,
}
_URGENCY = {state: place for place, state in enumerate(PeerState)}
_REASONS = {
    MemberState.FAILED: PeerReason.FAILED,
    MemberState.LEFT: PeerReason.INTERRUPTED,
    MemberState.APART: PeerReason.UNICAST,
}
_OUTCOMES = {
    PeerReason.INTERRUPTED: ReceiverOutcome.LEFT,
    PeerReason.SILENT: ReceiverOutcome.SILENT,
    PeerReason.IDLE: ReceiverOutcome.SILENT,
    PeerReason.STORAGE: ReceiverOutcome.FAILED,
    PeerReason.INTEGRITY: ReceiverOutcome.FAILED,
}
_ENDS = {MemberState.FAILED: ReceiverOutcome.FAILED, MemberState.LEFT: ReceiverOutcome.LEFT}

Peer = tuple[str, bytes]  # (host, peer id): who is expected
DoneObject = tuple[str, bytes, str]  # (host, peer id, name of the object): what a single peer has
_Key = tuple[str, str]  # (session id as events have it, name of the object)


class Members:
    """All receivers of the streams of `machines`, which share `rate_bps`."""

    def __init__(self, machines: Sequence[GroupServerMachine], rate_bps: int) -> None:
        self._machines = machines
        self._alone: dict[_Key, PeerSnapshot | None] = {}  # who fetches by itself, as last seen while it did
        self._ends: dict[_Key, PeerReason] = {}  # why that ended, if not well
        self._losses: dict[_Key, float] = {}
        self._settle_ns = 0
        if len(machines) > 1:
            self._settle_ns = min(max(SETTLE_MIN_NS, SETTLE_BITS * NS // rate_bps), SETTLE_MAX_NS)

    @property
    def count(self) -> int:
        """Receivers, once for each object that they take."""
        return sum(len(machine.members) for machine in self._machines)

    @property
    def present_count(self) -> int:
        """Receivers of the object that has the most, without those that went away or fell silent."""
        return max(
            sum(not (member.is_silent or member.state is MemberState.LEFT) for member in machine.members.values())
            for machine in self._machines
        )

    # --- Single sessions of receivers ----------------------------------------------------------------------

    def id_apart(self, session: ServerSession) -> str | None:
        """What events call the peer of a new session that was asked to leave the group; None for any other peer."""
        for machine in self._machines:
            member = machine.members.get(session.peer_id)
            is_same = machine.stream.offer.object_id == session.offer.object_id
            if is_same and member is not None and (member.is_leaving or member.state is MemberState.APART):
                return member.peer_id.hex()
        return None

    def note(self, told: PeerJoined | PeerFinished | PeerGone, now_ns: int) -> None:
        """A single peer came or went; if it is a receiver that left the group, that is remembered."""
        key = told.session_id, told.name
        member = next((member for machine, member in self._each() if _key(machine, member) == key), None)
        if member is None:
            return
        self._alone.setdefault(key, None)
        self._ends.pop(key, None)
        if isinstance(told, PeerFinished):
            member.ended_ns = now_ns
            self._losses[key] = told.loss
        elif isinstance(told, PeerGone) and told.reason is not PeerReason.STOPPING:
            self._ends[key] = told.reason

    # --- What is told --------------------------------------------------------------------------------------

    def snapshots(self, singles: Sequence[PeerSnapshot]) -> tuple[PeerSnapshot, ...]:
        """Everybody as it is now, each once; `singles` are the single peers.

        Where there are too many receivers the active and slow ones are there.
        """
        others = []
        for single in singles:
            key = single.session_id, single.name
            if key not in self._alone:
                others.append(single)
            elif single.state is not PeerState.GONE:
                self._alone[key] = single
        shown = list(self._each())
        if len(shown) > SNAPSHOT_COUNT_MAX:
            shown = heapq.nsmallest(SNAPSHOT_COUNT_MAX, shown, key=lambda pair: self._urgency(*pair))
        return (*others, *(self._snapshot(machine, member) for machine, member in shown))

    def results(self, done: set[DoneObject]) -> tuple[ReceiverResult, ...]:
        """What became of everybody; `done` is what single peers have."""
        return tuple(self._result(machine, member, done) for machine, member in self._each())

    # --- Who has it ----------------------------------------------------------------------------------------

    def done_peers(self, done: set[DoneObject], now_ns: int, *, is_ending: bool = False) -> set[Peer]:
        """Peers, in the group or not, that have every object which they take; `done` is what single peers have.

        Nobody knows what a listener is going to take. Where there are several objects, a receiver counts only when it
        has joined nothing and finished nothing for a while, or `is_ending`.
        """
        settled_ns = now_ns if is_ending else now_ns - self._settle_ns
        complete: set[Peer] = {(host, peer_id) for host, peer_id, _ in done}
        lacking: set[Peer] = set()
        for machine, member in self._each():
            has_settled = max(member.joined_ns, member.ended_ns) <= settled_ns or not self._settle_ns
            has_all = has_settled and _has_object(machine, member, done)
            (complete if has_all else lacking).add(_peer(member))
        return complete - lacking

    @property
    def hooking(self) -> list[Member]:
        """Receivers that have the object, and whose hook is still running."""
        return [member for _, member in self._each() if member.state is MemberState.HOOKING and not member.is_silent]

    @property
    def hooking_hosts(self) -> str:
        """Whose hooks are running, in a phrase."""
        hosts = [member.host or text(member.address) for member in self.hooking]
        more = len(hosts) - HOST_COUNT_MAX
        return ", ".join(hosts[:HOST_COUNT_MAX]) + (f" and {more:,} more" if more > 0 else "")

    # --- Inside --------------------------------------------------------------------------------------------

    def _each(self) -> Iterator[tuple[GroupServerMachine, Member]]:
        for machine in self._machines:
            for member in machine.members.values():
                yield machine, member

    def _state(self, machine: GroupServerMachine, member: Member) -> PeerState:
        if member.state in HOLDING_STATES:
            return PeerState.DONE
        key = _key(machine, member)
        alone = self._alone.get(key)
        if key in self._ends:
            return PeerState.GONE
        if alone is not None and alone.state in (PeerState.SILENT, PeerState.DONE):
            return alone.state
        if (member.is_silent or (member.is_deaf and not member.is_leaving)) and alone is None:
            return PeerState.SILENT
        return PeerState.LEAVING if member.is_leaving or alone is not None else _STATES[member.state]

    def _urgency(self, machine: GroupServerMachine, member: Member) -> tuple[int, float]:
        return _URGENCY[self._state(machine, member)], member.fraction

    def _snapshot(self, machine: GroupServerMachine, member: Member) -> PeerSnapshot:
        state = self._state(machine, member)
        alone = self._alone.get(_key(machine, member))
        if alone is not None and member.state not in HOLDING_STATES:
            return replace(alone, state=state)
        rate_bps = member.receive_rate_bps if state is PeerState.STREAMING else 0
        left_bits = (1.0 - member.fraction) * machine.stream.offer.object_size * 8
        return PeerSnapshot(
            session_id=member.peer_id.hex(),
            address=text(member.address),
            host=member.host,
            name=machine.stream.offer.name,
            fraction=member.fraction,
            rate_bps=float(rate_bps),
            loss=member.loss.fraction,
            state=state,
            eta_s=left_bits / rate_bps if rate_bps else None,
            sent_count=member.expected_sequence - max(0, member.first_sequence),
        )

    def _reason(self, machine: GroupServerMachine, member: Member) -> PeerReason:
        """Why a receiver has not got the object."""
        key = _key(machine, member)
        alone = self._alone.get(key)
        if key in self._ends:
            return self._ends[key]
        if alone is not None:
            return PeerReason.SILENT if alone.state is PeerState.SILENT else PeerReason.UNICAST
        if member.is_silent:
            return PeerReason.SILENT
        return PeerReason.DEAF if member.is_deaf else _REASONS.get(member.state, PeerReason.UNFINISHED)

    def _result(self, machine: GroupServerMachine, member: Member, done: set[DoneObject]) -> ReceiverResult:
        is_done = _has_object(machine, member, done)
        key = _key(machine, member)
        alone = self._alone.get(key) if member.state not in HOLDING_STATES else None
        reason = None if is_done else self._reason(machine, member)
        state = ReceiverOutcome.DONE
        if reason is not None:
            state = _OUTCOMES.get(reason) or _ENDS.get(member.state, ReceiverOutcome.INCOMPLETE)
        fraction, loss = member.fraction, member.total_loss
        if alone is not None:
            fraction, loss = alone.fraction, self._losses.get(key, alone.loss)
        has_ended = is_done and member.ended_ns
        return ReceiverResult(
            session_id=member.peer_id.hex(),
            address=text(member.address),
            host=member.host,
            name=machine.stream.offer.name,
            state=state,
            fraction=1.0 if is_done else fraction,
            duration_s=(member.ended_ns - member.joined_ns) / NS if has_ended else None,
            loss=loss,
            reason=PeerReason.HOOK_FAILED if member.state is MemberState.HOOK_FAILED else reason,
        )


def _key(machine: GroupServerMachine, member: Member) -> _Key:
    return member.peer_id.hex(), machine.stream.offer.name


def _peer(member: Member) -> Peer:
    return member.address[0], member.peer_id


def _has_object(machine: GroupServerMachine, member: Member, done: set[DoneObject]) -> bool:
    return member.state in HOLDING_STATES or (*_peer(member), machine.stream.offer.name) in done
