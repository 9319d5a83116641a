"""When a server pings a client, with the number that proves the client's port.

A server with an identity shows that first: until the port is proved its Proof goes in the place of each Ping. A client
that has answered has seen it.
"""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.session.port_proof import PROOF_COUNT_MAX, PortProof
from fountain.wire.control import PacketType
from fountain.wire.session import Ping

__all__ = ["PING_INTERVAL_NS", "Pings"]

PING_INTERVAL_NS = NS // 2  # A client that waits for nothing still hears that the server lives.


class Pings:
    """The Pings of one session that began at `now_ns`: often until its port is proved by `proof`.

    `identity` is the body of the server's Proof, where it has one.
    """

    def __init__(self, proof: PortProof, now_ns: int, identity: bytes | None = None) -> None:
        self.proof = proof
        self._identity = identity
        self._proof_count = PROOF_COUNT_MAX
        self._sent_ns = now_ns
        self._received_count = 0  # data packets that had been received when a Ping was last due for want of others

    def poll(self, received_count: int, data_ns: int, now_ns: int) -> bool:
        """Whether a Ping is due: `received_count` packets have arrived, the latest train went at `data_ns`.

        One is due for the proof, or when the client waits for nothing, or when nothing more arrives of what is sent.
        """
        if self.proof.wants_ping(self._sent_ns, now_ns):
            return self._may_ask
        if self._identity is not None and not self.proof.is_given:
            return False
        has_arrived = received_count > self._received_count
        since_ns = max(self._sent_ns, data_ns) if has_arrived else self._sent_ns
        if now_ns - since_ns < PING_INTERVAL_NS:
            return False
        self._received_count = received_count
        return True

    def is_answer_due(self, now_ns: int) -> bool:
        """Whether another Ping should ask for the proof, since the client has just been heard."""
        return self._may_ask and self.proof.wants_ping(self._sent_ns, now_ns, is_answer=True)

    def ask_again(self) -> bool:
        """A copy of the Request came: whether it is answered, with one Proof more."""
        is_waiting = self._identity is not None and not self.proof.is_given
        self._proof_count += is_waiting
        return is_waiting

    def take(self, sent_count: int, now_ns: int) -> tuple[PacketType, bytes]:
        """The kind and the body of the packet that asks now, after so many data packets."""
        self._sent_ns = now_ns
        if self._identity is not None and not self.proof.is_given:
            self._proof_count -= 1
            return PacketType.PROOF, self._identity
        return PacketType.PING, Ping(self.proof.challenge, sent_count).encode()

    @property
    def _may_ask(self) -> bool:
        """Whether there is a Proof left; Pings need none."""
        return self._identity is None or self._proof_count > 0
