"""The sealed control packets of one session, as either side writes and reads them."""

from __future__ import annotations

from fountain.integrity import SessionKeys
from fountain.protocol.base.replay import ReplayWindow
from fountain.wire.control import PacketType
from fountain.wire.reject import Reject
from fountain.wire.session import SessionHeader

__all__ = ["ControlChannel"]


class ControlChannel:
    """The keys of a session, and what either side has sent and seen of its control packets."""

    def __init__(self, session_id: int, keys: SessionKeys, *, is_server: bool) -> None:
        self.session_id = session_id
        self.keys = keys
        sides = (keys.to_client, keys.to_server) if is_server else (keys.to_server, keys.to_client)
        self._outgoing, self._incoming = sides
        self._replay = ReplayWindow()
        self._control_sequence = 0

    def open_packet(self, header: SessionHeader, raw_header: bytes, sealed: bytes) -> bytes | Reject:
        """The body of an authentic packet that was not seen before, or why not."""
        body = self._incoming.open(header.sequence, raw_header, sealed)
        if body is None:
            return Reject.BAD_SEAL
        return body if self._replay.accept(header.sequence) else Reject.REPLAYED

    def seal_packet(self, packet_type: PacketType, body: bytes) -> bytes:
        """A whole packet for the other side."""
        self._control_sequence += 1
        header = SessionHeader(packet_type, self.session_id, self._control_sequence).encode()
        return header + self._outgoing.seal(self._control_sequence, header, body)
