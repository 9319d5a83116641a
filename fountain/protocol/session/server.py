"""The server's side of the protocol, without sockets, clocks or files.

Four families of methods. `handle_*` takes what the world did. Plain verbs are what the application asks. `poll_*` gives
what must go out, until it gives None. Properties only look. Poll in this order: datagrams, events, orders; then sleep
until `next_timeout` or the next packet. `now_ns` is monotonic and the same clock everywhere.

The rules
---------
1. A Hello is answered by one packet no longer than itself: an Offer with a cookie, a Listing, a Refusal, or, when too
   many come whose senders are not known to be there, a Retry with a token. Nothing is remembered.
2. A Request whose cookie fits proves that its sender receives at that host. It opens one session, and its cookie no
   other; nonce and id follow from its public key, and what cookies were used for is remembered until they are stale.
   A peer that asks again from the same host ends its older session first, so it never lacks a place.
3. All else must be sealed with the session's key and new to its replay window, or it is counted and changes nothing.
   Of Reports that come faster than clients send them the latest is learned from, when its time has come.
   A server with an identity proves it in the first packet of each session, and again for each copy of the Request
   until the port is proved. It serves only whom it allows. One with a code counts the wrong guesses
   (`fountain.protocol.session.pairing`).
4. A session sends a few packets until a Pong has repeated its challenge, which proves the port. It streams while
   Reports come. After CLIENT_SILENT_NS without one its data pauses, and Pings say that it lives; after GONE_NS it ends.
   Nothing else keeps it: a Ping says nothing of what arrives. Time in which nobody called `handle_timeout` is no
   silence of the peers. Stop ends it at once and is acknowledged, as often as it comes.
5. Sessions with something to send, and whose own controllers let them, take turns, a train each, under one pacer.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence

from fountain.limits import NS
from fountain.protocol.base.handshake import Identity, names_of
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address, BlockSymbols, Stream, StreamOrder, train_packet_count_max
from fountain.protocol.base.transmit import Port, Transmit
from fountain.protocol.rate import ControlFactory, FixedRate, control_factory
from fountain.protocol.rate.pacing import Pacer, SteadyPacer
from fountain.protocol.schedule.api import always
from fountain.protocol.session.admission import Admission, HelloVerdict
from fountain.protocol.session.catalogue import Catalogue
from fountain.protocol.session.opener import SessionOpener
from fountain.protocol.session.pairing import ServerPairing
from fountain.protocol.session.pings import PING_INTERVAL_NS
from fountain.protocol.session.places import Places
from fountain.protocol.session.server_events import HandshakeRefused, ServerEvent, SessionEnded, SessionOpened
from fountain.protocol.session.server_session import (
    CLIENT_SILENT_NS,
    GONE_NS,
    ObjectRequest,
    ServerSession,
    SessionEnd,
    SessionState,
    Tombstone,
)
from fountain.protocol.session.turns import Turns
from fountain.wire.control import (
    Hello,
    Offer,
    PacketType,
    Refusal,
    RefusalReason,
    Request,
    Retry,
    Want,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject, RejectCounter
from fountain.wire.session import (
    SESSION_HEADER_SIZE,
    Bye,
    ByeReason,
    Ping,
    Pong,
    Proof,
    Report,
    SessionHeader,
    Stop,
    StopAck,
    StopReason,
    parse_body,
)

__all__ = ["ServerMachine"]

TOMBSTONE_NS = 30 * NS  # Longer than a cookie lives, so that no Request can be replayed into a new session.
TOMBSTONE_COUNT_MAX = 65_536
UNPROVED_COUNT_MAX = 8  # Of one network; further sessions send no data before they have proved their port.
LOOK_LATE_NS = NS // 2  # A server that looks so much later than it should was busy or stopped: it heard nobody.


class ServerMachine:
    """Sessions of any number of objects. `catalogue.objects[i]` is what an order's `session.object_index` names.

    With a `key`, or the code of a pairing, nobody gets a session who has not the same. With an `identity` clients know
    who it is.
    """

    def __init__(
        self, *, secret: bytes, objects: Sequence[ServedObject], rate_bps: int, peer_count_max: int, now_ns: int,
        congestion: ControlFactory | None = None, key: bytes | ServerPairing | None = None,
        identity: Identity | None = None,
    ) -> None:  # fmt: skip
        self.pairing = key if isinstance(key, ServerPairing) else None
        self.catalogue = Catalogue(objects, secret, now_ns, is_identified=identity is not None, pairing=self.pairing)
        self.sessions: dict[int, ServerSession] = {}
        self.rejects = RejectCounter()
        congestion = congestion or control_factory()
        self.pacer = (SteadyPacer if congestion is FixedRate else Pacer)(rate_bps, now_ns)
        self._opener = SessionOpener(secret, key, congestion, identity)
        self._admission = Admission(secret)
        self._places = Places(peer_count_max)
        self._turns = Turns()
        self._reported: list[ServerSession] = []  # whose deficits may have changed
        self._held: dict[int, ServerSession] = {}  # whose Report waits for its time
        self._tombstones: dict[int, Tombstone] = {}
        self._datagrams: deque[Transmit[Address]] = deque()
        self._events: deque[ServerEvent] = deque()
        self._next_sweep_ns = now_ns

    # --- What the world did --------------------------------------------------------------------------------

    def handle_datagram(self, data: bytes, address: Address, now_ns: int, *, port: Port) -> None:
        """A datagram arrived on a port of the server. Garbage is counted, never an error."""
        header = parse_header(data)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        packet_type, flags = header
        if packet_type >= PacketType.REPORT:
            self._handle_session_packet(data, packet_type, flags, address, now_ns, port)
            return
        record = parse_handshake(data, packet_type, flags)
        if isinstance(record, Hello) and port is Port.CONTROL:
            self._handle_hello(record, address, now_ns)
        elif isinstance(record, Request) and port is Port.DATA:
            self._handle_request(record, address, now_ns)
        else:
            self.rejects.add(record if isinstance(record, Reject) else Reject.BAD_TYPE)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: Reports are learned from, sessions fall silent, are pinged, end; old ids are forgotten."""
        for session in list(self._held.values()):
            self._learn(session, now_ns)
        if now_ns < self._next_sweep_ns:
            return
        late_ns = now_ns - self._next_sweep_ns
        self._next_sweep_ns = now_ns + PING_INTERVAL_NS // 4
        for session in list(self.sessions.values()):
            if late_ns >= LOOK_LATE_NS:
                session.heard_ns = min(now_ns, session.heard_ns + late_ns)
            silent_ns = now_ns - session.heard_ns
            if silent_ns >= GONE_NS or session.pings.proof.is_overdue(now_ns):
                self._dismiss(session, ByeReason.IDLE, now_ns)
            elif session.sending.controller.breaker.has_tripped:
                # Reports say what is lost. Where none come, nothing is known of that.
                is_reporting = silent_ns < CLIENT_SILENT_NS and session.heard_ns > session.started_ns
                self._dismiss(session, ByeReason.CONGESTED if is_reporting else ByeReason.IDLE, now_ns)
            elif silent_ns >= CLIENT_SILENT_NS:
                session.state = SessionState.SILENT
            if session.state is SessionState.ENDED:
                continue
            if session.pings.poll(session.received_count, session.sending.sent_ns, now_ns):
                self._ping(session, now_ns)
        while self._tombstones:
            oldest = next(iter(self._tombstones.values()))
            if now_ns - oldest.end.at_ns < TOMBSTONE_NS and len(self._tombstones) <= TOMBSTONE_COUNT_MAX:
                break
            del self._tombstones[oldest.channel.session_id]

    # --- What the application asks -------------------------------------------------------------------------

    def close(self, now_ns: int, reason: ByeReason = ByeReason.STOPPING, object_index: int | None = None) -> None:
        """Say Bye to every session, or to those of one object, and end them. One whose source changed stays closed."""
        if object_index is not None and reason is ByeReason.SOURCE_CHANGED:
            self.catalogue.withdraw(object_index)
        for session in list(self.sessions.values()):
            if object_index is None or session.object_index == object_index:
                self._dismiss(session, reason, now_ns)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> Transmit[Address] | None:
        """A control packet to send."""
        return self._datagrams.popleft() if self._datagrams else None

    def poll_event(self) -> ServerEvent | None:
        """What the application should know."""
        return self._events.popleft() if self._events else None

    def poll_preparation(self) -> tuple[Stream, BlockSymbols] | None:
        """Symbols that a session will be sent soon, each named once: they may be encoded ahead."""
        while self._reported:
            session = self._reported[-1]
            symbols = session.carousel.poll_preparation() if session.state is not SessionState.ENDED else None
            if symbols is not None:
                return session, symbols
            self._reported.pop()
        return None

    def poll_order(self, now_ns: int, is_ready: Callable[[int, int], bool] = always) -> StreamOrder | None:
        """Data packets to send now; None while the pacer holds, or nobody wants anything.

        `is_ready` says of a session and a block whether what `poll_preparation` named of it is encoded.
        """
        if not self.pacer.may_send(now_ns):
            return None
        while (session := self._turns.poll(now_ns)) is not None:
            order = self._order(session, is_ready, now_ns)
            if order is not None:
                return order
            if session.state is not SessionState.ENDED:
                self._turns.sleep(session, session.ready_ns(now_ns))
        self.pacer.idle(now_ns)
        return None

    def is_wanted(self, session_id: int, block: int) -> bool:
        """Whether more symbols of a block may be sent in a session."""
        session = self.sessions.get(session_id)
        return session is not None and session.carousel.is_wanted(block)

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest: for the first stream that may go on, else for the next sweep."""
        due_ns = self._next_sweep_ns if self.sessions or self._tombstones else now_ns + NS
        if self._held:
            due_ns = min(due_ns, min(session.reports.due_ns for session in self._held.values()))
        return max(now_ns, min(due_ns, self._turns.next_ns(self.pacer.ready_ns)))

    # --- Inside --------------------------------------------------------------------------------------------

    def _order(
        self, session: ServerSession, is_ready: Callable[[int, int], bool], now_ns: int
    ) -> StreamOrder | None:  # fmt: skip
        room = session.room_count(now_ns) if session.state is SessionState.STREAMING else 0
        if not room:
            return None
        limit = train_packet_count_max(session.offer.symbol_size, session.part_count)
        for pacer in (self.pacer, session.sending.pacer):
            limit = pacer.train_packet_count(session.sending.packet_size, limit)
        limit = min(limit, room)
        if session.sending.sequence + limit > session.packet_count_max:
            self._dismiss(session, ByeReason.KEYS_SPENT, now_ns)
            return None
        blocks = session.carousel.take(limit, session.sending.sequence, functools.partial(is_ready, session.session_id))
        if not blocks:
            session.sending.pacer.idle(now_ns)
            return None
        order = StreamOrder(session, session.sending.sequence, now_ns // 1000 & 0xFFFF_FFFF, blocks)
        session.sending.record(order.packet_count, now_ns)
        self.pacer.charge(order.packet_count * session.sending.packet_size)
        return order

    def _handle_hello(self, hello: Hello, address: Address, now_ns: int) -> None:
        verdict = self._admission.gate.judge(hello.token if hello.has_token else None, address[0], now_ns)
        if verdict is HelloVerdict.DROP:
            self.rejects.add(Reject.TOO_MANY)
            return
        if verdict is HelloVerdict.RETRY:
            answer = Retry(hello.nonce, self._admission.gate.token(address[0], now_ns)).encode()
            self._datagrams.append(Transmit(answer, address))
            return
        index = self.catalogue.find(hello)
        if self.catalogue.is_withdrawn(index):
            answer = self._refuse(hello.nonce, RefusalReason.SOURCE_CHANGED, address)
        elif index is not None:
            offer = self.catalogue.offer(index, now_ns)
            cookie = self._admission.jar.bake(address, hello.nonce, offer.object_id, now_ns)
            answer = Offer(hello.nonce, cookie, offer).encode()
        elif hello.want_kind is Want.ANY:
            answer = self.catalogue.listing(hello).encode()
        else:
            answer = self._refuse(hello.nonce, RefusalReason.NO_SUCH_OBJECT, address)
        self._datagrams.append(Transmit(answer, address))

    def _refuse(self, nonce: bytes, reason: RefusalReason, address: Address) -> bytes:
        self._events.append(HandshakeRefused(address, reason))
        return Refusal(nonce, reason).encode()

    def _handle_request(self, request: Request, address: Address, now_ns: int) -> None:
        if (request.nonce, request.session) != names_of(request.client_public):
            self.rejects.add(Reject.BAD_FIELD)
            return
        is_good, opening = self._admission.look_at(request, address, now_ns)
        if not is_good:
            self.rejects.add(Reject.BAD_COOKIE)
            if self._admission.gate.admit_hint(now_ns):
                answer = Refusal(request.nonce, RefusalReason.STALE_COOKIE).encode()
                self._datagrams.append(Transmit(answer, address, Port.DATA))
            return
        session = self.sessions.get(request.session)
        if session is not None or (opening is not None and opening.has_session):
            if session is not None and session.pings.ask_again():
                self._ping(session, now_ns)
            return  # A copy of the Request that opened it: the stream itself is the answer.
        refusal = opening.refusal if opening is not None else None
        if refusal is None:
            refusal = self._open_session(request, address, now_ns)
        if refusal is not None and self._admission.gate.admit_proved(address[0], now_ns):
            self._datagrams.append(Transmit(self._refuse(request.nonce, refusal, address), address, Port.DATA))

    def _open_session(self, request: Request, address: Address, now_ns: int) -> RefusalReason | None:
        """Open the session that a Request with a good cookie asks for, or say why not; None also for no answer."""
        index = self.catalogue.find_id(request.object_id)
        if index is None:
            return RefusalReason.NO_SUCH_OBJECT
        if self.catalogue.is_withdrawn(index):
            return RefusalReason.SOURCE_CHANGED
        served = self.catalogue.objects[index]
        if request.open != served.offer.open:
            return RefusalReason.SEAL_MISMATCH
        pairing, shown = self.pairing, request.pairing
        if (pairing is None) != (shown is None):
            self.rejects.add(Reject.OUT_OF_PLACE)
            return None
        offered = self.catalogue.offered(index, request.key_index, now_ns)
        if offered is None or (pairing is not None and shown is not None and not pairing.is_current(shown)):
            return RefusalReason.STALE_COOKIE
        if pairing is not None and shown is not None and pairing.is_spent and not pairing.knows(shown):
            return RefusalReason.WRONG_CODE
        opening = self._admission.openings.begin(request.cookie, address[0], now_ns)
        if opening is None:
            self.rejects.add(Reject.TOO_MANY)
            return None
        read = self._opener.read(request, *offered)
        if isinstance(read, Reject):
            self.rejects.add(read)
            opening.failed_count += 1
            refusal = self._opener.mismatch if read is Reject.BAD_SEAL else None
            if opening.is_used_up or pairing is not None:
                opening.refusal = refusal
            return refusal
        if not self._opener.lists(read):
            opening.refusal = RefusalReason.NOT_ALLOWED
            return opening.refusal
        signatory = self._opener.signatory(read)
        if self._opener.identity is not None and not self._admission.signatures.admit(signatory, now_ns):
            self.rejects.add(Reject.TOO_MANY)
            return None
        if not self._opener.is_signed(read):
            opening.refusal = RefusalReason.NOT_ALLOWED
            return opening.refusal
        older = self._supersede(address[0], read.body.peer_id, index, now_ns)
        if self._places.is_full and not self._make_room(address[0], now_ns):
            opening.refusal = RefusalReason.SERVER_FULL
            return opening.refusal
        opening.has_session = True
        asked = ObjectRequest(index, served, read.body)
        session = self._opener.open(read, asked, address, older, self.pacer.rate_bps, now_ns)
        if self._places.unproved_count(address[0]) >= UNPROVED_COUNT_MAX:
            session.pings.proof.withhold()
        self.sessions[request.session] = session
        self._places.add(session)
        self._turns.add(session)
        self._events.append(SessionOpened(session))
        self._ping(session, now_ns)
        return None

    def _supersede(self, host: str, peer_id: bytes, index: int, now_ns: int) -> ServerSession | None:
        """End the older session of a fetch that is back: its stream has nobody to receive it any more."""
        older = self._places.find(host, peer_id, index)
        if older is not None:
            self._end(older, StopReason.SUPERSEDED, now_ns)
        return older

    def _make_room(self, host: str, now_ns: int) -> bool:
        """Whether a session made room for a newcomer, since it is not proved or its network has more than a share."""
        session = self._places.yielding(host, now_ns)
        if session is None:
            return False
        self._dismiss(session, ByeReason.PLACE_TAKEN, now_ns)
        return True

    def _ping(self, session: ServerSession, now_ns: int) -> None:
        packet = session.channel.seal_packet(*session.pings.take(session.sent_count, now_ns))
        self._datagrams.append(Transmit(packet, session.address, Port.DATA))

    def _handle_session_packet(
        self, data: bytes, packet_type: PacketType, flags: int, address: Address, now_ns: int, port: Port
    ) -> None:  # fmt: skip
        header = SessionHeader.parse(data, packet_type, flags)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        session = self.sessions.get(header.session)
        known = session or self._tombstones.get(header.session)
        if known is None:
            self.rejects.add(Reject.UNKNOWN_SESSION)
            return
        body = known.channel.open_packet(header, data[:SESSION_HEADER_SIZE], data[SESSION_HEADER_SIZE:])
        if packet_type is PacketType.REPORT and session is not None and isinstance(body, bytes):
            session.reports.offer(header.sequence, body)
            self._learn(session, now_ns)
            return
        record = body if isinstance(body, Reject) else parse_body(packet_type, body)
        if isinstance(record, Reject):
            self.rejects.add(record)
            return
        if isinstance(record, Bye | StopAck | Proof):
            self.rejects.add(Reject.OUT_OF_PLACE)
            return
        if isinstance(record, Stop):
            ack = known.channel.seal_packet(PacketType.STOP_ACK, StopAck().encode())
            self._datagrams.append(Transmit(ack, address, port))
        if session is None:
            if known.end is not None and known.end.reason is ByeReason.CONGESTED and isinstance(record, Report):
                self._send_bye(known, ByeReason.CONGESTED)  # Where most is lost, the last one was as well.
            return
        if isinstance(record, Stop):
            session.received_count = record.received_count
            self._end(session, record.reason, now_ns)
        elif isinstance(record, Ping):
            pong = session.channel.seal_packet(PacketType.PONG, Pong(record.token).encode())
            self._datagrams.append(Transmit(pong, address, port))
        elif isinstance(record, Pong) and session.pings.proof.accept(record.token):
            session.sending.pacer.idle(now_ns)
            self._places.prove(session)
            self._turns.wake(session)

    def _learn(self, session: ServerSession, now_ns: int) -> None:
        """Learn from the latest Report of a session, or keep the session in mind until that is due."""
        body = session.reports.take(now_ns)
        if body is None:
            self._held[session.session_id] = session
            return
        self._held.pop(session.session_id, None)
        record = Report.parse(body)
        if isinstance(record, Reject):
            self.rejects.add(record)
            return
        session.heard_ns = now_ns
        session.state = SessionState.STREAMING
        self._turns.wake(session)
        session.handle_report(record, now_ns)
        self._reported.append(session)
        if session.pings.is_answer_due(now_ns):
            self._ping(session, now_ns)

    def _send_bye(self, session: ServerSession | Tombstone, reason: ByeReason) -> None:
        packet = session.channel.seal_packet(PacketType.BYE, Bye(reason).encode())
        self._datagrams.append(Transmit(packet, session.address, Port.DATA))

    def _dismiss(self, session: ServerSession, reason: ByeReason, now_ns: int) -> None:
        self._send_bye(session, reason)
        self._end(session, reason, now_ns)

    def _end(self, session: ServerSession, reason: StopReason | ByeReason, now_ns: int) -> None:
        session.state = SessionState.ENDED
        session.end = SessionEnd(reason, now_ns)
        del self.sessions[session.session_id]
        self._turns.remove(session)
        self._places.remove(session)
        self._held.pop(session.session_id, None)
        self._tombstones[session.session_id] = Tombstone(session.channel, session.address, session.end)
        self._events.append(SessionEnded(session))
