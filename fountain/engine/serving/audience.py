"""Whom a server serves, and how each fares: what its display, its results and its exit depend on.

A peer is served by unicast, in a session of its own, or is a receiver of a group. A receiver that leaves its group
fetches the rest by unicast, and stays one peer: its session has the id of the receiver, and what becomes of the session
becomes of the receiver.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from fountain.engine.runtime.meter import RateMeter
from fountain.events import (
    Event,
    HookReported,
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerReason,
    PeerSnapshot,
    PeersProgress,
    PeerState,
    ReceiverOutcome,
    ReceiverResult,
)
from fountain.limits import NS
from fountain.net.address import text
from fountain.protocol.group.events import (
    MemberDone,
    MemberEvent,
    MemberFailed,
    MemberFellBack,
    MemberHookEnded,
    MemberJoined,
    MemberLeft,
    MemberSilent,
)
from fountain.protocol.group.member import HOLDING_STATES, Member
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.session.server_session import ServerSession, SessionEnd, SessionState
from fountain.wire.control import OfferBody
from fountain.wire.group import MemberState

__all__ = ["Audience", "event_of_member"]

_KEEP_NS = 60 * NS  # Sessions that ended are shown so long, ...
ENDED_COUNT_MAX = 64  # ... if no more than these have ended since.
SESSION_COUNT_MAX = 500  # Open sessions that are shown: more than anybody looks at.
SHOWN_RECEIVER_COUNT_MAX = 500  # Receivers that are shown; to make rows of 10,000 would hold the stream up.
SMALL_COUNT_MAX = 64  # Of so many sessions the table takes some ten kilobytes, and may be written often.
PEER_COUNT_MAX = 65_536  # Peers of which it is remembered what they were sent, and that they have the object.
HOST_COUNT_MAX = 3
FALLING_BACK_NS = 5 * NS  # After a receiver has left its group its session begins as soon as this, or never.
# With several objects a listener that is done with one joins another as soon as it hears of it. Two Announces of each
# object pass in this time, and the first report on one.
SETTLE_MIN_NS = 2 * NS
SETTLE_MAX_NS = 13 * NS
SETTLE_BITS = 6_000_000  # of the rate, while that is so small that Announces are rare

_EVENT_REASONS: dict[type[MemberEvent], PeerReason] = {
    MemberFailed: PeerReason.FAILED,
    MemberLeft: PeerReason.INTERRUPTED,
    MemberSilent: PeerReason.SILENT,
    MemberFellBack: PeerReason.TOO_SLOW,
}
_MEMBER_REASONS = {
    MemberState.FAILED: PeerReason.FAILED,
    MemberState.LEFT: PeerReason.INTERRUPTED,
    MemberState.FALLBACK: PeerReason.UNICAST,
}
_MEMBER_STATES = {
    MemberState.JOINING: PeerState.WAITING,
    MemberState.RECEIVING: PeerState.STREAMING,
    MemberState.FALLBACK: PeerState.LEAVING,
    MemberState.FAILED: PeerState.FAILED,
    MemberState.LEFT: PeerState.GONE,
}
_OUTCOMES = {
    PeerReason.INTERRUPTED: ReceiverOutcome.LEFT,
    PeerReason.SILENT: ReceiverOutcome.SILENT,
    PeerReason.IDLE: ReceiverOutcome.SILENT,
    PeerReason.STORAGE: ReceiverOutcome.FAILED,
    PeerReason.INTEGRITY: ReceiverOutcome.FAILED,
}
_ENDS = {MemberState.FAILED: ReceiverOutcome.FAILED, MemberState.LEFT: ReceiverOutcome.LEFT}
_URGENCY = {state: place for place, state in enumerate(PeerState)}

_Peer = tuple[str, bytes]  # (host, peer id)
_PeerObject = tuple[str, bytes, str]  # (host, peer id, name of an object)


class Audience:
    """All peers of a server's life that matter; `machines` are those of its group, whose streams share `rate_bps`."""

    def __init__(self, rate_bps: int, now_ns: int, machines: Sequence[GroupServerMachine] = ()) -> None:
        self.done_count = 0
        self._machines = machines
        self._singles: dict[int, _Single] = {}  # peers of open sessions, by session
        self._ended: deque[_Ended] = deque()  # those of sessions that ended, oldest first
        self._fallbacks: dict[tuple[bytes, str], _Fallback] = {}  # by peer id and name of the object
        self._sent_to: OrderedDict[_PeerObject, int] = OrderedDict()  # packets of ended sessions
        self._done_objects: set[_PeerObject] = set()  # what peers got by unicast
        self._done_peers: set[_Peer] = set()
        self._sent_size = 0
        self._unicast_meter, self._group_meter = RateMeter(now_ns), RateMeter(now_ns)
        self._settle_ns = 0
        if len(machines) > 1:
            self._settle_ns = min(max(SETTLE_MIN_NS, SETTLE_BITS * NS // rate_bps), SETTLE_MAX_NS)

    # --- What happens --------------------------------------------------------------------------------------

    def opened(self, session: ServerSession, now_ns: int) -> PeerJoined:
        """A session opened."""
        fallback = self._fallback(session)
        single = self._singles[session.session_id] = _Single(session, fallback, now_ns)
        symbol_count = session.offer.geometry.block_symbols_max or 1
        return PeerJoined(
            **_named(single.shown_peer, session.offer, single.shown_id),
            resumed_fraction=session.fraction,
            first_source=session.lane.first_source(symbol_count),
            first_esi=session.lane.first_repair(symbol_count),
        )

    def ended(self, session: ServerSession, now_ns: int) -> PeerFinished | PeerGone:
        """A session ended; a peer that has the object counts once, however often it fetched it."""
        single, end = self._singles.pop(session.session_id), session.end
        assert end is not None
        self._sent_size += single.count_sent()
        peer_object = (session.address[0], session.peer_id, session.offer.name)
        # It has the object if it says so, and was sent, in all its sessions, at least what it cannot have had already.
        sent_count = self._sent_to[peer_object] = self._sent_to.pop(peer_object, 0) + session.sent_count
        if len(self._sent_to) > PEER_COUNT_MAX:
            self._sent_to.popitem(last=False)
        has_object = end.is_done and sent_count >= session.needed_count
        last = single.snapshot(PeerState.DONE if has_object else PeerState.GONE)
        self._ended.append(_Ended(end.at_ns, last, single.fallback))
        self._forget(end.at_ns)
        if has_object and len(self._done_objects) < PEER_COUNT_MAX:
            self._done_peers.add(peer_object[:2])
            self._done_objects.add(peer_object)
        named = _named(single.shown_peer, session.offer, single.shown_id)
        reason = None if has_object else _reason(end)
        if single.fallback is not None:
            single.fallback.end(reason, session.lost_fraction, now_ns)
        if reason is not None:
            return PeerGone(**named, fraction=session.fraction, reason=reason)
        return PeerFinished(
            **named,
            duration_s=(end.at_ns - session.started_ns) / NS,
            sent_count=session.sent_count,
            loss=session.lost_fraction,
        )

    # --- How they fare -------------------------------------------------------------------------------------

    @property
    def is_small(self) -> bool:
        """Whether looking at every peer costs next to nothing, and their table is short."""
        receiver_count = sum(len(machine.members) for machine in self._machines)
        return len(self._singles) <= SMALL_COUNT_MAX and receiver_count <= SHOWN_RECEIVER_COUNT_MAX

    @property
    def present_count(self) -> int:
        """Receivers of the object that has the most, without those that went away or fell silent."""
        return max(
            sum(not (member.is_silent or member.state is MemberState.LEFT) for member in machine.members.values())
            for machine in self._machines
        )

    def receiving(self, now_ns: int) -> list[float]:
        """The fraction that each peer has that was heard lately, and still receives: in the group, or by unicast."""
        found = [single.fraction for single in self._singles.values()]
        served = {id(single.fallback.member) for single in self._singles.values() if single.fallback}
        for machine in self._machines:
            for member in machine.members.values():
                is_leaving = member.state is MemberState.FALLBACK and member.holding is None
                is_heard = member.is_active or (is_leaving and now_ns - member.heard_ns < FALLING_BACK_NS)
                if is_heard and id(member) not in served:
                    found.append(member.fraction)
        return found

    @property
    def hooking(self) -> list[Member]:
        """Receivers that have the object, and whose hook is still running."""
        return [
            member
            for machine in self._machines
            for member in machine.members.values()
            if member.state is MemberState.HOOKING and not member.is_silent
        ]

    @property
    def hooking_hosts(self) -> str:
        """Whose hooks are running, in a phrase."""
        hosts = [member.host or text(member.address) for member in self.hooking]
        more = len(hosts) - HOST_COUNT_MAX
        return ", ".join(hosts[:HOST_COUNT_MAX]) + (f" and {more:,} more" if more > 0 else "")

    def progress(self, now_ns: int) -> PeersProgress:
        """Everybody as it is now, each once; of too many, those that are active and slow."""
        self._forget(now_ns)
        self._sent_size += sum(single.measure(now_ns) for single in self._singles.values())
        self._unicast_meter.update(self._sent_size, now_ns)
        self._group_meter.update(sum(machine.sequence * machine.packet_size for machine in self._machines), now_ns)
        singles = islice(self._singles.values(), SESSION_COUNT_MAX)
        shown = []
        for fallback, snapshot in (
            *((single.fallback, single.snapshot()) for single in singles),
            *((ended.fallback, ended.snapshot) for ended in self._ended),
        ):
            if fallback is None:
                shown.append(snapshot)
            elif snapshot.state is not PeerState.GONE:
                fallback.seen = snapshot
        receivers = list(self._receivers())
        if len(receivers) > SHOWN_RECEIVER_COUNT_MAX:
            receivers = heapq.nsmallest(SHOWN_RECEIVER_COUNT_MAX, receivers, key=_Receiver.urgency)
        rate_bps = self._unicast_meter.rate_bps + self._group_meter.rate_bps
        return PeersProgress((*shown, *(receiver.snapshot() for receiver in receivers)), rate_bps, self.done_count)

    def results(self) -> tuple[ReceiverResult, ...]:
        """What became of every receiver."""
        return tuple(receiver.result() for receiver in self._receivers())

    def count_done(self, now_ns: int, *, is_ending: bool = False) -> int:
        """Count the distinct peers that have every object which they take; `done_count` keeps how many.

        Nobody knows what a listener is going to take. Where there are several objects, a receiver counts only when it
        has joined nothing and finished nothing for a while, or `is_ending`.
        """
        settled_ns = now_ns if is_ending else now_ns - self._settle_ns
        complete = set(self._done_peers) if self._machines else self._done_peers
        lacking: set[_Peer] = set()
        for receiver in self._receivers():
            member = receiver.member
            changed_ns = member.joined_ns if member.holding is None else member.holding.since_ns
            has_settled = changed_ns <= settled_ns or not self._settle_ns
            (complete if has_settled and receiver.has_object else lacking).add((member.address[0], member.peer_id))
        self.done_count = len(complete - lacking) if lacking else len(complete)
        return self.done_count

    # --- Inside --------------------------------------------------------------------------------------------

    def _fallback(self, session: ServerSession) -> _Fallback | None:
        """What is known of the peer of a new session as a receiver that leaves a group; None for any other peer."""
        for machine in self._machines:
            member = machine.members.get(session.peer_id)
            is_same = machine.stream.offer.object_id == session.offer.object_id
            if is_same and member is not None and (member.is_leaving or member.state is MemberState.FALLBACK):
                fallback = self._fallbacks.setdefault((member.peer_id, session.offer.name), _Fallback(member))
                fallback.reason = None
                return fallback
        return None

    def _receivers(self) -> Iterator[_Receiver]:
        for machine in self._machines:
            offer = machine.stream.offer
            for member in machine.members.values():
                is_done_alone = (member.address[0], member.peer_id, offer.name) in self._done_objects
                fallback = self._fallbacks.get((member.peer_id, offer.name))
                yield _Receiver(member, offer, fallback, is_done_alone or member.holding is not None)

    def _forget(self, now_ns: int) -> None:
        while self._ended:
            if now_ns - self._ended[0].ended_ns <= _KEEP_NS and len(self._ended) <= ENDED_COUNT_MAX:
                break
            self._ended.popleft()


# --- By unicast --------------------------------------------------------------------------------------------


class _Single:
    """The peer of an open session."""

    def __init__(self, session: ServerSession, fallback: _Fallback | None, now_ns: int) -> None:
        self.fallback = fallback
        self.shown_peer: ServerSession | Member = session if fallback is None else fallback.member
        self.shown_id = f"{session.session_id:016x}" if fallback is None else fallback.member.peer_id.hex()
        self._session = session
        self._meter = RateMeter(now_ns)
        self._sent_count = 0

    def count_sent(self) -> int:
        """Octets of symbols that were sent to it since this was last asked."""
        new_count = self._session.sent_count - self._sent_count
        self._sent_count += new_count
        return new_count * self._session.offer.symbol_size

    def measure(self, now_ns: int) -> int:
        """Measure what it receives; as `count_sent`."""
        self._meter.update(self._session.received_count * self._session.offer.symbol_size, now_ns)
        return self.count_sent()

    @property
    def fraction(self) -> float:
        """The share of the object that it has."""
        return self._session.fraction

    def snapshot(self, state: PeerState | None = None) -> PeerSnapshot:
        """How it fares; at the end of its session, what `state` that leaves it in."""
        session, rate_bps = self._session, self._meter.rate_bps
        named = _named(self.shown_peer, session.offer, self.shown_id)
        return _snapshot(session, named, session.offer, state or self._state, rate_bps, session.sent_count)

    @property
    def _state(self) -> PeerState:
        session = self._session
        if session.state is SessionState.SILENT:
            return PeerState.SILENT
        is_waiting = session.carousel.is_complete and not session.carousel.has_work
        return PeerState.WAITING if is_waiting else PeerState.STREAMING


class _Ended(NamedTuple):
    """What was shown at last of a peer whose session has ended."""

    ended_ns: int
    snapshot: PeerSnapshot
    fallback: _Fallback | None


def _reason(end: SessionEnd) -> PeerReason:
    """Why a session ended without the object: reasons of Stop and Bye have the same names, but for DONE."""
    return PeerReason.NOT_SENT if end.is_done else PeerReason[end.reason.name]


# --- In a group --------------------------------------------------------------------------------------------


@dataclass
class _Fallback:
    """What becomes of a receiver that leaves its group, in its sessions."""

    member: Member
    seen: PeerSnapshot | None = None  # as it was last shown, but for a session that failed
    reason: PeerReason | None = None  # why its latest session failed; that the server stops says nothing of it
    loss: float | None = None

    def end(self, reason: PeerReason | None, loss: float, now_ns: int) -> None:
        """Its session ended, with the object if there is no `reason`."""
        if reason is None:
            self.member.hold(now_ns)
            self.loss = loss
        elif reason is not PeerReason.STOPPING:
            self.reason = reason


class _Receiver(NamedTuple):
    """A receiver of the group, with one object that it takes."""

    member: Member
    offer: OfferBody
    fallback: _Fallback | None
    has_object: bool  # from the group or by unicast

    @property
    def _seen(self) -> PeerSnapshot | None:
        return None if self.fallback is None else self.fallback.seen

    @property
    def state(self) -> PeerState:
        """How it fares."""
        member, seen = self.member, self._seen
        if member.state in HOLDING_STATES:
            return PeerState.DONE
        if self.fallback is not None and self.fallback.reason is not None:
            return PeerState.GONE
        if seen is not None:
            return seen.state if seen.state in (PeerState.SILENT, PeerState.DONE) else PeerState.LEAVING
        if member.is_silent or (member.is_deaf and not member.is_leaving):
            return PeerState.SILENT
        return PeerState.LEAVING if member.is_leaving else _MEMBER_STATES[member.state]

    def urgency(self) -> tuple[int, float]:
        """What a person wants to see first has the least."""
        return _URGENCY[self.state], self.member.fraction

    def snapshot(self) -> PeerSnapshot:
        """How it fares, with what its session has if it has left the group."""
        member = self.member
        if self._seen is not None and member.state not in HOLDING_STATES:
            return replace(self._seen, state=self.state)
        sent_count = member.reception.sent_count
        rate_bps = 0.0 if member.report is None else float(member.report.receive_rate_bps)
        named = _named(member, self.offer, member.peer_id.hex())
        return _snapshot(member, named, self.offer, self.state, rate_bps, sent_count)

    def result(self) -> ReceiverResult:
        """What became of it."""
        member = self.member
        fraction, loss, reason, state = 1.0, member.reception.total_loss, None, ReceiverOutcome.DONE
        if self._seen is not None and self.fallback is not None and member.state not in HOLDING_STATES:
            loss = self._seen.loss if self.fallback.loss is None else self.fallback.loss
        if not self.has_object:
            fraction, reason = member.fraction if self._seen is None else self._seen.fraction, self._reason()
            state = _OUTCOMES.get(reason) or _ENDS.get(member.state, ReceiverOutcome.INCOMPLETE)
        return ReceiverResult(
            **_named(member, self.offer, member.peer_id.hex()),
            state=state,
            fraction=fraction,
            duration_s=_duration_s(member) if self.has_object else None,
            loss=loss,
            reason=PeerReason.HOOK_FAILED if member.state is MemberState.HOOK_FAILED else reason,
        )

    def _reason(self) -> PeerReason:
        """Why it has not got the object."""
        if self.fallback is not None and self.fallback.reason is not None:
            return self.fallback.reason
        if self._seen is not None:
            return PeerReason.SILENT if self._seen.state is PeerState.SILENT else PeerReason.UNICAST
        if self.member.is_silent:
            return PeerReason.SILENT
        is_deaf = self.member.is_deaf
        return PeerReason.DEAF if is_deaf else _MEMBER_REASONS.get(self.member.state, PeerReason.UNFINISHED)


def _duration_s(member: Member) -> float | None:
    """How long it took until it had the object; None where it has not."""
    return None if member.holding is None else (member.holding.since_ns - member.joined_ns) / NS


def event_of_member(event: MemberEvent, offer: OfferBody) -> Event | None:
    """What observers are notified of when something happens to a receiver of an object; None for nothing."""
    member = event.member
    named = _named(member, offer, member.peer_id.hex())
    match event:
        case MemberJoined():
            return PeerJoined(**named, resumed_fraction=_resumed_fraction(member, offer), first_source=0, first_esi=0)
        case MemberDone():
            return PeerFinished(
                **named,
                duration_s=_duration_s(member) or 0.0,
                sent_count=member.reception.sent_count,
                loss=member.reception.total_loss,
            )
        case MemberHookEnded():
            return HookReported(**named, is_success=member.state is MemberState.HOOK_DONE)
    reason = _EVENT_REASONS.get(type(event))
    return None if reason is None else PeerGone(**named, fraction=member.fraction, reason=reason)


def _resumed_fraction(member: Member, offer: OfferBody) -> float:
    """The share of the object that a receiver had before it joined: none if all of it may have come from the stream."""
    held_count = member.fraction * offer.geometry.symbol_count
    is_resumed = member.report is not None and held_count > member.report.received_count
    return member.fraction if is_resumed else 0.0


# --- Both --------------------------------------------------------------------------------------------------


def _named(peer: ServerSession | Member, offer: OfferBody, shown_id: str) -> dict[str, Any]:
    """The fields of events that say whom they are about."""
    address, host = peer.place
    return {"session_id": shown_id, "address": text(address), "host": host, "name": offer.name}


def _snapshot(
    peer: ServerSession | Member, named: dict[str, Any], offer: OfferBody, state: PeerState, rate_bps: float,
    sent_count: int,
) -> PeerSnapshot:  # fmt: skip
    rate_bps = rate_bps if state is PeerState.STREAMING else 0.0
    left_bits = (1.0 - peer.fraction) * offer.object_size * 8
    return PeerSnapshot(
        **named,
        fraction=peer.fraction,
        rate_bps=rate_bps,
        loss=peer.loss.fraction,
        state=state,
        eta_s=left_bits / rate_bps if rate_bps > 0 else None,
        sent_count=sent_count,
    )
