"""How a Request becomes a session: its keys, its lane, its controller."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import SessionKeys, derive, keyed_digest, session_keys
from fountain.protocol.base.handshake import transcript
from fountain.protocol.base.stream import Address
from fountain.protocol.rate import ControlFactory
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.server_session import ObjectRequest, ServerSession
from fountain.wire.control import OfferBody, Request
from fountain.wire.reject import Reject
from fountain.wire.session import RequestBody

__all__ = ["SessionOpener"]


class SessionOpener:
    """Opens the sessions of one server. With a `key`, no Request can be read whose client has not the same."""

    def __init__(self, secret: bytes, key: bytes | None, control: ControlFactory) -> None:
        self.has_key = key is not None
        self._key = key
        self._control = control
        self._secret = derive(secret, b"challenges")
        self._lane_base = int.from_bytes(derive(secret, b"lane")[:4], "big")
        self._lane_index = 0

    def read(
        self, request: Request, offer: OfferBody, private: X25519PrivateKey
    ) -> tuple[SessionKeys, RequestBody] | Reject:  # fmt: skip
        """The keys that a Request agrees on with `offer`, and what it says; this is public-key work."""
        header = request.header()
        keys = session_keys(private, request.client_public, transcript(offer, header), self._key)
        sealed = keys.to_server.open(0, header, request.sealed) if keys else None
        if keys is None or sealed is None:
            return Reject.BAD_SEAL
        body = RequestBody.parse(sealed)
        return body if isinstance(body, Reject) else (keys, body)

    def open(
        self, request: Request, keys: SessionKeys, asked: ObjectRequest, address: Address,
        older: ServerSession | None, rate_bps: int, now_ns: int,
    ) -> ServerSession:  # fmt: skip
        """The session, whose controller goes on from that of the `older` session of the same fetch."""
        lane = Lane.of_session(self._lane_base, self._lane_index, systematic=asked.served.systematic)
        self._lane_index += 1
        controller = self._control(asked.served.packet_size, rate_bps)
        if older is not None:
            controller.succeed(older.sending.controller)
        challenge = int.from_bytes(keyed_digest(self._secret, request.header())[:8], "big")
        channel = ControlChannel(request.session, keys, is_server=True)
        return ServerSession(channel, address, asked, lane, controller, challenge, now_ns)
