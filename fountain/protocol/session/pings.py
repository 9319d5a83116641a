"""When a server pings a client, with the number that proves the client's port."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.session.port_proof import PortProof
from fountain.wire.session import Ping

__all__ = ["PING_INTERVAL_NS", "Pings"]

PING_INTERVAL_NS = NS // 2  # A client that waits for nothing still hears that the server lives.


class Pings:
    """The Pings of one session that began at `now_ns`: often until its port is proved."""

    def __init__(self, challenge: int, now_ns: int) -> None:
        self.proof = PortProof(challenge, now_ns)
        self._sent_ns = now_ns
        self._received_count = 0  # data packets that had been received when a Ping was last due for want of others

    def poll(self, received_count: int, data_ns: int, now_ns: int) -> bool:
        """Whether a Ping is due: `received_count` packets have arrived, the latest train went at `data_ns`.

        One is due for the proof, or when the client waits for nothing, or when nothing more arrives of what is sent.
        """
        if self.proof.wants_ping(self._sent_ns, now_ns):
            return True
        has_arrived = received_count > self._received_count
        since_ns = max(self._sent_ns, data_ns) if has_arrived else self._sent_ns
        if now_ns - since_ns < PING_INTERVAL_NS:
            return False
        self._received_count = received_count
        return True

    def is_answer_due(self, now_ns: int) -> bool:
        """Whether another Ping should ask for the proof, since the client has just been heard."""
        return self.proof.wants_ping(self._sent_ns, now_ns, is_answer=True)

    def take(self, sent_count: int, now_ns: int) -> bytes:
        """The body of a Ping that goes out now, after so many data packets."""
        self._sent_ns = now_ns
        return Ping(self.proof.challenge, sent_count).encode()
