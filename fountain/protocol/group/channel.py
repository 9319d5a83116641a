"""What makes packets of a group worth believing: a tag on control packets, a seal or a checksum on data packets."""

from __future__ import annotations

import hmac

from fountain.integrity import Seal, derive, keyed_digest
from fountain.wire.group import GROUP_HEADER_SIZE, GROUP_TAG_SIZE, GroupHeader, GroupPacketType
from fountain.wire.reject import Reject

__all__ = ["GroupChannel"]

_OPEN_KEY = b"fountain 1 open group".ljust(32, b"\0")  # known to everybody: a tag under it finds damage alone


class GroupChannel:
    """Tags and checks the packets of one session under the group's `key` of 32 octets, or without one.

    Every session has keys of its own, so that nothing of one can be sent again in another.
    """

    def __init__(self, session_id: int, key: bytes | None) -> None:
        self.session_id = session_id
        self.open = key is None
        self._control_key = derive(key or _OPEN_KEY, b"group control", session_id)
        self.data: Seal | None = None  # None where data packets are open
        if key is not None:
            octets = derive(key, b"group data", session_id)
            self.data = Seal(octets[:16], octets[16:28])

    def wrap(self, packet_type: GroupPacketType, sequence: int, body: bytes) -> bytes:
        """A whole packet, with its tag."""
        packet = GroupHeader(packet_type, self.session_id, sequence, self.open).encode() + body
        return packet + keyed_digest(self._control_key, packet)

    def unwrap(self, header: GroupHeader, data: bytes) -> bytes | Reject:
        """The body of a packet whose header was parsed, or why it cannot be believed."""
        if header.session != self.session_id:
            return Reject.UNKNOWN_SESSION
        if header.open != self.open:
            return Reject.OUT_OF_PLACE
        if not hmac.compare_digest(keyed_digest(self._control_key, data[:-GROUP_TAG_SIZE]), data[-GROUP_TAG_SIZE:]):
            return Reject.BAD_CHECKSUM if self.open else Reject.BAD_SEAL
        return data[GROUP_HEADER_SIZE:-GROUP_TAG_SIZE]
