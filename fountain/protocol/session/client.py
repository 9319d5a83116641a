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
   so the next is `offered` anew.
3. RECEIVING reports as its `Reporter` says. Silence for SILENT_NS, a Bye, or nothing new for half of the time-out (at
   most STALL_NS) leads back to SEARCHING for the same object; symbols held stay useful, whatever session brought them.
   A stream that comes back by itself is welcome until a new one has begun; one that stood still must bring something
   new.
4. Without progress for `timeout_ns` the fetch fails, or, with `wait`, says once what is wrong and goes on
   (`fountain.protocol.session.patience`). Refusals and listings are hints: they end a fetch that never had a stream a
   second later, unless an Offer or the stream contradicts them, and with `wait` never.
5. A port that is reported unreachable fails at once, but only before the first Offer.
6. Pings that tell of data packets, none of which come, mean that those are too large for the way here: a new session
   has them in parts.
7. STOPPING repeats Stop until its acknowledgement, a few times, never for longer than STOP_LIMIT_NS: CLOSED.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fountain.integrity import derive, digest, key_pair
from fountain.limits import DATA_OVERHEAD_SIZE, DATAGRAM_SIZE_SAFE, NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.transmit import Port, Transmit
from fountain.protocol.session.client_events import (
    BYE_FAILURES,
    BYE_INTERRUPTIONS,
    ClientEvent,
    ClientState,
    Failure,
    FetchFailed,
    FetchHindered,
    Interruption,
    ListingReceived,
    OfferReceived,
    PartsRequested,
    ServerPreparing,
    StreamLost,
    StreamOpened,
)
from fountain.protocol.session.client_session import ClientSession, ask, is_alike, is_wanted
from fountain.protocol.session.listing import ListingPages
from fountain.protocol.session.offers import Offers
from fountain.protocol.session.patience import Hint, Patience
from fountain.protocol.session.reporter import Reporter
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
from fountain.wire.parts import part_count_for
from fountain.wire.reject import Reject, RejectCounter
from fountain.wire.session import (
    REQUEST_RUN_COUNT_MAX,
    SESSION_HEADER_SIZE,
    Bye,
    ByeReason,
    Ping,
    Pong,
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
RIVAL_TRIES_MAX = 2  # The same where another Offer waits for its turn.
SILENT_NS = 2 * NS  # Four missed heartbeats of the server.
STALL_NS = 5 * NS  # Packets come, but nothing new: ask the control port whether the server hears anything.
STALL_NS_MAX = 60 * NS  # Each time it helped nothing it is asked half as often.
STALE_WAIT_NS = NS // 10  # After a Refusal: a stream that contradicts it has so long to come.
LIVELY_COUNT = 32  # A server that cannot go on sends no more than a first window.
STOP_INTERVAL_NS = NS // 20
STOP_LIMIT_NS = NS * 6 // 10
_UNTOLD = {Failure.NOBODY, Failure.SILENCE, Failure.STOPPED}  # For these one waits, and sees that it does.


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
        self.patience = Patience(timeout_ns, now_ns)
        self.rejects = RejectCounter()
        self.kernel_drop_count = 0
        self.reporter = Reporter(now_ns)
        self.datagram_size_max = 0  # the largest that arrives here, as far as is known; 0: any
        self._part_count = 1  # of the packets of the session that was asked for last
        self._secret, self._draw_count = secret, 0
        self._want_kind, self._want = want_kind, want
        self._open, self._wait = open, wait
        self._peer_id, self._host, self._key = peer_id, host, key
        self._datagrams: deque[Transmit[Port]] = deque()
        self._events: deque[ClientEvent] = deque()
        self._listing = ListingPages(timeout_ns)
        self._offers = Offers()
        self._offered_ns: int | None = None  # since when the application looks at an Offer
        self._token, self._has_retried = bytes(TOKEN_SIZE), False
        self._candidate: ClientSession | None = None
        self._request = b""
        self._tries, self._retry_ns = 0, now_ns
        self._due_ns = NEVER_NS  # as it was asked for
        self._history = _StreamHistory(now_ns)
        self._earlier_counts = (0, 0)  # packets received and expected, of sessions that are over
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
        elif isinstance(record, Hello | Request) or not self._offers.knows(record.nonce):
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
        if not self.patience.was_answered and not self._wait and self.state is ClientState.SEARCHING:
            self._fail(Hint(Failure.UNREACHABLE))

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
        self.patience.has_data = True
        self._hear(session, now_ns, is_data=True)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: retries, reports, heartbeats, giving up."""
        if self.state is ClientState.CLOSED or self._offered_ns is not None:
            return
        if self.state is ClientState.STOPPING:
            self._retry_stop(now_ns)
            return
        if self.patience.excuse(now_ns - self._due_ns, now_ns) and self.session is not None:
            self.session.excuse_missing()
        self._note_gain(now_ns)
        is_due = now_ns >= min(self.patience.end_ns, self._stall_at_ns)
        if is_due and self.blocks is not None and self.blocks.is_busy:
            self.patience.pause(now_ns)
        if now_ns >= self.patience.end_ns and self._give_up(now_ns):
            return
        if self.state is ClientState.RECEIVING and self._is_silent(now_ns):
            self._search_again(Interruption.SILENCE, now_ns)
        elif self.state is ClientState.RECEIVING and now_ns >= self._stall_at_ns:
            self._history.stall_count += 1
            self._history.is_stalled = self._history.is_suspect = True
            self._search_again(Interruption.STALL, now_ns)
        elif self._may_want_parts:
            self.datagram_size_max = DATAGRAM_SIZE_SAFE
            self.reconnect(Interruption.NO_DATA, now_ns)
        elif self.state is not ClientState.RECEIVING and now_ns >= self._retry_ns:
            self._retry(now_ns)
        self._beat(now_ns)

    # --- What the application asks -------------------------------------------------------------------------

    def request(self, blocks: BlockTable, now_ns: int) -> None:
        """Ask for the stream of the offered object; `blocks` says, from session to session, what is held."""
        offer = self._offers.current
        if offer is None:
            return  # The stream of an earlier Request has come after all.
        self._end_looking(now_ns)
        self.offer, self.blocks = offer.body, blocks
        self._history.gain_count = blocks.gain_count
        done = blocks.done.page(0, REQUEST_RUN_COUNT_MAX)
        part_count = part_count_for(self._packet_size, self.datagram_size_max)
        body = RequestBody(self._peer_id, blocks.open_limit, blocks.manifest_known, self._host, done, part_count)
        asked = ask(offer, body, open=self._open, pair=self._offers.pair(offer.nonce), key=self._key)
        if asked is None:
            self.rejects.add(Reject.BAD_FIELD)
            self._doubt_offer(now_ns)
            return
        self._candidate, self._request = asked
        if part_count > max(1, self._part_count):
            self._events.append(PartsRequested(self.offer, part_count))
        self._part_count = part_count
        self.state = ClientState.REQUESTING
        self._tries = 0
        self._retry(now_ns)

    def decline(self, now_ns: int) -> None:
        """The Offer cannot be true, or cannot be taken here: look at another."""
        self._end_looking(now_ns)
        self._doubt_offer(now_ns)

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """End the stream and tell the server."""
        self._offered_ns = None
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

    def reconnect(self, reason: Interruption, now_ns: int) -> None:
        """Leave the stream for a new one, which begins from what is held now."""
        if self.state is ClientState.RECEIVING:
            self._follow(None)
            self._search_again(reason, now_ns)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> Transmit[Port] | None:
        """A control packet to send."""
        return self._datagrams.popleft() if self._datagrams else None

    def poll_event(self) -> ClientEvent | None:
        """What the application should know."""
        return self._events.popleft() if self._events else None

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest. Whoever comes later has done something else, or was stopped meanwhile."""
        if self.state is ClientState.CLOSED or self._offered_ns is not None:
            self._due_ns = NEVER_NS
        elif self.state is ClientState.STOPPING:
            self._due_ns = min(self._retry_ns, self._stop_limit_ns)
        else:
            due_ns = self._retry_ns
            if self.state is ClientState.RECEIVING:
                due_ns = min(self.patience.heard_ns + self._silent_ns, self._stall_at_ns)
            if self._is_beating:
                due_ns = min(due_ns, self.reporter.due_ns)
            self._due_ns = min(due_ns, self.patience.end_ns)
        return max(now_ns, self._due_ns)

    @property
    def received_count(self) -> int:
        """Authentic data packets of all sessions."""
        return self._earlier_counts[0] + (self.session.counter.received_count if self.session is not None else 0)

    @property
    def expected_count(self) -> int:
        """Data packets of all sessions that were sent here, as far as those that came tell."""
        return self._earlier_counts[1] + (self.session.counter.expected if self.session is not None else 0)

    # --- Inside --------------------------------------------------------------------------------------------

    def _draw(self, label: bytes) -> bytes:
        self._draw_count += 1
        return derive(self._secret, label, self._draw_count)

    @property
    def _silent_ns(self) -> int:
        return min(SILENT_NS, self.patience.timeout_ns // 2)

    def _is_silent(self, now_ns: int) -> bool:
        return now_ns - self.patience.heard_ns >= self._silent_ns

    @property
    def _stall_ns(self) -> int:
        return min(STALL_NS, self.patience.timeout_ns // 2)

    @property
    def _stall_at_ns(self) -> int:
        """When a stream that brings nothing new is doubted."""
        if self.state is not ClientState.RECEIVING:
            return NEVER_NS
        since_ns = max(self.patience.advanced_ns, self._history.renewed_ns)
        return since_ns + min(self._stall_ns << min(self._history.stall_count, 8), STALL_NS_MAX)

    @property
    def _is_beating(self) -> bool:
        """Whether Reports go out: to a stream, also while it is doubted."""
        is_doubted = self._history.is_stalled and self.state is not ClientState.STOPPING
        return self.session is not None and (self.state is ClientState.RECEIVING or is_doubted)

    def _note_gain(self, now_ns: int) -> bool:
        """Whether something came that was missing. That is progress, unless each stream brings a little and ends."""
        blocks, progress = self.blocks, self._history
        if blocks is None or blocks.gain_count == progress.gain_count:
            return False
        progress.gain_count = blocks.gain_count
        # Longer than the server streams without a Report, and short enough for one such stream after a stall.
        lasting_ns = min(STALL_NS, self.patience.timeout_ns * 5 // 4)
        is_steady = now_ns - progress.renewed_ns >= lasting_ns or progress.is_lively
        if is_steady:
            progress.stall_count, progress.is_suspect = 0, False
        self.patience.advance(now_ns, is_steady=is_steady)
        return True

    def _follow(self, session: ClientSession | None) -> None:
        """`session` is the one that streams from now on."""
        self._earlier_counts = self.received_count, self.expected_count
        self.session = session

    def _hear(self, session: ClientSession, now_ns: int, *, is_data: bool = False) -> None:
        self.patience.heard_ns = now_ns
        self.patience.connected(now_ns)
        progress = self._history
        if session is self._candidate:
            self._follow(session)
            self._candidate, self._offered_ns = None, None
            self._offers.clear()
            progress.renew(now_ns)
        has_gained = is_data and self._note_gain(now_ns)
        if progress.is_stalled and not has_gained:
            return
        progress.is_stalled = False
        if self.state in (ClientState.REQUESTING, ClientState.SEARCHING):
            self.state = ClientState.RECEIVING
            self.patience.has_stopped = False
            self.reporter.resume(now_ns)
            self._events.append(StreamOpened())

    def _retry(self, now_ns: int) -> None:
        if self.state is ClientState.REQUESTING:
            if self._tries < (RIVAL_TRIES_MAX if self._offers.has_rivals else REQUEST_TRIES_MAX):
                self._datagrams.append(Transmit(self._request, Port.DATA))
                self._retry_ns = now_ns + (REQUEST_INTERVAL_NS << self._tries)
                self._tries += 1
                return
            self.state, self._tries = ClientState.SEARCHING, 0
            if self._look_at_next(now_ns):
                return
        self._send_hello()
        self._has_retried = False
        self._retry_ns = now_ns + min(HELLO_INTERVAL_NS << min(self._tries, 8), HELLO_INTERVAL_MAX_NS)
        self._tries += 1

    def _doubt_offer(self, now_ns: int) -> None:
        """The Offer is of no use. Another has its turn, or is asked for soon: the true one may be on its way."""
        self.state = ClientState.SEARCHING
        if not self._look_at_next(now_ns):
            self._retry_ns = now_ns + HELLO_INTERVAL_NS

    def _look_at_next(self, now_ns: int) -> bool:
        """Follow the Offer that has waited longest, if there is one."""
        offer = self._offers.next()
        if offer is not None:
            self._look_at(offer, now_ns)
        return offer is not None

    def _look_at(self, offer: Offer, now_ns: int) -> None:
        """Follow an Offer. Until data has come nothing vouched for any, so the application looks at each."""
        if self.patience.was_connected and self.blocks is not None:
            self.request(self.blocks, now_ns)
            return
        if self.offer is not None and not is_alike(offer.body, self.offer):
            self._candidate = None  # Its symbols would be those of another object.
        self._offered_ns = now_ns
        self._events.append(OfferReceived(offer.body))

    def _end_looking(self, now_ns: int) -> None:
        if self._offered_ns is not None:
            self.patience.excuse(now_ns - self._offered_ns, now_ns)
            self._offered_ns = None

    def _send_hello(self) -> None:
        pair = key_pair(self._draw(b"private")) if self._offers.needs_pair else None
        nonce = self._offers.ask(pair)
        if self.patience.was_connected and self.offer is not None:
            wanted = Want.OBJECT, self.offer.object_id
            if self.patience.is_replaced and self._tries % 2:
                wanted = Want.NAME, digest(self.offer.name.encode())  # What is there instead?
        elif self._want_kind is Want.ANY:
            wanted = Want.ANY, self._listing.page.to_bytes(32, "big")
        else:
            wanted = self._want_kind, self._want
        hello = Hello(nonce, *wanted, self._token)
        self._datagrams.append(Transmit(hello.encode(), Port.CONTROL))

    def _handle_retry(self, retry: Retry) -> None:
        """Show the server that its answers arrive here; once for each Hello that was due, whatever it answers."""
        if self.state is ClientState.SEARCHING and self._offered_ns is None and not self._has_retried:
            self._token, self._has_retried = retry.token, True
            self._send_hello()

    def _handle_offer(self, offer: Offer, now_ns: int) -> None:
        if self.state not in (ClientState.SEARCHING, ClientState.REQUESTING):
            return
        held = self.offer if self.patience.was_connected else None
        if not is_wanted(offer.body, held, self._want_kind, self._want):
            self.rejects.add(Reject.OUT_OF_PLACE)
            if held is not None and self.patience.is_replaced and offer.body.name == held.name:
                self.patience.note_instead(offer.body)
            return
        if offer.body.open != self._open:
            self.patience.suspect(Hint(Failure.SEAL, offer=offer.body), now_ns)
            return
        self.patience.answered(now_ns)
        if self._offers.take(offer):
            self._look_at(offer, now_ns)

    def _handle_listing(self, listing: Listing, now_ns: int) -> None:
        is_asked = self._want_kind is Want.ANY and not self.patience.was_connected
        if self.state is not ClientState.SEARCHING or self._offered_ns is not None or not is_asked:
            return
        if not self._listing.take(listing, now_ns):
            self.rejects.add(Reject.OUT_OF_PLACE)
            return
        self.patience.answered(now_ns)
        self.patience.advance(self._listing.heard_ns(now_ns))
        if self._listing.is_complete:
            self.patience.suspect(Hint(Failure.LISTED), now_ns)
        else:
            self._tries = 0
            self._retry(now_ns)

    def _handle_refusal(self, reason: RefusalReason, now_ns: int) -> None:
        """Anybody can refuse: the stream, or an Offer, may still contradict it."""
        if reason is RefusalReason.PREPARING:
            if self.state is ClientState.SEARCHING and self._offered_ns is None and self.patience.prepares(now_ns):
                self._events.append(ServerPreparing())
            self._retry_ns = now_ns + min(NS, self.patience.timeout_ns // 4)
            return
        if self.state is ClientState.REQUESTING:
            self._tries = REQUEST_TRIES_MAX
            self._retry_ns = now_ns + STALE_WAIT_NS
            if reason is RefusalReason.STALE_COOKIE:
                return
            self._retry_ns = now_ns + min(HELLO_INTERVAL_NS << self._history.refused_count, HELLO_INTERVAL_MAX_NS)
            self._history.refused_count = min(self._history.refused_count + 1, 8)
            self.patience.suspect(Hint(Failure.REFUSED, reason, is_late=True), now_ns)
        elif self.state is ClientState.SEARCHING and self._offered_ns is None:
            self.patience.suspect(Hint(Failure.REFUSED, reason), now_ns)

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
        elif isinstance(record, Ping):
            self._hear(session, now_ns)
            pong = session.seal_packet(PacketType.PONG, Pong(record.token).encode())
            self._datagrams.append(Transmit(pong, Port.CONTROL))
            session.note_ping(record.sent_count, now_ns)
            self.patience.was_sent_data |= record.sent_count > 0
        elif isinstance(record, Pong):
            self._hear(session, now_ns)
        elif isinstance(record, StopAck) and self.state is ClientState.STOPPING:
            self.state = ClientState.CLOSED
        else:
            self.rejects.add(Reject.OUT_OF_PLACE)

    @property
    def _may_want_parts(self) -> bool:
        """Whether small packets arrive and no large ones, and smaller ones can be asked for."""
        session, blocks = self.session, self.blocks
        if self.state is not ClientState.RECEIVING or session is None or not session.is_missing_all:
            return False
        can_be_smaller = part_count_for(self._packet_size, DATAGRAM_SIZE_SAFE) > self._part_count
        return blocks is not None and blocks.is_lacking and can_be_smaller

    @property
    def _packet_size(self) -> int:
        return 0 if self.offer is None else self.offer.symbol_size + DATA_OVERHEAD_SIZE

    def _handle_bye(self, bye: Bye, now_ns: int) -> None:
        if self.state is ClientState.STOPPING:
            self.state = ClientState.CLOSED
            return
        self.patience.heard_ns = now_ns
        self.patience.connected(now_ns)
        if (failure := BYE_FAILURES.get(bye.reason)) is not None:
            self._fail(Hint(failure))
            return
        self.patience.has_stopped = bye.reason is ByeReason.STOPPING
        if self.blocks is not None:
            is_short = now_ns - self._history.renewed_ns < SILENT_NS or self._candidate is not None
            has_done = self._history.note_done(self.blocks)
            self.patience.cut_count = self.patience.cut_count + 1 if is_short and not has_done else 0
        self._history.is_suspect = True
        self._follow(None)  # What still comes of it says nothing of a server that is there.
        wait_ns = HELLO_INTERVAL_NS << min(self.patience.cut_count - 2, 3) if self.patience.cut_count > 1 else 0
        self._search_again(BYE_INTERRUPTIONS[bye.reason], now_ns, wait_ns)

    def _search_again(self, reason: Interruption, now_ns: int, wait_ns: int = 0) -> None:
        self.state = ClientState.SEARCHING
        self._candidate, self._offered_ns = None, None
        self._offers.clear()
        self._tries, self._retry_ns = 0, now_ns + wait_ns
        self._events.append(StreamLost(reason))
        if not wait_ns:
            self._retry(now_ns)

    def _give_up(self, now_ns: int) -> bool:
        """Patience is at its end: whether the fetch is."""
        hint = self.patience.verdict(is_silent=self._is_silent(now_ns))
        if hint.failure is Failure.LISTED:
            self.state = ClientState.CLOSED
            self._events.append(ListingReceived(tuple(self._listing.entries)))
        elif not self._wait:
            self._fail(hint)
        else:
            if hint.failure not in _UNTOLD and self.patience.tell_once(hint):
                self._events.append(self._trouble(FetchHindered, hint))
            self.patience.renew(now_ns)
            return False
        return True

    def _fail(self, hint: Hint) -> None:
        self.state = ClientState.CLOSED
        self._events.append(self._trouble(FetchFailed, hint))

    def _trouble(self, event: type[FetchFailed | FetchHindered], hint: Hint) -> ClientEvent:
        offer = hint.offer or (None if hint.failure is Failure.REPLACED else self.offer)
        return event(hint.failure, hint.refusal, offer, self.patience.has_data)

    def _beat(self, now_ns: int) -> None:
        if not self._is_beating:
            return
        assert self.session is not None
        assert self.blocks is not None
        ping = self.reporter.keepalive(self.session, now_ns)
        if ping is not None:
            self._datagrams.append(Transmit(ping, Port.DATA))
        report = self.reporter.report(self.session, self.blocks, self.kernel_drop_count, now_ns)
        if report is not None:
            self._datagrams.append(Transmit(report, Port.CONTROL))

    def _retry_stop(self, now_ns: int) -> None:
        if now_ns >= self._stop_limit_ns:
            self.state = ClientState.CLOSED
        elif now_ns >= self._retry_ns and self.session is not None:
            packet = self.session.seal_packet(PacketType.STOP, Stop(*self._stop_packet).encode())
            self._datagrams.append(Transmit(packet, Port.CONTROL))
            self._retry_ns = now_ns + STOP_INTERVAL_NS * (1 + self._tries)
            self._tries += 1


@dataclass
class _StreamHistory:
    """What a client remembers of its streams, to see whether they lead anywhere."""

    renewed_ns: int  # when the latest stream began
    renewed_count: int = 0  # the table's gains then
    stream_count: int = 0
    gain_count: int = 0  # the table's, when it was last looked at
    done_count: int = 0  # blocks, and the manifest
    stall_count: int = 0  # streams in a row that were doubted in vain
    is_stalled: bool = False
    is_suspect: bool = False  # The latest stream follows one that stood still, or that the server ended.
    refused_count: int = 0  # Requests in a row that were refused

    def renew(self, now_ns: int) -> None:
        """A stream has begun."""
        self.renewed_ns, self.refused_count = now_ns, 0
        self.is_stalled = False
        self.renewed_count = self.gain_count
        self.stream_count += 1

    @property
    def is_lively(self) -> bool:
        """Whether the latest stream brings as much as one that goes on, however short it is yet."""
        is_enough = self.stream_count <= 1 or self.gain_count - self.renewed_count > LIVELY_COUNT
        return is_enough and not self.is_suspect

    def note_done(self, blocks: BlockTable) -> bool:
        """Whether a block was done since this was last asked."""
        done_count = blocks.done.count + len(blocks.manifest_done) + blocks.manifest_known
        has_done, self.done_count = done_count > self.done_count, done_count
        return has_done
