"""Who has which of a server's places, and whose place somebody gets when all are taken.

While places are free everybody gets one: forty clones behind one address translator are forty peers. When all are
taken, a network that would have fewer may take a place from the network that has most; between the addresses of one
network the same holds. So no address keeps the others out, and none that has fewer loses anything.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict

from fountain.limits import NS
from fountain.protocol.session.admission import network_of
from fountain.protocol.session.server_session import ServerSession

__all__ = ["Places"]

UNPROVED_PATIENCE_NS = NS  # Of a session that has not proved its address, while all places are taken.
SHARE_DIVISOR = 4  # A network keeps a quarter of all places, however many clients come.

_PeerKey = tuple[str, bytes, int]  # host, peer id, object


class Places:
    """The sessions of a server, by peer and by network."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._share_count = -(-count_max // SHARE_DIVISOR)
        self._peers: dict[_PeerKey, ServerSession] = {}
        self._networks: dict[str, dict[int, ServerSession]] = defaultdict(dict)  # each oldest first
        self._unproved: OrderedDict[int, ServerSession] = OrderedDict()
        self._count = 0

    def add(self, session: ServerSession) -> None:
        """A session has got a place."""
        self._count += 1
        self._peers[_peer_key(session)] = session
        self._networks[network_of(session.address[0])][session.session_id] = session
        self._unproved[session.session_id] = session

    def remove(self, session: ServerSession) -> None:
        """A session has ended."""
        self._count -= 1
        if self._peers.get(_peer_key(session)) is session:
            del self._peers[_peer_key(session)]
        network = network_of(session.address[0])
        del self._networks[network][session.session_id]
        if not self._networks[network]:
            del self._networks[network]
        self._unproved.pop(session.session_id, None)

    def prove(self, session: ServerSession) -> None:
        """A session has shown that its client receives where its data goes."""
        self._unproved.pop(session.session_id, None)

    def unproved_count(self, host: str) -> int:
        """How many sessions of the network of `host` have not shown that."""
        found = self._networks.get(network_of(host), {})
        return sum(session_id in self._unproved for session_id in found) if self._unproved else 0

    def find(self, host: str, peer_id: bytes, object_index: int) -> ServerSession | None:
        """The session that a peer has already."""
        return self._peers.get((host, peer_id, object_index))

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self._count >= self._count_max

    def yielding(self, host: str, now_ns: int) -> ServerSession | None:
        """The session that must make room for a peer at `host` when all places are taken; None when no one must."""
        oldest = next(iter(self._unproved.values()), None)
        if oldest is not None and now_ns - oldest.started_ns >= UNPROVED_PATIENCE_NS:
            return oldest
        network = network_of(host)
        most = max(self._networks, key=lambda key: len(self._networks[key]))
        holder = self._networks[most]
        if len(holder) <= self._share_count:
            return None
        if most != network:
            if len(holder) - len(self._networks.get(network, ())) < 2:
                return None
            return next(reversed(holder.values()))  # The youngest loses least.
        return self._yielding_neighbour(holder, host)

    def _yielding_neighbour(self, sessions: dict[int, ServerSession], host: str) -> ServerSession | None:
        """The same inside of one network."""
        counts: dict[str, int] = defaultdict(int)
        for session in sessions.values():
            counts[session.address[0]] += 1
        most = max(counts, key=lambda key: counts[key])
        if counts[most] - counts.get(host, 0) < 2:
            return None
        return next(session for session in reversed(sessions.values()) if session.address[0] == most)


def _peer_key(session: ServerSession) -> _PeerKey:
    return session.address[0], session.peer_id, session.object_index
