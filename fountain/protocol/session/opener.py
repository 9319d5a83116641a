"""How a Request becomes a session: whose it is, its keys, its lane, its controller, and the server's Proof."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import SessionKeys, derive, digest, is_signed, keyed_digest, session_keys, sign
from fountain.protocol.base.handshake import CLIENT_NAMESPACE, SERVER_NAMESPACE, Identity, proof_message, transcript
from fountain.protocol.base.stream import Address
from fountain.protocol.rate import ControlFactory
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.pairing import ServerPairing
from fountain.protocol.session.pings import Pings
from fountain.protocol.session.port_proof import PortProof, identified_packet_count_max
from fountain.protocol.session.server_session import ObjectRequest, ServerSession
from fountain.wire.control import OfferBody, RefusalReason, Request
from fountain.wire.reject import Reject
from fountain.wire.session import Proof, RequestBody

__all__ = ["ReadRequest", "SessionOpener"]


@dataclass(frozen=True)
class ReadRequest:
    """What a Request says, the keys that it agrees on, and the digest of all that was exchanged."""

    request: Request
    keys: SessionKeys
    body: RequestBody
    transcript_digest: bytes


class SessionOpener:
    """Opens the sessions of one server. With a `key`, or the code of a pairing, no Request can be read whose client has
    not the same; with an `identity` the server proves that in each.
    """

    def __init__(
        self, secret: bytes, key: bytes | ServerPairing | None, control: ControlFactory, identity: Identity | None
    ) -> None:  # fmt: skip
        self.pairing = key if isinstance(key, ServerPairing) else None
        self.mismatch: RefusalReason | None = None  # of a Request that does not open
        if key is not None:
            self.mismatch = RefusalReason.KEY_MISMATCH if self.pairing is None else RefusalReason.WRONG_CODE
        self.identity = identity
        self._allows = None if identity is None else identity.allows
        self._public_key = b"" if identity is None else identity.private_key.public_key().public_bytes_raw()
        self._key = key if isinstance(key, bytes) else None
        self._control = control
        self._secret = derive(secret, b"challenges")
        self._lane_base = int.from_bytes(derive(secret, b"lane")[:4], "big")
        self._lane_index = 0

    def read(self, request: Request, offer: OfferBody, private: X25519PrivateKey) -> ReadRequest | Reject:
        """What a Request says, and the keys that it agrees on with `offer`; this is public-key work.

        With a pairing a client that is new has made a guess, whatever the Request is.
        """
        if self.pairing is None or request.pairing is None:
            return self._read(request, offer, private, self._key)
        is_new = not self.pairing.knows(request.pairing)
        key = self.pairing.key(request.pairing)
        read = Reject.BAD_SEAL if key is None else self._read(request, offer, private, key)
        if is_new:
            self.pairing.settle(request.pairing, key, is_right=isinstance(read, ReadRequest))
        return read

    def _read(
        self, request: Request, offer: OfferBody, private: X25519PrivateKey, key: bytes | None
    ) -> ReadRequest | Reject:  # fmt: skip
        header = request.header()
        exchanged = transcript(offer, header)
        keys = session_keys(private, request.client_public, exchanged, key)
        sealed = keys.to_server.open(0, header, request.sealed) if keys else None
        if keys is None or sealed is None:
            return Reject.BAD_SEAL
        body = RequestBody.parse(sealed)
        return body if isinstance(body, Reject) else ReadRequest(request, keys, body, digest(exchanged))

    def lists(self, read: ReadRequest) -> bool:
        """Whether the client shows a key that may be served; that it has the key is not known yet."""
        return self._allows is None or self._allows(read.body.identity)

    def signatory(self, read: ReadRequest) -> bytes:
        """The key by which the client must have signed what was exchanged; empty where any client is served."""
        return b"" if self._allows is None else read.body.identity

    def is_signed(self, read: ReadRequest) -> bool:
        """Whether the client has signed what was exchanged, where it must; this is public-key work again."""
        body = read.body
        return self._allows is None or is_signed(
            read.transcript_digest, CLIENT_NAMESPACE, body.identity, body.signature
        )

    def open(
        self, read: ReadRequest, asked: ObjectRequest, address: Address, older: ServerSession | None, rate_bps: int,
        now_ns: int,
    ) -> ServerSession:  # fmt: skip
        """The session, whose controller goes on from that of the `older` session of the same fetch."""
        lane = Lane.of_session(self._lane_base, self._lane_index, systematic=asked.served.systematic)
        self._lane_index += 1
        controller = self._control(asked.served.packet_size, rate_bps)
        if older is not None:
            controller.succeed(older.sending.controller)
        channel = ControlChannel(read.request.session, read.keys, is_server=True)
        return ServerSession(channel, address, asked, lane, controller, self._pings(read, asked, now_ns), now_ns)

    def _pings(self, read: ReadRequest, asked: ObjectRequest, now_ns: int) -> Pings:
        challenge = int.from_bytes(keyed_digest(self._secret, read.request.header())[:8], "big")
        if self.identity is None:
            return Pings(PortProof(challenge, now_ns), now_ns)
        message = proof_message(read.transcript_digest, read.body.identity)
        signature = sign(self.identity.private_key, message, SERVER_NAMESPACE)
        count_max = identified_packet_count_max(
            len(read.request.encode()), asked.served.wire_size(read.body.part_count)
        )
        proof = Proof(self._public_key, challenge, signature)
        return Pings(PortProof(challenge, now_ns, count_max), now_ns, proof.encode())
