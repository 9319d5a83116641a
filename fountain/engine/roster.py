"""Who is being served, and how each fares: what the server's display and its exit depend on."""

from __future__ import annotations

from collections.abc import Iterable

from fountain.engine.meter import RateMeter
from fountain.engine.observer import PeerFinished, PeerGone, PeerJoined, PeerSnapshot, PeersProgress
from fountain.limits import NS
from fountain.net.address import text
from fountain.protocol.server_session import ServerSession, SessionState
from fountain.wire.session import ByeReason, StopReason

__all__ = ["Roster"]

_KEEP_NS = 60 * NS  # Peers that ended stay in the table so long.
_REASONS = {
    StopReason.INTERRUPTED: "interrupted",
    StopReason.STORAGE: "could not write the object",
    StopReason.INTEGRITY: "the object did not verify",
    StopReason.SUPERSEDED: "started anew",
}
_BYE_REASONS = {
    ByeReason.STOPPING: "the server stopped",
    ByeReason.SOURCE_CHANGED: "the file changed",
    ByeReason.IDLE: "silent for 30 s",
    ByeReason.KEYS_SPENT: "sent to get new keys",
    ByeReason.CONGESTED: "most packets were lost for 30 s",
}


class Roster:
    """All sessions of a server's life that matter for what it tells."""

    def __init__(self, now_ns: int) -> None:
        self.done_peers: set[tuple[str, bytes]] = set()
        self._sessions: dict[int, ServerSession] = {}
        self._meters: dict[int, RateMeter] = {}
        self._total = RateMeter(now_ns)
        self._sent_size = 0
        self._sent_counts: dict[int, int] = {}

    def joined(self, session: ServerSession, now_ns: int) -> PeerJoined:
        """A session opened."""
        self._sessions[session.session_id] = session
        self._meters[session.session_id] = RateMeter(now_ns)
        symbol_count = session.offer.geometry.block_symbols_max or 1
        return PeerJoined(
            session_id=f"{session.session_id:016x}",
            address=text(session.address),
            host=session.host,
            name=session.offer.name,
            resumed_fraction=session.fraction,
            first_source=session.lane.first_source(symbol_count),
            first_esi=session.lane.first_repair(symbol_count),
        )

    def ended(self, session: ServerSession) -> PeerFinished | PeerGone:
        """A session ended; a peer that has the object counts once, however often it fetched it."""
        common = {
            "session_id": f"{session.session_id:016x}",
            "address": text(session.address),
            "host": session.host,
            "name": session.offer.name,
        }
        if session.stop_reason is StopReason.DONE:
            self.done_peers.add((session.address[0], session.peer_id))
            return PeerFinished(
                **common,
                duration_s=(session.ended_ns - session.started_ns) / NS,
                sent_count=session.sent_count,
                loss=_overall_loss(session),
            )
        if session.stop_reason is not None:
            reason = _REASONS[session.stop_reason]
        else:
            reason = _BYE_REASONS[ByeReason.IDLE if session.bye_reason is None else session.bye_reason]
        return PeerGone(**common, fraction=session.fraction, reason=reason)

    def progress(self, now_ns: int) -> PeersProgress:
        """A snapshot of everybody."""
        self._forget(now_ns)
        for key, session in self._sessions.items():
            symbol_size = session.offer.symbol_size
            self._meters[key].update(session.received_count * symbol_size, now_ns)
            self._sent_size += (session.sent_count - self._sent_counts.get(key, 0)) * symbol_size
            self._sent_counts[key] = session.sent_count
        self._total.update(self._sent_size, now_ns)
        return PeersProgress(tuple(self._snapshots(self._sessions.values())), self._total.rate_bps)

    def _snapshots(self, sessions: Iterable[ServerSession]) -> Iterable[PeerSnapshot]:
        for session in sessions:
            state = _state(session)
            rate = self._meters[session.session_id].rate_bps if state == "streaming" else 0.0
            left_bits = (1.0 - session.fraction) * session.offer.object_size * 8
            yield PeerSnapshot(
                session_id=f"{session.session_id:016x}",
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

    def _forget(self, now_ns: int) -> None:
        for key, session in list(self._sessions.items()):
            if session.state is SessionState.ENDED and now_ns - session.ended_ns > _KEEP_NS:
                del self._sessions[key], self._meters[key]
                self._sent_counts.pop(key, None)


def _state(session: ServerSession) -> str:
    if session.state is SessionState.ENDED:
        return "done" if session.stop_reason is StopReason.DONE else "gone"
    if session.state is SessionState.SILENT:
        return "silent"
    return "streaming" if session.carousel.has_work or not session.carousel.is_complete else "waiting"


def _overall_loss(session: ServerSession) -> float:
    return max(0.0, 1.0 - session.received_count / session.sent_count) if session.sent_count else 0.0
