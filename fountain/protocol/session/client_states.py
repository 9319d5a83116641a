"""The states of a client: what it does in each, and which state is next.

Methods as of `fountain.protocol.session.client`, where the rules stand. Each gives the state in which the client is
afterwards: itself, or a new one. A state holds its own fields alone; what outlives it is in `ClientCommon`.
"""

from __future__ import annotations

from typing import ClassVar

from fountain.integrity import digest
from fountain.limits import DATAGRAM_SIZE_SAFE, NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client_common import ClientCommon
from fountain.protocol.session.client_events import (
    BYE_FAILURES,
    BYE_INTERRUPTIONS,
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
from fountain.protocol.session.client_session import ask, is_alike
from fountain.protocol.session.pairing import PairKey
from fountain.protocol.session.patience import Hint
from fountain.wire.control import TOKEN_SIZE, Hello, Listing, Offer, PacketType, RefusalReason, Retry, Want
from fountain.wire.parts import part_count_for
from fountain.wire.reject import Reject
from fountain.wire.session import REQUEST_RUN_COUNT_MAX, Bye, ByeReason, RequestBody, Stop, StopReason

__all__ = [
    "AskingState",
    "ClosedState",
    "LiveState",
    "ReceivingState",
    "RequestingState",
    "SearchingState",
    "State",
    "StoppingState",
]

HELLO_WAIT_NS = NS // 4
HELLO_WAIT_MAX_NS = 2 * NS
REQUEST_INTERVAL_NS = NS // 4
REQUEST_TRIES_MAX = 4  # Then the cookie may be stale, or the server another one: ask again from the start.
RIVAL_TRIES_MAX = 2  # The same where another Offer waits for its turn.
STALE_WAIT_NS = NS // 10  # After a Refusal: a stream that contradicts it has so long to come.
STOP_INTERVAL_NS = NS // 20
STOP_LIMIT_NS = NS * 6 // 10
_NOTHING_CAME = {Failure.NO_DATA, Failure.CUT_OFF, Failure.SILENCE}
_EXPECTED = {Failure.NOBODY, Failure.SILENCE, Failure.STOPPED}  # These are what a client waits for that never gives up.


class State:
    """A state in which nothing that happens matters. The classes below say what does matter in theirs."""

    name: ClassVar[ClientState]

    def __init__(self, common: ClientCommon) -> None:
        self._common = common

    @property
    def is_beating(self) -> bool:
        """Whether Reports go out."""
        return False

    @property
    def due_ns(self) -> int:
        """When to come back at the latest."""
        return NEVER_NS

    def handle_offer(self, offer: Offer, now_ns: int) -> State:
        """An Offer that answers a Hello of ours."""
        return self

    def handle_listing(self, listing: Listing, now_ns: int) -> State:
        """A page of the server's listing."""
        return self

    def handle_retry(self, retry: Retry, now_ns: int) -> State:
        """The server wants a Hello with a token."""
        return self

    def handle_refusal(self, reason: RefusalReason, now_ns: int) -> State:
        """Anybody can refuse: the stream, or an Offer, may still contradict it."""
        return self

    def handle_false_proof(self, now_ns: int) -> State:
        """A server that was asked is not the right one."""
        return self

    def handle_stream(self, now_ns: int) -> State:
        """An authentic packet came of a stream that does not stand still."""
        return self

    def handle_bye(self, bye: Bye, now_ns: int) -> State:
        """The server has ended the session."""
        return self

    def handle_stop_ack(self) -> State:
        """The server acknowledges a Stop."""
        self._common.rejects.add(Reject.OUT_OF_PLACE)
        return self

    def handle_unreachable(self) -> State:
        """The host says that nobody listens on the port."""
        return self

    def handle_timeout(self, late_ns: int, now_ns: int) -> State:
        """Let time pass; this comes `late_ns` after it was due."""
        return self

    def request(self, blocks: BlockTable, now_ns: int) -> State:
        """The application wants the object that is offered."""
        return self

    def decline(self, now_ns: int) -> State:
        """The application does not want it."""
        return self

    def stop(self, reason: StopReason, now_ns: int) -> State:
        """The application ends the fetch."""
        return ClosedState(self._common)

    def reconnect(self, reason: Interruption, now_ns: int) -> State:
        """The application wants a new stream."""
        return self


class ClosedState(State):
    """The fetch is over."""

    name = ClientState.CLOSED


class StoppingState(State):
    """Stop goes out until `limit_ns`, or its acknowledgement."""

    name = ClientState.STOPPING

    def __init__(self, common: ClientCommon, stop: Stop, limit_ns: int) -> None:
        super().__init__(common)
        self._body = stop.encode()
        self._limit_ns = limit_ns
        self._tries, self._retry_ns = 0, 0

    @property
    def due_ns(self) -> int:
        """For the next Stop, or the end."""
        return min(self._retry_ns, self._limit_ns)

    def handle_bye(self, bye: Bye, now_ns: int) -> State:
        """No acknowledgement will come."""
        return ClosedState(self._common)

    def handle_stop_ack(self) -> State:
        """The server has heard it."""
        return ClosedState(self._common)

    def handle_timeout(self, late_ns: int, now_ns: int) -> State:
        """Say it again, or leave."""
        if now_ns >= self._limit_ns:
            return ClosedState(self._common)
        if now_ns >= self._retry_ns:
            self.send_stop(now_ns)
        return self

    def send_stop(self, now_ns: int) -> None:
        """Say that the stream is to end."""
        session = self._common.sessions.current
        assert session is not None
        self._common.send(session.channel.seal_packet(PacketType.STOP, self._body), Port.CONTROL)
        self._retry_ns = now_ns + STOP_INTERVAL_NS * (1 + self._tries)
        self._tries += 1


class LiveState(State):
    """What the states before the end have in common: patience, the end of a stream, the end of the fetch."""

    @property
    def is_beating(self) -> bool:
        """Whether Reports go out: to a stream that is doubted, in case it goes on."""
        return self._common.sessions.current is not None and self._common.history.is_stalled

    @property
    def due_ns(self) -> int:
        """For the next step of the state, the next Report, or the end of patience."""
        due_ns = min(self._step_ns, self._common.patience.end_ns)
        return min(due_ns, self._common.reporter.due_ns) if self.is_beating else due_ns

    @property
    def _step_ns(self) -> int:
        raise NotImplementedError

    @property
    def _stall_ns(self) -> int:
        """When a stream that brings nothing new is doubted."""
        return NEVER_NS

    def _step(self, now_ns: int) -> State:
        raise NotImplementedError

    def handle_timeout(self, late_ns: int, now_ns: int) -> State:
        """Give up, or go on as the state does."""
        common, patience = self._common, self._common.patience
        if patience.excuse(late_ns, now_ns) and common.sessions.current is not None:
            common.sessions.current.excuse_missing()
        common.note_gain(now_ns)
        is_due = now_ns >= min(patience.end_ns, self._stall_ns)
        if is_due and common.blocks is not None and common.blocks.is_busy:
            patience.pause(now_ns)
        if now_ns >= patience.end_ns and (closed := self._give_up(now_ns)) is not None:
            return closed
        state = self._step(now_ns)
        if state.is_beating:
            common.beat(now_ns)
        return state

    def handle_bye(self, bye: Bye, now_ns: int) -> State:
        """Search again, less and less soon where the server ends each stream as soon as it has begun."""
        common, patience = self._common, self._common.patience
        patience.heard_ns = now_ns
        patience.connected(now_ns)
        if (failure := BYE_FAILURES.get(bye.reason)) is not None:
            return self._fail(Hint(failure))
        patience.has_stopped = bye.reason is ByeReason.STOPPING
        common.note_bye(now_ns)
        wait_ns = HELLO_WAIT_NS << min(patience.cut_count - 2, 3) if patience.cut_count > 1 else 0
        return self._search_again(BYE_INTERRUPTIONS[bye.reason], now_ns, wait_ns)

    def stop(self, reason: StopReason, now_ns: int) -> State:
        """Notify the server, if there was a session; once, while it is searched for: it will hardly answer."""
        sessions = self._common.sessions
        sessions.current = session = sessions.current or sessions.candidate
        if session is None:
            return ClosedState(self._common)
        limit_ns = now_ns if self.name is ClientState.SEARCHING else now_ns + STOP_LIMIT_NS
        stopping = StoppingState(self._common, Stop(reason, session.counter.received_count), limit_ns)
        stopping.send_stop(now_ns)
        return stopping

    def _search_again(self, reason: Interruption, now_ns: int, wait_ns: int = 0) -> State:
        self._common.sessions.candidate = None
        self._common.offers.clear()
        self._common.events.append(StreamLost(reason))
        searching = SearchingState(self._common, now_ns + wait_ns)
        if not wait_ns:
            searching.say_hello(now_ns)
        return searching

    def _give_up(self, now_ns: int) -> State | None:
        """Patience is at its end: the end of the fetch, unless it waits without limit."""
        common, patience = self._common, self._common.patience
        hint = patience.verdict(is_silent=now_ns >= common.silent_ns)
        if common.sessions.is_unproved and hint.failure in _NOTHING_CAME:
            hint = Hint(Failure.UNPROVED)
        if hint.failure is Failure.LISTED:
            common.events.append(ListingReceived(tuple(common.listing.entries)))
            return ClosedState(common)
        # A client that asked on with a wrong code would spend the guesses that another client needs.
        if not common.config.wait or hint.refusal is RefusalReason.WRONG_CODE:
            return self._fail(hint)
        if hint.failure not in _EXPECTED and patience.report_once(hint):
            common.report_trouble(FetchHindered, hint)
        patience.renew(now_ns)
        return None

    def _fail(self, hint: Hint) -> State:
        self._common.report_trouble(FetchFailed, hint)
        return ClosedState(self._common)


class AskingState(LiveState):
    """Packets go out again and again, the next one at `retry_ns`, until a stream comes."""

    def __init__(self, common: ClientCommon, retry_ns: int) -> None:
        super().__init__(common)
        self._tries, self._retry_ns = 0, retry_ns

    @property
    def _step_ns(self) -> int:
        return self._retry_ns

    def _step(self, now_ns: int) -> State:
        return self._retry(now_ns) if now_ns >= self._retry_ns else self

    def _retry(self, now_ns: int) -> State:
        raise NotImplementedError

    def handle_stream(self, now_ns: int) -> State:
        """The stream has begun, that of an earlier Request has come after all, or the old one goes on."""
        self._common.patience.has_stopped = False
        self._common.reporter.resume(now_ns)
        self._common.events.append(StreamOpened())
        return ReceivingState(self._common)


class SearchingState(AskingState):
    """Hellos go out until the application wants what an Offer describes."""

    name = ClientState.SEARCHING

    def __init__(self, common: ClientCommon, retry_ns: int) -> None:
        super().__init__(common, retry_ns)
        self._has_retried = True  # A Retry was answered since the last Hello that was due, or none has gone out.
        self._looking_ns: int | None = None  # since when the application looks at an Offer

    @property
    def due_ns(self) -> int:
        """Never while the application looks at an Offer."""
        return NEVER_NS if self._looking_ns is not None else super().due_ns

    def _retry(self, now_ns: int) -> State:
        self.say_hello(now_ns)
        return self

    def handle_timeout(self, late_ns: int, now_ns: int) -> State:
        """Say Hello again. While the application looks at an Offer the clock stands still."""
        return self if self._looking_ns is not None else super().handle_timeout(late_ns, now_ns)

    def handle_offer(self, offer: Offer, now_ns: int) -> State:
        """Let the application look at it, unless it looks at another one."""
        return self._look_at(offer, now_ns) if self._common.take_offer(offer, now_ns) else self

    def handle_listing(self, listing: Listing, now_ns: int) -> State:
        """Ask for the next page; the last one ends the fetch, unless an Offer contradicts it."""
        common, patience = self._common, self._common.patience
        is_asked = common.config.want_kind is Want.ANY and not patience.was_connected
        if self._looking_ns is not None or not is_asked:
            return self
        if not common.listing.take(listing, now_ns):
            common.rejects.add(Reject.OUT_OF_PLACE)
            return self
        patience.answered(now_ns)
        patience.advance(common.listing.heard_ns(now_ns))
        if common.listing.is_complete:
            patience.suspect(Hint(Failure.LISTED), now_ns)
        else:
            self._tries = 0
            self.say_hello(now_ns)
        return self

    def handle_retry(self, retry: Retry, now_ns: int) -> State:
        """Show the server that its answers arrive here; once for each Hello that was due, whatever it answers.

        A server that sends a Retry is flooded, and may miss the next Hellos too: they go out as soon as the first ones.
        """
        if self._looking_ns is None and not self._has_retried:
            if self._common.token == bytes(TOKEN_SIZE):
                self._tries, self._retry_ns = 1, min(self._retry_ns, now_ns + HELLO_WAIT_NS)
            self._common.token, self._has_retried = retry.token, True
            self._send_hello()
        return self

    def handle_refusal(self, reason: RefusalReason, now_ns: int) -> State:
        """A hint, or the server is preparing the object: ask again."""
        is_looking = self._looking_ns is not None
        if reason is RefusalReason.PREPARING:
            if not is_looking and self._common.patience.prepares(now_ns):
                self._common.events.append(ServerPreparing())
            self._retry_ns = now_ns + min(NS, self._common.config.timeout_ns // 4)
        elif not is_looking:
            self._common.patience.suspect(Hint(Failure.REFUSED, reason), now_ns)
        return self

    def handle_unreachable(self) -> State:
        """Fail, unless somebody has answered or may yet come."""
        if self._common.patience.was_answered or self._common.config.wait:
            return self
        return self._fail(Hint(Failure.UNREACHABLE))

    def request(self, blocks: BlockTable, now_ns: int) -> State:
        """Ask for the stream of the offered object."""
        common, config = self._common, self._common.config
        offer = common.offers.current
        if offer is None:
            return self  # The stream of an earlier Request had come, and is lost again.
        self._end_looking(now_ns)
        common.offer, common.blocks = offer.body, blocks
        common.history.resume(blocks)
        done = blocks.done.page(0, REQUEST_RUN_COUNT_MAX)
        part_count = part_count_for(common.packet_size, common.fit.datagram_size_max)
        body = RequestBody(config.peer_id, blocks.open_limit, blocks.manifest_known, config.host, done, part_count)
        keys = config.server_keys
        identity = config.identity if offer.body.identified and keys is not None and keys.is_known else None
        pair = common.offers.pair(offer.nonce)
        key: bytes | PairKey | None = config.key
        if config.pairing is not None and offer.body.pairing is not None:
            key = config.pairing.answer(offer.body.pairing)
        is_keyless = config.pairing is not None and key is None
        asked = None if is_keyless else ask(offer, body, open=config.open, pair=pair, key=key, identity=identity)
        if asked is None:
            common.rejects.add(Reject.BAD_FIELD)
            return self._doubt_offer(now_ns)
        common.sessions.candidate, request = asked
        if part_count > max(1, common.fit.part_count):
            common.events.append(PartsRequested(common.offer, part_count))
        common.fit.part_count = part_count
        requesting = RequestingState(common, request, now_ns)
        requesting.send_request(now_ns)
        return requesting

    def decline(self, now_ns: int) -> State:
        """Look at another Offer."""
        self._end_looking(now_ns)
        return self._doubt_offer(now_ns)

    def say_hello(self, now_ns: int) -> None:
        """Send the Hello that is due."""
        self._send_hello()
        self._has_retried = False
        self._retry_ns = now_ns + min(HELLO_WAIT_NS << min(self._tries, 8), HELLO_WAIT_MAX_NS)
        self._tries += 1

    def look_at_next(self, now_ns: int) -> State | None:
        """Follow the Offer that has waited longest, if there is one."""
        offer = self._common.offers.next()
        return None if offer is None else self._look_at(offer, now_ns)

    def _look_at(self, offer: Offer, now_ns: int) -> State:
        """Follow an Offer. Until data has come nothing vouched for any, so the application looks at each."""
        common = self._common
        if common.patience.was_connected and common.blocks is not None:
            return self.request(common.blocks, now_ns)
        if common.offer is not None and not is_alike(offer.body, common.offer):
            common.sessions.candidate = None  # Its symbols would be those of another object.
        self._looking_ns = now_ns
        common.events.append(OfferReceived(offer.body))
        return self

    def _end_looking(self, now_ns: int) -> None:
        if self._looking_ns is not None:
            self._common.patience.excuse(now_ns - self._looking_ns, now_ns)
            self._looking_ns = None

    def _doubt_offer(self, now_ns: int) -> State:
        """The Offer is of no use. Another has its turn, or is asked for soon: the true one may be on its way."""
        state = self.look_at_next(now_ns)
        if state is None:
            self._retry_ns = now_ns + HELLO_WAIT_NS
        return state or self

    def _send_hello(self) -> None:
        common, config = self._common, self._common.config
        if config.pairing is not None and config.pairing.is_refused:
            return  # The next Offer would cost another guess.
        nonce = common.offers.ask()
        if common.patience.was_connected and common.offer is not None:
            wanted = Want.OBJECT, common.offer.object_id
            if common.patience.is_replaced and self._tries % 2:
                wanted = Want.NAME, digest(common.offer.name.encode())  # What is there instead?
        elif config.want_kind is Want.ANY:
            wanted = Want.ANY, common.listing.page.to_bytes(32, "big")
        else:
            wanted = config.want_kind, config.want
        common.send(Hello(nonce, *wanted, common.token).encode(), Port.CONTROL)


class RequestingState(AskingState):
    """The Request goes out until something of its session comes."""

    name = ClientState.REQUESTING

    def __init__(self, common: ClientCommon, request: bytes, retry_ns: int) -> None:
        super().__init__(common, retry_ns)
        self._request = request

    def handle_offer(self, offer: Offer, now_ns: int) -> State:
        """It waits for its turn."""
        self._common.take_offer(offer, now_ns)
        return self

    def handle_refusal(self, reason: RefusalReason, now_ns: int) -> State:
        """Ask no more with this cookie, unless the server is only preparing the object."""
        if reason is RefusalReason.PREPARING:
            self._retry_ns = now_ns + min(NS, self._common.config.timeout_ns // 4)
            return self
        if reason is RefusalReason.WRONG_CODE:  # Copies of the Request are no further guess.
            if self._common.config.pairing is not None:
                self._common.config.pairing.refuse()
            self._common.patience.suspect(Hint(Failure.REFUSED, reason, is_late=True), now_ns)
            return self
        self._tries = REQUEST_TRIES_MAX
        if reason is RefusalReason.STALE_COOKIE:
            self._retry_ns = now_ns + STALE_WAIT_NS
            return self
        self._common.patience.suspect(Hint(Failure.REFUSED, reason, is_late=True), now_ns)
        return self.handle_false_proof(now_ns)

    def handle_false_proof(self, now_ns: int) -> State:
        """Ask this server no more: another Offer has its turn soon, and another Hello ever later."""
        history = self._common.history
        self._tries = REQUEST_TRIES_MAX
        self._retry_ns = now_ns + min(HELLO_WAIT_NS << history.refused_count, HELLO_WAIT_MAX_NS)
        history.refused_count = min(history.refused_count + 1, 8)
        return self

    def send_request(self, now_ns: int) -> None:
        """Ask for the stream."""
        self._common.send(self._request, Port.DATA)
        self._retry_ns = now_ns + (REQUEST_INTERVAL_NS << self._tries)
        self._tries += 1

    def _retry(self, now_ns: int) -> State:
        if self._tries < (RIVAL_TRIES_MAX if self._common.offers.has_rivals else REQUEST_TRIES_MAX):
            self.send_request(now_ns)
            return self
        searching = SearchingState(self._common, now_ns)
        state = searching.look_at_next(now_ns)
        if state is None:
            searching.say_hello(now_ns)
        return state or searching


class ReceivingState(LiveState):
    """A stream comes, and Reports go out."""

    name = ClientState.RECEIVING

    @property
    def is_beating(self) -> bool:
        """They always do."""
        return True

    @property
    def _step_ns(self) -> int:
        return min(self._common.silent_ns, self._stall_ns)

    @property
    def _stall_ns(self) -> int:
        return self._common.history.stall_ns(self._common.patience.advanced_ns)

    def _step(self, now_ns: int) -> State:
        common = self._common
        if now_ns >= common.silent_ns:
            return self._search_again(Interruption.SILENCE, now_ns)
        if now_ns >= self._stall_ns:
            common.history.stall()
            return self._search_again(Interruption.STALL, now_ns)
        if common.is_missing_all:
            common.fit.datagram_size_max = DATAGRAM_SIZE_SAFE
            return self.reconnect(Interruption.NO_DATA, now_ns)
        return self

    def reconnect(self, reason: Interruption, now_ns: int) -> State:
        """Leave the stream for a new one."""
        self._common.sessions.follow(None)
        return self._search_again(reason, now_ns)
