"""The client's side of the protocol, without sockets, clocks or files.

Four families of methods, as in `fountain.protocol.server`: `handle_*`, plain verbs, `poll_*`, properties. Poll in this
order: datagrams, events, blocks; then sleep until `next_timeout` or the next packet.

The rules
---------
1. SEARCHING sends Hellos, ever more slowly, until an Offer of the wanted object comes; a Retry has it say Hello again
   at once, with the token that came. The application looks at it and
   says `request`, with what it holds already.
2. REQUESTING sends the Request to the data port until the first authentic packet of the session comes: RECEIVING.
   Without one, after a few tries, it is SEARCHING again; nothing vouched for the Offer, so the next is `offered` anew.
3. RECEIVING reports as its `Reporter` says. Silence for SILENT_NS, or a Bye, leads back to SEARCHING for the same
   object; symbols held stay useful, whatever session brought them. A stream that comes back by itself is welcome
   until a new one has begun.
4. Nothing heard for `timeout_ns` ends in a failure (unless nothing ever was heard and `wait` is set). A port that is
   reported unreachable fails at once, but only before the first Offer.
5. STOPPING repeats Stop until its acknowledgement, a few times, never for longer than STOP_LIMIT_NS: CLOSED.
"""

from __future__ import annotations

from collections import deque

from fountain.integrity import derive, key_pair
from fountain.limits import NS
from fountain.protocol.admission import names_of
from fountain.protocol.blocks import BlockTable
from fountain.protocol.client_events import BYE_FAILURES, BYE_PHRASES, ClientEvent, ClientState, Failure
from fountain.protocol.client_session import ClientSession, ask, is_wanted
from fountain.protocol.listing import ListingPages
from fountain.protocol.reporter import Reporter
from fountain.wire.control import (
    TOKEN_SIZE,
    Hello,
    Listing,
    Offer,
    OfferBody,
    PacketType,
    RefusalReason,
    Request,
    Retry,
    Want,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject, RejectCounter
from fountain.wire.session import (
    REQUEST_RUN_COUNT_MAX,
    SESSION_HEADER_SIZE,
    Bye,
    ByeReason,
    Echo,
    RequestBody,
    SessionHeader,
    Stop,
    StopAck,
    StopReason,
    parse_body,
)

__all__ = ["ClientMachine"]

HELLO_INTERVAL_NS = NS // 4
HELLO_INTERVAL_MAX_NS = 2 * NS
REQUEST_INTERVAL_NS = NS // 4
REQUEST_TRIES_MAX = 4  # Then the cookie may be stale, or the server another one: ask again from the start.
SILENT_NS = 2 * NS  # Four missed heartbeats of the server.
STOP_INTERVAL_NS = NS // 20
STOP_LIMIT_NS = NS * 6 // 10


class ClientMachine:
    """One fetch, from the first Hello to the acknowledged Stop."""

    def __init__(
        self, *, secret: bytes, want_kind: Want, want: bytes, open: bool, wait: bool, timeout_ns: int,
        peer_id: bytes, host: str, now_ns: int, key: bytes | None = None,
    ) -> None:  # fmt: skip
        self.state = ClientState.SEARCHING
        self.offer: OfferBody | None = None
        self.blocks: BlockTable | None = None
        self.session: ClientSession | None = None
        self.was_answered = False  # the server sent an Offer or a Listing
        self.was_connected = False  # data came
        self.all_sessions: list[ClientSession] = []  # that ever brought data, for totals
        self.rejects = RejectCounter()
        self.kernel_drop_count = 0
        self._secret, self._draw_count = secret, 0
        self._want_kind, self._want = want_kind, want
        self._open, self._wait, self._timeout_ns = open, wait, timeout_ns
        self._peer_id, self._host, self._key = peer_id, host, key
        self._datagrams: deque[tuple[bytes, bool]] = deque()
        self._events: deque[ClientEvent] = deque()
        self._listing = ListingPages(timeout_ns)
        self._nonce = b""
        self._pair = key_pair(self._draw(b"private"))
        self._token, self._has_retried = bytes(TOKEN_SIZE), False
        self._pending: Offer | None = None
        self._candidate: ClientSession | None = None
        self._request = b""
        self._tries, self._retry_ns, self._heard_ns = 0, now_ns, now_ns
        self._has_stopped, self.reporter = False, Reporter(now_ns)
        self._stop_packet, self._stop_limit_ns = (StopReason.DONE, 0), 0

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
        elif isinstance(record, Hello | Request) or record.nonce != self._nonce:
            self.rejects.add(Reject.OUT_OF_PLACE)
        elif isinstance(record, Offer):
            self._handle_offer(record, now_ns)
        elif isinstance(record, Listing):
            self._handle_listing(record, now_ns)
        elif isinstance(record, Retry):
            self._handle_retry(record)
        else:
            self._handle_refusal(record.reason, now_ns)

    def handle_unreachable(self) -> None:
        """The host says that nobody listens on the port."""
        if not self.was_answered and not self._wait and self.state is ClientState.SEARCHING:
            self._fail(Failure.UNREACHABLE)

    def find_session(self, session_id: int) -> ClientSession | None:
        """The session of a data packet: the one that streams, or the one that was asked for."""
        for session in (self.session, self._candidate):
            if session is not None and session.session_id == session_id:
                return session
        return None

    def handle_data(self, session: ClientSession, timestamp_us: int, rtt_us: int, now_ns: int) -> None:
        """Authentic data packets of `session` arrived, counted by its counter; the latest of them told these times."""
        session.note_arrival(timestamp_us, rtt_us, now_ns)
        self.reporter.note_arrivals(session)
        self._hear(session, now_ns)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: retries, reports, heartbeats, giving up."""
        if self.state is ClientState.CLOSED:
            return
        if self.state is ClientState.STOPPING:
            self._retry_stop(now_ns)
            return
        if now_ns - self._heard_ns >= self._timeout_ns and not self._wait:
            self._give_up()
            return
        if self.state is ClientState.RECEIVING:
            if now_ns - self._heard_ns >= min(SILENT_NS, self._timeout_ns // 2):
                self._search_again("the server is silent", now_ns)
            else:
                self._beat(now_ns)
        elif now_ns >= self._retry_ns and not self._is_offering:
            self._retry(now_ns)

    # --- What the application asks -------------------------------------------------------------------------

    def request(self, blocks: BlockTable, now_ns: int) -> None:
        """Ask for the stream of the offered object; `blocks` says, from session to session, what is held."""
        assert self._pending is not None
        if self.offer is None:
            self._heard_ns = now_ns  # Opening a part may have taken its time.
        self.offer, self.blocks = self._pending.body, blocks
        done = blocks.done.page(0, REQUEST_RUN_COUNT_MAX)
        body = RequestBody(self._peer_id, blocks.open_limit, blocks.manifest_known, self._host, done)
        asked = ask(self._pending, body, open=self._open, pair=self._pair, key=self._key)
        if asked is None:
            self.rejects.add(Reject.BAD_FIELD)
            self._doubt_offer()
            return
        self._candidate, self._request = asked
        self.state = ClientState.REQUESTING
        self._tries = 0
        self._retry(now_ns)

    def decline(self, now_ns: int) -> None:
        """The Offer cannot be true: ask for another."""
        self._nonce, self._pending, self._tries = b"", None, 0
        self._retry(now_ns)

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """End the stream and tell the server."""
        if self.session is None:
            self.session = self._candidate
        if self.session is None or self.state in (ClientState.STOPPING, ClientState.CLOSED):
            self.state = ClientState.CLOSED
            return
        # A server that is being searched for will hardly answer: tell it once.
        patience_ns = 0 if self.state is ClientState.SEARCHING else STOP_LIMIT_NS
        self.state = ClientState.STOPPING
        self._stop_packet = (reason, self.session.counter.received_count)
        self._stop_limit_ns = now_ns + STOP_LIMIT_NS
        self._tries, self._retry_ns = 0, now_ns
        self._retry_stop(now_ns)
        self._stop_limit_ns = now_ns + patience_ns

    def reconnect(self, reason: str, now_ns: int) -> None:
        """Leave the stream for a new one, which begins from what is held now."""
        if self.state is ClientState.RECEIVING:
            self.session = None
            self._search_again(reason, now_ns)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> tuple[bytes, bool] | None:
        """A packet to send, and whether to the server's data port."""
        return self._datagrams.popleft() if self._datagrams else None

    def poll_event(self) -> ClientEvent | None:
        """What the application should know."""
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> int:
        """When to come back at the latest."""
        if self.state is ClientState.CLOSED:
            return 1 << 62  # Never.
        if self.state is ClientState.RECEIVING:
            return min(self.reporter.due_ns, self._heard_ns + min(SILENT_NS, self._timeout_ns // 2))
        if self.state is ClientState.STOPPING:
            return min(self._retry_ns, self._stop_limit_ns)
        if self._wait:
            return self._retry_ns
        return min(self._retry_ns, self._heard_ns + self._timeout_ns)

    @property
    def _is_offering(self) -> bool:
        """Whether the application has an offer to look at: no new Hello may make it void meanwhile."""
        return self.state is ClientState.SEARCHING and self._pending is not None and self.blocks is None

    # --- Inside --------------------------------------------------------------------------------------------

    def _draw(self, label: bytes) -> bytes:
        self._draw_count += 1
        return derive(self._secret, label, self._draw_count)

    def _hear(self, session: ClientSession, now_ns: int) -> None:
        self._heard_ns = now_ns
        if session is self._candidate:
            self.session, self._candidate = session, None
            self.all_sessions.append(session)
        if self.state in (ClientState.REQUESTING, ClientState.SEARCHING):
            self.state = ClientState.RECEIVING
            self.was_connected = True
            self._has_stopped = False
            self.reporter.soon(now_ns)
            self._events.append(ClientEvent("connected"))

    def _retry(self, now_ns: int) -> None:
        if self.state is ClientState.REQUESTING and self._tries >= REQUEST_TRIES_MAX:
            self._doubt_offer()
        if self.state is ClientState.REQUESTING:
            self._datagrams.append((self._request, True))
            self._retry_ns = now_ns + (REQUEST_INTERVAL_NS << self._tries)
        else:
            self._send_hello()
            self._has_retried = False
            self._retry_ns = now_ns + min(HELLO_INTERVAL_NS << min(self._tries, 8), HELLO_INTERVAL_MAX_NS)
        self._tries += 1

    def _doubt_offer(self) -> None:
        """No answer to the Request. If there never was one, the Offer may have been damaged: look at a new one."""
        self.state, self._tries = ClientState.SEARCHING, 0
        if not self.was_connected:
            self.blocks = self._candidate = None

    def _send_hello(self) -> None:
        if not self._nonce or self._pending is not None:
            self._pair = key_pair(self._draw(b"private"))
            self._nonce, _ = names_of(self._pair[1])
            self._pending = None
        if self.offer is not None and self.blocks is not None:
            hello = Hello(self._nonce, Want.OBJECT, self.offer.object_id, self._token)
        elif self._want_kind is Want.ANY:
            hello = Hello(self._nonce, Want.ANY, self._listing.page.to_bytes(32, "big"), self._token)
        else:
            hello = Hello(self._nonce, self._want_kind, self._want, self._token)
        self._datagrams.append((hello.encode(), False))

    def _handle_retry(self, retry: Retry) -> None:
        """Show the server that its answers arrive here; once for each Hello that was due, whatever it answers."""
        if self.state is ClientState.SEARCHING and self._pending is None and not self._has_retried:
            self._token, self._has_retried = retry.token, True
            self._send_hello()

    def _handle_offer(self, offer: Offer, now_ns: int) -> None:
        if self.state is not ClientState.SEARCHING or self._pending is not None:
            return
        held = None if self.blocks is None else self.offer
        if not is_wanted(offer.body, held, self._want_kind, self._want):
            self.rejects.add(Reject.OUT_OF_PLACE)
            return
        self._answered(now_ns)
        if offer.body.open != self._open:
            self._fail(Failure.SEAL, offer=offer.body)
            return
        self._pending = offer
        if self.blocks is not None:
            self.request(self.blocks, now_ns)
        else:
            self._events.append(ClientEvent("offered", offer=offer.body))

    def _answered(self, now_ns: int) -> None:
        self.was_answered = True
        if self.offer is None:  # Later answers do not keep a transfer alive that gets no data.
            self._heard_ns = now_ns

    def _handle_listing(self, listing: Listing, now_ns: int) -> None:
        if self.state is not ClientState.SEARCHING or self.blocks is not None or self._want_kind is not Want.ANY:
            return
        if not self._listing.take(listing, now_ns):
            self.rejects.add(Reject.OUT_OF_PLACE)
            return
        self._answered(self._listing.heard_ns(now_ns))
        if self._listing.is_complete:
            self.state = ClientState.CLOSED
            self._events.append(ClientEvent("listed", entries=tuple(self._listing.entries)))
        else:
            self._tries = 0
            self._retry(now_ns)

    def _handle_refusal(self, reason: RefusalReason, now_ns: int) -> None:
        if self.state is ClientState.REQUESTING and reason is RefusalReason.STALE_COOKIE:
            self._doubt_offer()
            self._retry(now_ns)
        elif self.was_connected and reason is RefusalReason.NO_SUCH_OBJECT:
            return  # Another server may still come back with it.
        elif self.state in (ClientState.REQUESTING, ClientState.SEARCHING):
            self._fail(Failure.REFUSED, refusal=reason)

    def _handle_session_packet(self, data: bytes, packet_type: PacketType, flags: int, now_ns: int) -> None:
        header = SessionHeader.parse(data, packet_type, flags)
        if isinstance(header, Reject):
            self.rejects.add(header)
            return
        session = self.find_session(header.session)
        if session is None:
            self.rejects.add(Reject.UNKNOWN_SESSION)
            return
        body = session.open_packet(header, data[:SESSION_HEADER_SIZE], data[SESSION_HEADER_SIZE:])
        record = body if isinstance(body, Reject) else parse_body(packet_type, body)
        if isinstance(record, Reject):
            self.rejects.add(record)
        elif isinstance(record, Bye):
            self._handle_bye(record, now_ns)
        elif isinstance(record, Echo):
            self._hear(session, now_ns)
            if packet_type is PacketType.PING:
                self._datagrams.append((session.seal_packet(PacketType.PONG, record.encode()), False))
        elif isinstance(record, StopAck) and self.state is ClientState.STOPPING:
            self.state = ClientState.CLOSED
        else:
            self.rejects.add(Reject.OUT_OF_PLACE)

    def _handle_bye(self, bye: Bye, now_ns: int) -> None:
        if self.state is ClientState.STOPPING:
            self.state = ClientState.CLOSED
        elif (failure := BYE_FAILURES.get(bye.reason)) is not None:
            self._fail(failure)
        elif self.state in (ClientState.RECEIVING, ClientState.REQUESTING):
            self._heard_ns = now_ns
            self.was_connected = True
            self.session = None  # What still comes of it says nothing of a server that is there.
            self._has_stopped = bye.reason is ByeReason.STOPPING
            self._search_again(BYE_PHRASES[bye.reason], now_ns)

    def _search_again(self, reason: str, now_ns: int) -> None:
        self.state = ClientState.SEARCHING
        self._candidate, self._nonce, self._tries = None, b"", 0
        self._events.append(ClientEvent("reconnecting", reason=reason))
        self._retry(now_ns)

    def _give_up(self) -> None:
        if self.was_connected:
            failure = Failure.STOPPED if self._has_stopped else Failure.SILENCE
        else:
            failure = Failure.NO_DATA if self.was_answered else Failure.NOBODY
        self._fail(failure, offer=self.offer)

    def _fail(self, failure: Failure, refusal: RefusalReason | None = None, offer: OfferBody | None = None) -> None:
        self.state = ClientState.CLOSED
        self._events.append(ClientEvent("failed", failure=failure, refusal=refusal, offer=offer))

    def _beat(self, now_ns: int) -> None:
        assert self.session is not None
        assert self.blocks is not None
        ping = self.reporter.keepalive(self.session, now_ns)
        if ping is not None:
            self._datagrams.append((ping, True))
        report = self.reporter.report(self.session, self.blocks, self.kernel_drop_count, now_ns)
        if report is not None:
            self._datagrams.append((report, False))

    def _retry_stop(self, now_ns: int) -> None:
        if now_ns >= self._stop_limit_ns:
            self.state = ClientState.CLOSED
        elif now_ns >= self._retry_ns and self.session is not None:
            packet = self.session.seal_packet(PacketType.STOP, Stop(*self._stop_packet).encode())
            self._datagrams.append((packet, False))
            self._retry_ns = now_ns + STOP_INTERVAL_NS * (1 + self._tries)
            self._tries += 1
