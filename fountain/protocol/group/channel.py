"""What makes packets of a group worth believing: a tag on control packets, a seal or a checksum on data packets.

Where the server has an identity, its control packets have a signature as well.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.integrity import Seal, derive, keyed_digest
from fountain.protocol.base.stream import Address
from fountain.protocol.group.server_proof import ServerProofs, signed
from fountain.wire.group import GROUP_HEADER_SIZE, GROUP_TAG_SIZE, SERVER_PROOF_SIZE, GroupHeader, GroupPacketType
from fountain.wire.reject import Reject

__all__ = ["GroupChannel"]

_OPEN_KEY = b"fountain 1 open group".ljust(32, b"\0")  # known to everybody: a tag under it finds damage alone


class GroupChannel:
    """Tags and checks the packets of one session under the group's `key` of 32 octets, or without one.

    Every session has keys of its own, so that nothing of one can be sent again in another. A receiver that knows the
    server's key has `proofs` of what the server sent; one without takes what has the right tag.
    """

    def __init__(self, session_id: int, key: bytes | None, proofs: ServerProofs | None = None) -> None:
        self.session_id = session_id
        self.open = key is None
        self.proofs = proofs
        self._control_key = derive(key or _OPEN_KEY, b"group control", session_id)
        self.data: Seal | None = None  # None where data packets are open
        if key is not None:
            octets = derive(key, b"group data", session_id)
            self.data = Seal(octets[:16], octets[16:28])

    @property
    def is_doubtful(self) -> bool:
        """Whether anybody on the network can make control packets of the server."""
        return self.open and self.proofs is None

    def wrap(
        self, packet_type: GroupPacketType, sequence: int, body: bytes, identity: Ed25519PrivateKey | None = None
    ) -> bytes:  # fmt: skip
        """A whole packet, with its tag, and before that the server's signature where it has an `identity`."""
        header = GroupHeader(packet_type, self.session_id, sequence, self.open, identity is not None)
        packet = header.encode() + body
        if identity is not None:
            packet = signed(packet, identity)
        return packet + keyed_digest(self._control_key, packet)

    def unwrap(self, header: GroupHeader, data: bytes) -> bytes | Reject:
        """The body of a packet whose header was parsed, or why it cannot be believed."""
        if header.session != self.session_id:
            return Reject.UNKNOWN_SESSION
        if header.open != self.open:
            return Reject.OUT_OF_PLACE
        if not hmac.compare_digest(keyed_digest(self._control_key, data[:-GROUP_TAG_SIZE]), data[-GROUP_TAG_SIZE:]):
            return Reject.BAD_CHECKSUM if self.open else Reject.BAD_SEAL
        behind_size = GROUP_TAG_SIZE + (SERVER_PROOF_SIZE if header.identified else 0)
        return data[GROUP_HEADER_SIZE:-behind_size]

    def verify(self, header: GroupHeader, data: bytes, address: Address, now_ns: int) -> Reject | None:
        """Why a packet of the server from `address`, whose tag is right, is not believed after all."""
        if self.proofs is None:
            return None
        return self.proofs.verify(header, data[:-GROUP_TAG_SIZE], address, now_ns)
