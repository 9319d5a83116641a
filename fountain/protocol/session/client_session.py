"""One stream as the client sees it: its keys, what has arrived, and the packets that it seals."""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import SessionKeys, digest, is_signed, session_keys, sign
from fountain.limits import NS
from fountain.protocol.base.handshake import CLIENT_NAMESPACE, SERVER_NAMESPACE, names_of, proof_message, transcript
from fountain.protocol.base.replay import SequenceCounter
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.pairing import PairKey
from fountain.protocol.session.reordering import Reordering
from fountain.wire.control import Offer, OfferBody, Request, Want
from fountain.wire.session import Proof, RequestBody

__all__ = ["ClientSession", "Sessions", "ask", "is_alike", "is_wanted"]

MISSED_COUNT = 4  # Data packets that were sent, none of which came ...
MISSED_NS = NS * 4 // 10  # ... for so long after a Ping that reported them: another Ping comes later than that.


def is_wanted(offer: OfferBody, held: OfferBody | None, want_kind: Want, want: bytes) -> bool:
    """Whether `offer` is of the object that is `held` in part, or else of the object or the name that was asked for.

    A server that may choose the name could put any file beside those that are here.
    """
    if held is not None:
        return offer.object_id == held.object_id
    if want_kind is Want.OBJECT:
        return offer.object_id == want
    return want_kind is not Want.NAME or digest(offer.name.encode()) == want


def is_alike(offer: OfferBody, other: OfferBody) -> bool:
    """Whether two Offers are of the same object, cut in the same way: symbols of one are symbols of the other."""
    ours, theirs = (
        replace(body, server_public=b"", key_index=0, data_port=0, release=None, identified=False, pairing=None)
        for body in (offer, other)
    )
    return ours == theirs


def ask(
    offer: Offer, body: RequestBody, *, open: bool, pair: tuple[X25519PrivateKey, bytes],
    key: bytes | PairKey | None = None, identity: Ed25519PrivateKey | None = None,
) -> tuple[ClientSession, bytes] | None:  # fmt: skip
    """The session that answers `offer`, and the Request that opens it; None when the server's key is not one.

    `pair` is the private and the public key that the nonce of the Hello came from. `key` is what both sides must have,
    or what comes of a code. With an `identity` the client shows that to the server.
    """
    private, public = pair
    _, session_id = names_of(public)
    described = offer.body
    shown, salt = (key.shown, key.key) if isinstance(key, PairKey) else (None, key)
    header = Request(
        session_id, offer.nonce, offer.cookie, described.key_index, described.object_id, public, open, b"", shown
    ).header()
    exchanged = transcript(described, header)
    keys = session_keys(private, described.server_public, exchanged, salt)
    if keys is None:
        return None
    exchanged_digest = digest(exchanged)
    if identity is not None:
        public_key = identity.public_key().public_bytes_raw()
        body = replace(body, identity=public_key, signature=sign(identity, exchanged_digest, CLIENT_NAMESPACE))
    message = proof_message(exchanged_digest, body.identity) if described.identified else None
    pair_key = key if isinstance(key, PairKey) else None
    return ClientSession(session_id, keys, message, pair_key), header + keys.to_server.seal(0, header, body.encode())


class ClientSession:
    """Keys and counters of one session id. Nothing that comes in it counts before its server has signed `unproved`,
    unless that is None. What comes in it proves that its server knows the code of `pair_key`.
    """

    def __init__(
        self, session_id: int, keys: SessionKeys, unproved: bytes | None = None, pair_key: PairKey | None = None
    ) -> None:  # fmt: skip
        self._unproved = unproved
        self.pair_key = pair_key
        self.channel = ControlChannel(session_id, keys, is_server=False)
        self.counter = SequenceCounter()
        self.order = Reordering()
        self.damaged_count = 0
        self.rtt_ns = 0  # as the server measures it; 0 while unknown
        self.shortest_rtt_ns = 0  # that it reported
        self._newest = 0  # one above the number of the packet whose times are echoed
        self._echo_us = 0
        self._echo_arrival_ns = 0
        self.is_missing_all = False  # Of what the server sends Pings come, and no data packets.
        self._missed_ns: int | None = None  # when a Ping first reported data packets that should have come before it

    @property
    def session_id(self) -> int:
        """Its 64-bit id."""
        return self.channel.session_id

    @property
    def keys(self) -> SessionKeys:
        """Of its data packets too."""
        return self.channel.keys

    @property
    def is_proved(self) -> bool:
        """Whether its server has proved to have the key that it shows, or shows none."""
        return self._unproved is None

    def fits(self, proof: Proof) -> bool:
        """Whether the server has signed what was exchanged with the key that it shows."""
        message = self._unproved
        return message is not None and is_signed(message, SERVER_NAMESPACE, proof.identity, proof.signature)

    def believe(self) -> None:
        """The server is the right one: what comes counts from now on."""
        self._unproved = None

    def note_ping(self, sent_count: int, now_ns: int) -> None:
        """A Ping came: the server had sent so many data packets before it."""
        if sent_count - self.counter.expected < MISSED_COUNT:
            return
        if self._missed_ns is None:
            self._missed_ns = now_ns
        elif now_ns - self._missed_ns >= MISSED_NS:
            self.is_missing_all = True

    def excuse_missing(self) -> None:
        """Data came, or this side did not run and could take none: only what is sent from now on can be missed."""
        self.is_missing_all, self._missed_ns = False, None

    def note_arrival(self, timestamp_us: int, rtt_us: int, now_ns: int) -> None:
        """Authentic data packets came: when the server sent the newest, and the round-trip time that it reported.

        Where none is newer than all before, they came late, or somebody sent recordings of lost ones: neither shows
        how long the way is now.
        """
        self.excuse_missing()
        is_newest, self._newest = self.counter.expected != self._newest, self.counter.expected
        if is_newest:
            self._echo_us, self._echo_arrival_ns = timestamp_us, now_ns
        if rtt_us and is_newest:
            self.rtt_ns = rtt_us * 1000
            self.shortest_rtt_ns = min(self.shortest_rtt_ns or self.rtt_ns, self.rtt_ns)
        self.order.note(self.counter, self.rtt_ns, now_ns)

    def echo(self, now_ns: int) -> tuple[int, int]:
        """Timestamp to send back, and for how many microseconds it was held here."""
        return self._echo_us, max(0, now_ns - self._echo_arrival_ns) // 1000

    @property
    def arrival_us(self) -> int:
        """When the latest authentic data packet arrived, in microseconds modulo 2^32."""
        return self._echo_arrival_ns // 1000 & 0xFFFF_FFFF


class Sessions:
    """The sessions of one fetch: the one that streams, or did last, the one that was asked for, and earlier ones."""

    def __init__(self) -> None:
        self.current: ClientSession | None = None
        self.candidate: ClientSession | None = None
        self.is_unproved = False  # Packets come of sessions that were asked for, and none proves the server's key.
        self._earlier_counts = (0, 0)  # packets received and expected, of sessions that are over

    def find(self, session_id: int) -> ClientSession | None:
        """The session of a packet, if it is one of ours."""
        for session in (self.current, self.candidate):
            if session is not None and session.session_id == session_id:
                return session
        return None

    def follow(self, session: ClientSession | None) -> None:
        """`session` is the one that streams from now on."""
        self.is_unproved = False
        self._earlier_counts = self.received_count, self.expected_count
        self.current = session

    @property
    def received_count(self) -> int:
        """Authentic data packets of all sessions."""
        return self._earlier_counts[0] + (self.current.counter.received_count if self.current is not None else 0)

    @property
    def expected_count(self) -> int:
        """Data packets of all sessions that were sent here, as far as those that came show."""
        return self._earlier_counts[1] + (self.current.counter.expected if self.current is not None else 0)
