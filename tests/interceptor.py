"""Somebody between a client and a server, who reads and replaces what he likes, and has a key of his own.

He knows no sockets: `tests/world/test_interceptor.py` lets him act in the seeded world, and `tests/lab/interceptor.py`
between real commands.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.integrity import derive, key_pair, sign
from fountain.limits import DATA_HEADER_SIZE
from fountain.protocol.base.handshake import SERVER_NAMESPACE, names_of, proof_message
from fountain.protocol.base.transmit import Port
from fountain.protocol.rate import control_factory
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.client_session import ClientSession, ask
from fountain.protocol.session.opener import ReadRequest, SessionOpener
from fountain.protocol.session.pairing import ClientPairing, ServerPairing
from fountain.trust.spake import client_exchanges, server_exchanges
from fountain.wire.control import (
    MAGIC,
    Hello,
    Offer,
    OfferBody,
    PacketType,
    Refusal,
    Request,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject
from fountain.wire.session import SESSION_HEADER_SIZE, Ping, Proof, RequestBody, SessionHeader

__all__ = ["CODE_ATTACKS", "Attack", "Interceptor", "Packet"]

Packet = tuple[
    bytes, bool, Port
]  # octets, whether they are for the server, the server's port that they come to or from

_OWN_BODY = RequestBody(b"attacker", 8, False, "", ())
_IDENTIFIED_AT, _FLAG_OPEN, _FLAG_IDENTIFIED = 7, 1, 4


class Attack(enum.Enum):
    """What he does. The first four change or drop what passes; the others hold a session with either side."""

    NONE = "none"
    CUT = "cut"  # drops the Proof
    OPENED = "opened"  # makes the Offer one of open data
    STRIPPED = "stripped"  # makes the Offer one of a server without a key
    OWN_KEY = "own-key"  # proves a key of his own
    REPLAYED = "replayed"  # shows a Proof that he has recorded
    OTHER_SESSION = "other-session"  # shows the Proof of his own session with the server
    SILENT = "silent"  # shows none
    BARE = "bare"  # says that he has no key
    CODELESS = "codeless"  # says that he has no code
    GUESSED = "guessed"  # guesses the code


# Those of a server that has a code; all others are of one that has a key.
CODE_ATTACKS = (Attack.CODELESS, Attack.GUESSED)
_PASSING = (Attack.NONE, Attack.CUT, Attack.OPENED, Attack.STRIPPED)


class Interceptor:
    """One of those between one client and its server. `recorded` is a Proof of the server's in an earlier session,
    `guess` the code that he tries on both sides.
    """

    def __init__(
        self, attack: Attack, secret: bytes, key: Ed25519PrivateKey, recorded: Proof | None = None, guess: str = ""
    ) -> None:  # fmt: skip
        self.seen: Proof | None = None  # the latest Proof of the server, where he holds a session with it
        self._attack, self._key, self._recorded = attack, key, recorded
        self._public_key = key.public_key().public_bytes_raw()
        self._secret, self._count = secret, 0
        self._codes = ServerPairing(server_exchanges(guess), secret) if guess else None
        self._code = ClientPairing(client_exchanges(guess), secret) if guess else None
        self._opener = SessionOpener(secret, self._codes, control_factory(), None)
        self._private, self._public = key_pair(derive(secret, b"own"))
        self._hello = b""  # the nonce of the client's
        self._pair = key_pair(derive(secret, b"pair"))
        self._offers: tuple[Offer, OfferBody] | None = None  # the server's, and what the client is offered
        self._request = b""  # his own
        self._server: ClientSession | None = None
        self._client: ControlChannel | None = None
        self._read: ReadRequest | None = None

    def from_client(self, datagram: bytes, port: Port) -> Iterator[Packet]:
        """What goes out when a datagram of the client comes to a port of the server's."""
        if self._attack in _PASSING:
            yield datagram, True, port
            return
        header = parse_header(datagram)
        assert not isinstance(header, Reject)
        if header[0] >= PacketType.REPORT:
            yield from self._report(datagram, header[0], port)
            return
        record = parse_handshake(datagram, *header)
        if isinstance(record, Hello):
            self._count += 1
            self._pair, self._hello = key_pair(derive(self._secret, b"pair", self._count)), record.nonce
            yield replace(record, nonce=names_of(self._pair[1])[0]).encode(), True, port
        elif isinstance(record, Request):
            if self._offers is not None and (self._read is None or record.session != self._read.request.session):
                self._accept(record, *self._offers)
            yield self._request, True, port

    def from_server(self, datagram: bytes, port: Port) -> Iterator[Packet]:
        """What goes out when a datagram of the server comes from one of its ports."""
        if self._attack in _PASSING:
            yield from self._pass(datagram, port)
        elif not datagram.startswith(MAGIC):
            yield from self._forward_data(datagram, port)
        else:
            header = parse_header(datagram)
            assert not isinstance(header, Reject)
            if header[0] >= PacketType.REPORT:
                yield from self._answer(datagram, header[0], port)
                return
            record = parse_handshake(datagram, *header)
            if isinstance(record, Offer):
                identified = record.body.identified and self._attack is not Attack.BARE
                shown = None if self._codes is None else self._codes.offered
                body = replace(record.body, server_public=self._public, identified=identified, pairing=shown)
                self._offers = record, body
                yield Offer(self._hello, bytes(20), body).encode(), False, port
            elif isinstance(record, Refusal):
                yield replace(record, nonce=self._hello).encode(), False, port

    # --- Inside --------------------------------------------------------------------------------------------

    def _pass(self, datagram: bytes, port: Port) -> Iterator[Packet]:
        octets = bytearray(datagram)
        kind = datagram[5] if datagram.startswith(MAGIC) else 0
        if kind == PacketType.PROOF and self._attack is Attack.CUT:
            return
        if kind == PacketType.OFFER and self._attack is Attack.OPENED:
            octets[_IDENTIFIED_AT] ^= _FLAG_OPEN
        if kind == PacketType.OFFER and self._attack is Attack.STRIPPED:
            octets[_IDENTIFIED_AT] &= ~_FLAG_IDENTIFIED
        yield bytes(octets), False, port

    def _accept(self, request: Request, offer: Offer, shown: OfferBody) -> None:
        """Be the server of the client, and a client of the server."""
        read = self._opener.read(request, shown, self._private)
        body = _OWN_BODY
        if not isinstance(read, Reject):
            self._read = read
            self._client = ControlChannel(request.session, read.keys, is_server=True)
            body = replace(read.body, identity=b"", signature=b"")
        key = None
        if self._code is not None and offer.body.pairing is not None:
            key = self._code.answer(offer.body.pairing)
        asked = ask(offer, body, open=offer.body.open, pair=self._pair, key=key)
        assert asked is not None
        self._server, self._request = asked

    def _report(self, datagram: bytes, kind: PacketType, port: Port) -> Iterator[Packet]:
        body = None if self._client is None else _opened(self._client, datagram, kind)
        if body is not None and self._server is not None:
            yield self._server.channel.seal_packet(kind, body), True, port

    def _answer(self, datagram: bytes, kind: PacketType, port: Port) -> Iterator[Packet]:
        body = None if self._server is None else _opened(self._server.channel, datagram, kind)
        if body is None or self._client is None:
            return
        if kind is not PacketType.PROOF:
            yield self._client.seal_packet(kind, body), False, port
            return
        proof = Proof.parse(body)
        assert isinstance(proof, Proof)
        self.seen = proof
        if self._attack in (Attack.SILENT, Attack.BARE):
            yield self._client.seal_packet(PacketType.PING, Ping(proof.challenge, 0).encode()), False, port
        else:
            yield self._client.seal_packet(kind, self._false(proof).encode()), False, port

    def _false(self, proof: Proof) -> Proof:
        if self._attack is Attack.OTHER_SESSION:
            return proof
        if self._attack is Attack.REPLAYED:
            assert self._recorded is not None
            return replace(self._recorded, challenge=proof.challenge)
        assert self._read is not None
        message = proof_message(self._read.transcript_digest, self._read.body.identity)
        return Proof(self._public_key, proof.challenge, sign(self._key, message, SERVER_NAMESPACE))

    def _forward_data(self, datagram: bytes, port: Port) -> Iterator[Packet]:
        """A data packet, sealed for the client; one that goes in parts is passed on, and opens nothing there."""
        if self._server is None or self._client is None:
            return
        header, sequence = datagram[:DATA_HEADER_SIZE], int.from_bytes(datagram[12:16], "big")
        symbol = self._server.keys.data.open(sequence, header, datagram[DATA_HEADER_SIZE:])
        if symbol is not None:
            header = header[:4] + self._client.session_id.to_bytes(8, "big") + header[12:]
            yield header + self._client.keys.data.seal(sequence, header, symbol), False, port


def _opened(channel: ControlChannel, datagram: bytes, kind: PacketType) -> bytes | None:
    header = SessionHeader.parse(datagram, kind, 0)
    if isinstance(header, Reject) or header.session != channel.session_id:
        return None
    body = channel.open_packet(header, datagram[:SESSION_HEADER_SIZE], datagram[SESSION_HEADER_SIZE:])
    return None if isinstance(body, Reject) else body
