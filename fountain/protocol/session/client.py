"""The client's side of the protocol, without sockets, clocks or files.

Four families of methods, as in `fountain.protocol.session.server`: `handle_*`, plain verbs, `poll_*`, properties. Poll
in this order: datagrams, events, blocks; then sleep until `next_timeout` or the next packet.

The rules
---------
1. SEARCHING sends Hellos, ever more slowly, until an Offer of the wanted object comes; a Retry has it say Hello again
   at once, with the token that came. The application looks at the Offer and says `request`, with what it holds already,
   or `decline`. Other Offers wait meanwhile: anybody can answer a Hello.
2. REQUESTING sends the Request to the data port until the first authentic packet of the session comes: RECEIVING.
   Without one, after a few tries, the next Offer has its turn, or it is SEARCHING again; nothing vouched for the Offer,
   so the next is `offered` anew. Where the Offer said that the server proves its identity, nothing counts before that
   Proof: no other packet of the session is answered, begins a block or ends anything.
3. RECEIVING reports as its `Reporter` says. Silence for SERVER_SILENT_NS, a Bye, or nothing new for half of the
   time-out (at most STALL_NS) leads back to SEARCHING for the same object; symbols held stay useful, whatever session
   brought them. A stream that comes back by itself is welcome until a new one has begun; one that stood still must
   bring something new.
4. Without progress for `timeout_ns` the fetch fails, or, with `wait`, says once what is wrong and goes on
   (`fountain.protocol.session.patience`). Refusals and listings are hints: they end a fetch that never had a stream a
   second later, unless an Offer or the stream contradicts them, and with `wait` never.
5. A port that is reported unreachable fails at once, but only before the first Offer.
6. If Pings report data packets, but none arrives, they are too large for the path to this host: a new session sends
   them in parts.
7. STOPPING repeats Stop until its acknowledgement, a few times, never for longer than STOP_LIMIT_NS: CLOSED.
"""

from __future__ import annotations

from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.transmit import Port, Transmit
from fountain.protocol.session.client_common import ClientCommon, ClientConfig
from fountain.protocol.session.client_events import ClientEvent, ClientState, Failure, Interruption
from fountain.protocol.session.client_session import ClientSession
from fountain.protocol.session.client_states import SearchingState, State
from fountain.protocol.session.patience import Hint
from fountain.wire.control import (
    Hello,
    Listing,
    Offer,
    OfferBody,
    PacketType,
    Request,
    Retry,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject
from fountain.wire.session import (
    SESSION_HEADER_SIZE,
    Bye,
    Ping,
    Pong,
    Proof,
    SessionHeader,
    StopAck,
    StopReason,
    parse_body,
)

__all__ = ["ClientMachine"]


class ClientMachine:
    """One fetch, from the first Hello to the acknowledged Stop. Its keys are drawn from `secret`, 32 random octets."""

    def __init__(self, config: ClientConfig, secret: bytes, now_ns: int) -> None:
        self._common = common = ClientCommon(config, secret, now_ns)
        self._state: State = SearchingState(common, now_ns)
        self._due_ns = NEVER_NS  # as it was asked for
        self.patience = common.patience
        self.reporter = common.reporter
        self.rejects = common.rejects

    # --- What the world did --------------------------------------------------------------------------------

    def handle_datagram(self, data: bytes, now_ns: int) -> None:
        """A control packet from the server's address. Garbage is counted, never an error."""
        if self.state is ClientState.CLOSED:
            return
        header = parse_header(data)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        packet_type, flags = header
        if packet_type >= PacketType.REPORT:
            self._handle_session_packet(data, packet_type, flags, now_ns)
            return
        record = parse_handshake(data, packet_type, flags)
        if isinstance(record, Reject):
            self.rejects.add(record)
        elif isinstance(record, Hello | Request) or not self._common.offers.knows(record.nonce):
            self.rejects.add(Reject.OUT_OF_PLACE)
        elif isinstance(record, Offer):
            self._state = self._state.handle_offer(record, now_ns)
        elif isinstance(record, Listing):
            self._state = self._state.handle_listing(record, now_ns)
        elif isinstance(record, Retry):
            self._state = self._state.handle_retry(record, now_ns)
        else:
            self._state = self._state.handle_refusal(record.reason, now_ns)

    def handle_unreachable(self) -> None:
        """The host says that nobody listens on the port."""
        self._state = self._state.handle_unreachable()

    def find_session(self, session_id: int) -> ClientSession | None:
        """The session of a data packet: the one that streams, or the one that was asked for, once it is proved."""
        session = self._common.sessions.find(session_id)
        if session is not None and not session.is_proved:
            self._common.sessions.is_unproved = True
            return None
        return session

    def handle_data(self, session: ClientSession, timestamp_us: int, rtt_us: int, now_ns: int) -> None:
        """Authentic data packets of `session` arrived, counted by its counter; the latest of them had these times."""
        session.note_arrival(timestamp_us, rtt_us, now_ns)
        self.reporter.note_arrivals(session)
        self.patience.has_data = True
        self._hear(session, now_ns, is_data=True)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: retries, reports, heartbeats, giving up."""
        self._state = self._state.handle_timeout(now_ns - self._due_ns, now_ns)

    # --- What the application asks -------------------------------------------------------------------------

    def request(self, blocks: BlockTable, now_ns: int) -> None:
        """Ask for the stream of the offered object; `blocks` says, from session to session, what is held."""
        self._state = self._state.request(blocks, now_ns)

    def decline(self, now_ns: int) -> None:
        """The Offer cannot be true, or cannot be taken here: look at another."""
        self._state = self._state.decline(now_ns)

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """End the stream and notify the server."""
        self._state = self._state.stop(reason, now_ns)

    def reconnect(self, reason: Interruption, now_ns: int) -> None:
        """Leave the stream for a new one, which begins from what is held now."""
        self._state = self._state.reconnect(reason, now_ns)

    def limit_datagrams(self, size: int) -> None:
        """The system knows that no datagram of more than `size` octets can come from the server."""
        self._common.fit.limit(size)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> Transmit[Port] | None:
        """A control packet to send."""
        return self._common.datagrams.popleft() if self._common.datagrams else None

    def poll_event(self) -> ClientEvent | None:
        """What the application should know."""
        return self._common.events.popleft() if self._common.events else None

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest. A program that comes later was busy, or was stopped meanwhile."""
        self._due_ns = self._state.due_ns
        return max(now_ns, self._due_ns)

    # --- How it is -----------------------------------------------------------------------------------------

    @property
    def state(self) -> ClientState:
        """Where the client is."""
        return self._state.name

    @property
    def offer(self) -> OfferBody | None:
        """What the application asked for last."""
        return self._common.offer

    @property
    def blocks(self) -> BlockTable | None:
        """What is held of it."""
        return self._common.blocks

    @property
    def session(self) -> ClientSession | None:
        """The session that streams, or did last."""
        return self._common.sessions.current

    @property
    def received_count(self) -> int:
        """Authentic data packets of all sessions."""
        return self._common.sessions.received_count

    @property
    def expected_count(self) -> int:
        """Data packets of all sessions that were sent here, as far as those that came show."""
        return self._common.sessions.expected_count

    # --- Inside --------------------------------------------------------------------------------------------

    def _hear(self, session: ClientSession, now_ns: int, *, is_data: bool = False) -> None:
        if self._common.hear(session, now_ns, is_data=is_data):
            self._state = self._state.handle_stream(now_ns)

    def _handle_session_packet(self, data: bytes, packet_type: PacketType, flags: int, now_ns: int) -> None:
        header = SessionHeader.parse(data, packet_type, flags)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        session = self._common.sessions.find(header.session)
        if session is None:
            self.rejects.add(Reject.UNKNOWN_SESSION)
            return
        body = session.channel.open_packet(header, data[:SESSION_HEADER_SIZE], data[SESSION_HEADER_SIZE:])
        record = body if isinstance(body, Reject) else parse_body(packet_type, body)
        if isinstance(record, Reject):
            self.rejects.add(record)
        elif isinstance(record, Proof) or not session.is_proved:
            self._handle_proof(session, record, now_ns)
        elif isinstance(record, Bye):
            self._state = self._state.handle_bye(record, now_ns)
        elif isinstance(record, Ping):
            self._hear(session, now_ns)
            self._common.send(session.channel.seal_packet(PacketType.PONG, Pong(record.token).encode()), Port.CONTROL)
            session.note_ping(record.sent_count, now_ns)
            self.patience.was_sent_data |= record.sent_count > 0
        elif isinstance(record, Pong):
            self._hear(session, now_ns)
        elif isinstance(record, StopAck):
            self._state = self._state.handle_stop_ack()
        else:
            self.rejects.add(Reject.OUT_OF_PLACE)

    def _handle_proof(self, session: ClientSession, record: object, now_ns: int) -> None:
        """A packet of a session that is not proved yet, or a Proof: only the right one counts, and its copies."""
        common, keys = self._common, self._common.config.server_keys
        if not isinstance(record, Proof):
            self.rejects.add(Reject.OUT_OF_PLACE)
            common.sessions.is_unproved = True
            return
        if not session.is_proved:
            failure = None if session.fits(record) else Failure.UNPROVED
            if failure is None and keys is not None and not keys.accept(record.identity):
                failure = Failure.OTHER_KEY
            if failure is not None:
                self.rejects.add(Reject.BAD_SEAL)
                common.sessions.candidate = None
                self.patience.suspect(Hint(failure, offer=self.offer, is_late=True), now_ns)
                self._state = self._state.handle_false_proof(now_ns)
                return
            session.believe()
        self._hear(session, now_ns)
        common.send(session.channel.seal_packet(PacketType.PONG, Pong(record.challenge).encode()), Port.CONTROL)
