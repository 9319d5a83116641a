"""What a client has in every state: what it wants, what it holds, its sessions, and what must go out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import DATA_OVERHEAD_SIZE, DATAGRAM_SIZE_SAFE, NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.transmit import Port, Transmit
from fountain.protocol.session.client_events import ClientEvent, Failure, FetchFailed, FetchHindered
from fountain.protocol.session.client_session import ClientSession, Sessions, is_wanted
from fountain.protocol.session.listing import ListingPages
from fountain.protocol.session.offers import Offers
from fountain.protocol.session.pairing import ClientPairing
from fountain.protocol.session.patience import Hint, Patience
from fountain.protocol.session.reporter import Reporter
from fountain.protocol.session.stream_history import StreamHistory
from fountain.wire.control import TOKEN_SIZE, Offer, OfferBody, Want
from fountain.wire.parts import part_count_for
from fountain.wire.reject import Reject, RejectCounter

__all__ = ["ClientCommon", "ClientConfig", "PacketFit", "ServerJudge"]

SERVER_SILENT_NS = 2 * NS  # Four missed heartbeats of the server.


class ServerJudge(Protocol):
    """What is known of the key of a server."""

    @property
    def is_needed(self) -> bool:
        """Whether a server that proves no key is not the right one."""

    @property
    def is_known(self) -> bool:
        """Whether the key is known already."""

    def accept(self, public_key: bytes) -> bool:
        """Whether the right server has this key, which it has proved."""


@dataclass(frozen=True)
class ClientConfig:
    """What a client wants, and who it is. With `wait` it never gives up; only with the server's `key` it is served.

    With an `object_id` it takes that object alone, whatever a name stands for. `server_keys` knows the key that the
    server should have; None takes any. The client shows its `identity` to a server whose key was known before. With a
    `pairing` it follows only servers that have a code, and without one none of these.

    `vet` says of an offer, at a time, whether its object may be taken at all; None: it was not looked at.
    """

    want_kind: Want
    want: bytes
    open: bool
    wait: bool
    timeout_ns: int  # without progress
    peer_id: bytes
    host: str
    key: bytes | None = None
    object_id: bytes | None = None
    server_keys: ServerJudge | None = None
    identity: Ed25519PrivateKey | None = None
    vet: Callable[[OfferBody, int], bool | None] | None = None
    pairing: ClientPairing | None = None


class PacketFit:
    """Which data packets fit the path, and in how many parts a client asks for those that do not."""

    def __init__(self) -> None:
        self.datagram_size_max = 0  # the largest that arrives here, as far as is known; 0: any
        self.part_count = 1  # of the packets of the session that was asked for last

    def limit(self, datagram_size: int) -> None:
        """No larger datagram arrives here."""
        self.datagram_size_max = min(datagram_size, self.datagram_size_max or datagram_size)

    def can_shrink(self, packet_size: int) -> bool:
        """Whether packets of `packet_size` octets can be asked for in more parts than now."""
        return part_count_for(packet_size, DATAGRAM_SIZE_SAFE) > self.part_count


class ClientCommon:
    """The part of a client that its states share; each of them changes it by what happens."""

    def __init__(self, config: ClientConfig, secret: bytes, now_ns: int) -> None:
        self.config = config
        self.offer: OfferBody | None = None
        self.blocks: BlockTable | None = None
        self.sessions = Sessions()
        self.offers = Offers(secret)
        self.token = bytes(TOKEN_SIZE)  # of the latest Retry
        self.listing = ListingPages(config.timeout_ns)
        self.patience = Patience(config.timeout_ns, now_ns)
        self.history = StreamHistory(config.timeout_ns, now_ns)
        self.reporter = Reporter(now_ns)
        self.fit = PacketFit()
        self.rejects = RejectCounter()
        self.datagrams: deque[Transmit[Port]] = deque()
        self.events: deque[ClientEvent] = deque()

    @property
    def packet_size(self) -> int:
        """Octets of a whole data packet of the object; 0 before it is known."""
        return 0 if self.offer is None else self.offer.symbol_size + DATA_OVERHEAD_SIZE

    @property
    def silent_ns(self) -> int:
        """When the server has been silent for too long."""
        return self.patience.heard_ns + min(SERVER_SILENT_NS, self.config.timeout_ns // 2)

    @property
    def is_missing_all(self) -> bool:
        """Whether small packets arrive and no large ones, and smaller ones can be asked for."""
        session, blocks = self.sessions.current, self.blocks
        if session is None or blocks is None or not session.is_missing_all:
            return False
        return blocks.is_lacking and self.fit.can_shrink(self.packet_size)

    def send(self, datagram: bytes, port: Port) -> None:
        """Send a packet to one of the server's ports."""
        self.datagrams.append(Transmit(datagram, port))

    def take_offer(self, offer: Offer, now_ns: int) -> bool:
        """Whether to follow an Offer now; another one that is good for something waits for its turn."""
        config, patience = self.config, self.patience
        held = self.offer if patience.was_connected else None
        if not is_wanted(offer.body, held, config.want_kind, config.want):
            self.rejects.add(Reject.OUT_OF_PLACE)
            if held is not None and patience.is_replaced and offer.body.name == held.name:
                patience.note_instead(offer.body)
            return False
        if held is None and config.object_id not in (None, offer.body.object_id):
            patience.suspect(Hint(Failure.OTHER_OBJECT, offer=offer.body), now_ns)
            return False
        if (failure := self._disagreement(offer.body)) is not None:
            patience.suspect(Hint(failure, offer=offer.body), now_ns)
            return False
        if held is None and config.vet is not None and not (is_vetted := config.vet(offer.body, now_ns)):
            if is_vetted is not None:
                patience.suspect(Hint(Failure.UNTRUSTED, offer=offer.body), now_ns)
            return False
        patience.answered(now_ns)
        return self.offers.take(offer)

    def _disagreement(self, offer: OfferBody) -> Failure | None:
        """What the two sides do not agree about, if anything. No Offer vouches for itself."""
        keys, pairing, offered = self.config.server_keys, self.config.pairing, offer.pairing
        if pairing is None or offered is None:
            if pairing is not None:
                return Failure.CODELESS
            if offered is not None:
                return Failure.CODE_NEEDED
        elif not pairing.may_follow(offered):
            return Failure.OTHER_CODE
        is_needed = keys is not None and keys.is_needed
        if is_needed and not offer.identified:
            return Failure.UNPROVED
        if offer.open != self.config.open:
            return Failure.UNPROVED if is_needed else Failure.SEAL
        return None

    def note_gain(self, now_ns: int) -> bool:
        """Whether something came that was missing. That is progress, unless each stream brings a little and ends."""
        if self.blocks is None or not self.history.has_gained(self.blocks):
            return False
        self.patience.advance(now_ns, is_steady=self.history.is_steady(now_ns))
        return True

    def hear(self, session: ClientSession, now_ns: int, *, is_data: bool = False) -> bool:
        """An authentic packet of `session` came: whether there is a stream, since it does not stand still."""
        self.patience.heard_ns = now_ns
        self.patience.connected(now_ns)
        if session is self.sessions.candidate:
            if self.config.pairing is not None and session.pair_key is not None:
                self.config.pairing.confirm(session.pair_key)
            self.sessions.follow(session)
            self.sessions.candidate = None
            self.offers.clear()
            self.history.renew(now_ns)
        has_gained = is_data and self.note_gain(now_ns)
        if has_gained:
            self.history.is_stalled = False
        return not self.history.is_stalled

    def note_bye(self, now_ns: int) -> None:
        """The server has ended a session: count those that it ends as soon as they have begun."""
        if self.blocks is not None:
            is_short = now_ns - self.history.renewed_ns < SERVER_SILENT_NS or self.sessions.candidate is not None
            has_done = self.history.has_done(self.blocks)
            self.patience.cut_count = self.patience.cut_count + 1 if is_short and not has_done else 0
        self.history.is_suspect = True
        self.sessions.follow(None)  # What still comes of it says nothing of a server that is there.

    def beat(self, now_ns: int) -> None:
        """Send the Report and the Ping that are due."""
        assert self.sessions.current is not None
        assert self.blocks is not None
        ping = self.reporter.keepalive(self.sessions.current, now_ns)
        if ping is not None:
            self.send(ping, Port.DATA)
        report = self.reporter.report(self.sessions.current, self.blocks, now_ns)
        if report is not None:
            self.send(report, Port.CONTROL)

    def report_trouble(self, event: type[FetchFailed | FetchHindered], hint: Hint) -> None:
        """Say what keeps the client from its object."""
        offer = hint.offer or (None if hint.failure is Failure.REPLACED else self.offer)
        self.events.append(event(hint.failure, hint.refusal, offer, self.patience.has_data))
