"""Whether the port that a session's data goes to is one at which its client receives.

The cookie of a Request proves the client's host, not its port: an address translator may give every socket another one.
So each Ping of the server, and each Proof, carries a number that nobody can guess. A Pong that repeats it proves the
port. Until then the port gets a few packets only, at a fixed rate as well.
"""

from __future__ import annotations

from fountain.limits import HELLO_SIZE, NS
from fountain.wire.session import PROOF_PACKET_SIZE

__all__ = [
    "CHALLENGE_INTERVAL_NS",
    "CHALLENGE_SPACING_NS",
    "PROOF_COUNT_MAX",
    "UNPROVED_NS",
    "UNPROVED_PACKET_COUNT_MAX",
    "PortProof",
    "identified_packet_count_max",
]

UNPROVED_NS = 10 * NS  # A client that has not answered a Ping until then does not receive where its data goes.
UNPROVED_PACKET_COUNT_MAX = 13  # Data packets before that: the first window of the usual controllers.
AMPLIFICATION = 3  # An identified server sends at most so many times what came before that: RFC 9000 section 8.1.
PROOF_COUNT_MAX = 12  # Proofs, of which each asks as a Ping does; one more for each copy of the Request.
CHALLENGE_INTERVAL_NS = NS // 4  # Until then, a Ping so often ...
CHALLENGE_SPACING_NS = NS // 100  # ... and, in answer to packets of the client that are no Pong, so often.


def identified_packet_count_max(request_size: int, packet_size: int) -> int:
    """Data packets before the proof that an identified server sends beside its Proofs, for a Hello and a Request."""
    left = AMPLIFICATION * (HELLO_SIZE + request_size) - PROOF_COUNT_MAX * PROOF_PACKET_SIZE
    return max(0, min(UNPROVED_PACKET_COUNT_MAX, left // packet_size))


class PortProof:
    """The proof of one session that began at `now_ns`. `challenge` is the number that a Pong must repeat; before it at
    most `packet_count_max` data packets go.
    """

    def __init__(self, challenge: int, now_ns: int, packet_count_max: int = UNPROVED_PACKET_COUNT_MAX) -> None:
        self.challenge = challenge
        self.is_given = False
        self._packet_count_max = packet_count_max
        self._begun_ns = now_ns

    def withhold(self) -> None:
        """Send no data packet before the proof."""
        self._packet_count_max = 0

    def accept(self, number: int) -> bool:
        """Whether a Pong with this number is the proof, which was missing until now."""
        is_new = not self.is_given and number == self.challenge
        self.is_given |= is_new
        return is_new

    def limit(self, room_count: int, sent_count: int) -> int:
        """How many data packets may go, of `room_count` that might, after `sent_count` in all."""
        return room_count if self.is_given else max(0, min(room_count, self._packet_count_max - sent_count))

    def is_overdue(self, now_ns: int) -> bool:
        """Whether the session should end for want of a proof."""
        return not self.is_given and now_ns - self._begun_ns >= UNPROVED_NS

    def wants_ping(self, pinged_ns: int, now_ns: int, *, is_answer: bool = False) -> bool:
        """Whether another Ping should ask, after one at `pinged_ns`; `is_answer`: the client has just been heard."""
        spacing_ns = CHALLENGE_SPACING_NS if is_answer else CHALLENGE_INTERVAL_NS
        return not self.is_given and now_ns - pinged_ns >= spacing_ns
