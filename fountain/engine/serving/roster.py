"""Who is being served, and how each fares: what the server's display and its exit depend on."""

from __future__ import annotations

from collections import OrderedDict

from fountain.engine.runtime.meter import RateMeter
from fountain.events import PeerFinished, PeerGone, PeerJoined, PeerReason, PeerSnapshot, PeersProgress, PeerState
from fountain.limits import NS
from fountain.net.address import text
from fountain.protocol.session.server_session import ServerSession, SessionState
from fountain.wire.session import ByeReason, StopReason

__all__ = ["Roster"]

_KEEP_NS = 60 * NS  # Peers that ended stay in the table so long, ...
ENDED_COUNT_MAX = 64  # ... if no more than these have ended since.
SHOWN_COUNT_MAX = 500  # Rows of a table: more than anybody looks at.
PEER_COUNT_MAX = 65_536  # Peers of which it is remembered what they got, and that they have the object.
_REASONS = {
    StopReason.DONE: PeerReason.NOT_SENT,
    StopReason.INTERRUPTED: PeerReason.INTERRUPTED,
    StopReason.STORAGE: PeerReason.STORAGE,
    StopReason.INTEGRITY: PeerReason.INTEGRITY,
    StopReason.SUPERSEDED: PeerReason.SUPERSEDED,
}
_BYE_REASONS = {
    ByeReason.STOPPING: PeerReason.STOPPING,
    ByeReason.SOURCE_CHANGED: PeerReason.SOURCE_CHANGED,
    ByeReason.IDLE: PeerReason.IDLE,
    ByeReason.KEYS_SPENT: PeerReason.KEYS_SPENT,
    ByeReason.CONGESTED: PeerReason.CONGESTED,
    ByeReason.PLACE_TAKEN: PeerReason.PLACE_TAKEN,
}


class Roster:
    """All sessions of a server's life that matter for what it tells."""

    def __init__(self, now_ns: int) -> None:
        self.done_objects: set[tuple[str, bytes, str]] = set()  # (host, peer id, name)
        self.done_peers: set[tuple[str, bytes]] = set()
        self._sent_to: OrderedDict[tuple[str, bytes, str], int] = OrderedDict()  # packets of ended sessions
        self._peers: dict[int, ServerSession | PeerSnapshot] = {}  # a snapshot of those that ended, by session
        self._ended_ns: dict[int, int] = {}  # oldest first
        self._meters: dict[int, RateMeter] = {}
        self._total = RateMeter(now_ns)
        self._sent_size = 0
        self._sent_counts: dict[int, int] = {}
        self._shown_ids: dict[int, str] = {}

    def joined(self, session: ServerSession, now_ns: int, shown_id: str | None = None) -> PeerJoined:
        """A session opened; whoever watches knows its peer already where that has a `shown_id`."""
        self._shown_ids[session.session_id] = shown_id or f"{session.session_id:016x}"
        self._peers[session.session_id] = session
        self._meters[session.session_id] = RateMeter(now_ns)
        symbol_count = session.offer.geometry.block_symbols_max or 1
        return PeerJoined(
            session_id=self._shown_ids[session.session_id],
            address=text(session.address),
            host=session.host,
            name=session.offer.name,
            resumed_fraction=session.fraction,
            first_source=session.lane.first_source(symbol_count),
            first_esi=session.lane.first_repair(symbol_count),
        )

    def ended(self, session: ServerSession) -> PeerFinished | PeerGone:
        """A session ended; a peer that has the object counts once, however often it fetched it."""
        has_object = self._close(session)
        common = {
            "session_id": self._shown_ids[session.session_id],
            "address": text(session.address),
            "host": session.host,
            "name": session.offer.name,
        }
        if has_object:
            if len(self.done_objects) < PEER_COUNT_MAX:
                self.done_peers.add((session.address[0], session.peer_id))
                self.done_objects.add((session.address[0], session.peer_id, session.offer.name))
            return PeerFinished(
                **common,
                duration_s=(session.ended_ns - session.started_ns) / NS,
                sent_count=session.sent_count,
                loss=session.lost_fraction,
            )
        if session.stop_reason is not None:
            reason = _REASONS[session.stop_reason]
        else:
            reason = _BYE_REASONS[ByeReason.IDLE if session.bye_reason is None else session.bye_reason]
        return PeerGone(**common, fraction=session.fraction, reason=reason)

    def progress(self, now_ns: int) -> PeersProgress:
        """A snapshot of everybody."""
        self._forget(now_ns)
        for key, peer in self._peers.items():
            if isinstance(peer, ServerSession):
                self._meters[key].update(peer.received_count * peer.offer.symbol_size, now_ns)
                self._count_sent(peer)
        self._total.update(self._sent_size, now_ns)
        live = [peer for peer in self._peers.values() if isinstance(peer, ServerSession)]
        snapshots = [self._snapshot(peer, _state(peer)) for peer in live[:SHOWN_COUNT_MAX]]
        ended = [peer for peer in self._peers.values() if not isinstance(peer, ServerSession)]
        return PeersProgress((*snapshots, *ended), self._total.rate_bps, len(self.done_peers))

    @property
    def count(self) -> int:
        """How many sessions are open."""
        return len(self._meters)

    def _count_sent(self, session: ServerSession) -> None:
        new_count = session.sent_count - self._sent_counts.get(session.session_id, 0)
        self._sent_size += new_count * session.offer.symbol_size
        self._sent_counts[session.session_id] = session.sent_count

    def _snapshot(self, session: ServerSession, state: PeerState) -> PeerSnapshot:
        rate = self._meters[session.session_id].rate_bps if state is PeerState.STREAMING else 0.0
        left_bits = (1.0 - session.fraction) * session.offer.object_size * 8
        return PeerSnapshot(
            session_id=self._shown_ids[session.session_id],
            address=text(session.address),
            host=session.host,
            name=session.offer.name,
            fraction=session.fraction,
            rate_bps=rate,
            loss=session.loss.fraction,
            state=state,
            eta_s=left_bits / rate if rate > 0 else None,
            sent_count=session.sent_count,
        )

    def _close(self, session: ServerSession) -> bool:
        """Keep of a session what the table shows; whether its peer has the object.

        It has if it says so, and was sent, in all its sessions, at least what it cannot have had already.
        """
        key, peer_key = session.session_id, _peer_key(session)
        self._count_sent(session)
        self._sent_to[peer_key] = self._sent_to.pop(peer_key, 0) + session.sent_count
        if len(self._sent_to) > PEER_COUNT_MAX:
            self._sent_to.popitem(last=False)
        has_object = session.stop_reason is StopReason.DONE and self._sent_to[peer_key] >= session.needed_count
        self._peers[key] = self._snapshot(session, PeerState.DONE if has_object else PeerState.GONE)
        self._ended_ns[key] = session.ended_ns
        del self._meters[key], self._sent_counts[key]
        self._forget(session.ended_ns)
        return has_object

    def _forget(self, now_ns: int) -> None:
        while self._ended_ns:
            key = next(iter(self._ended_ns))
            if now_ns - self._ended_ns[key] <= _KEEP_NS and len(self._ended_ns) <= ENDED_COUNT_MAX:
                break
            del self._peers[key], self._ended_ns[key], self._shown_ids[key]


def _peer_key(session: ServerSession) -> tuple[str, bytes, str]:
    return session.address[0], session.peer_id, session.offer.name


def _state(session: ServerSession) -> PeerState:
    if session.state is SessionState.SILENT:
        return PeerState.SILENT
    is_waiting = session.carousel.is_complete and not session.carousel.has_work
    return PeerState.WAITING if is_waiting else PeerState.STREAMING
