"""The feed of a fetch from one server: its stream for this client alone. It mirrors `fountain.engine.serving.sender`.

    endpoint -> train -> fetch
             <- reports

A `UnicastFeed` owns the client's machine and one endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fountain.engine.receiving.assembly import Assembly, contradiction, described
from fountain.engine.receiving.doubts import Doubts
from fountain.engine.receiving.object_fetch import Counters, ObjectFetch, Phase, Place
from fountain.engine.receiving.outcome import Failed, Unserved
from fountain.errors import FountainError
from fountain.limits import CONTROL_SIZE_MAX, DATA_OVERHEAD_SIZE, TRAIN_SIZE_MAX
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_events import (
    ClientState,
    Failure,
    FetchFailed,
    Interruption,
    ListingReceived,
    OfferReceived,
    StreamOpened,
    Trouble,
)
from fountain.wire.control import MAGIC, OfferBody
from fountain.wire.data import rows_of, session_counts
from fountain.wire.parts import Joiner
from fountain.wire.session import StopReason

__all__ = ["RECEIVE_TRAIN_COUNT_MAX", "UnicastFeed", "contents", "received_trains"]

RECEIVE_TRAIN_COUNT_MAX = 16  # Trains taken in one step before timers and workers are looked at, ...
RECEIVE_PACKET_COUNT_MAX = 704  # ... if they have no more packets than these together.
_MAGIC = np.frombuffer(MAGIC, dtype=np.uint8)


def received_trains(endpoint: Endpoint, into: Train) -> Iterator[Train]:
    """What has come to an endpoint, a few trains at most, each in `into`: valid until the next one."""
    left = RECEIVE_PACKET_COUNT_MAX
    for _ in range(RECEIVE_TRAIN_COUNT_MAX):
        if left <= 0 or not endpoint.receive(into):
            return
        left -= into.segment_count
        yield into


def contents(train: Train) -> tuple[list[bytes], dict[int, int]]:
    """The control packets in a train, and how many data packets of each session id stand among and before them.

    An attacker that sends in the server's name may put packets of any kind between those of the server: the first one
    says nothing of the others.
    """
    if train.length == train.segment_size and train.length <= CONTROL_SIZE_MAX and train.view[: len(MAGIC)] == MAGIC:
        return [bytes(train.view[: train.length])], {}
    rows, remainder = train.rows(), train.remainder
    controls = [bytes(remainder)] if remainder else []  # The system may have put a shorter one behind data packets.
    if rows.shape[1] < len(MAGIC) or not (rows[:, 0] == MAGIC[0]).any():
        return controls, session_counts(rows)
    is_control = (rows[:, : len(MAGIC)] == _MAGIC).all(axis=1)
    found = [row.tobytes() for row in rows[is_control]]
    return found + controls, session_counts(rows[~is_control])


class UnicastFeed:
    """Feeds `fetch` with what the server at one of `targets` sends.

    `place` is where the object goes. Without one the fetch goes on with what its assembly holds, and a server that
    offers anything else is doubted.
    """

    def __init__(
        self, fetch: ObjectFetch, machine: ClientMachine, endpoint: Endpoint, targets: Sequence[Address],
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.endpoint = endpoint
        self._fetch = fetch
        self._place = place
        self._targets = list(targets)
        self._server: Address | None = None
        self._refused: set[Address] = set()
        self._doubts = Doubts()
        self._looked_at: OfferBody | None = None
        self._train = Train()
        self._joiner: Joiner | None = None
        self._joined = Train()
        machine.reporter.receive_buffer_size = endpoint.receive_buffer_size

    @property
    def counters(self) -> Counters:
        """What all sessions have counted."""
        machine = self.machine
        received, expected = machine.received_count, machine.expected_count
        loss = max(0.0, 1.0 - received / expected) if expected else 0.0
        return Counters(received, machine.rejects.total, loss, machine.reporter.kernel_drop_count)

    @property
    def is_searching(self) -> bool:
        """Whether no server answers (any more)."""
        return self.machine.state is ClientState.SEARCHING and not self._fetch.is_opening

    def retarget(self, targets: Sequence[Address]) -> None:
        """The host is at other addresses now: ask there, and take packets from there alone."""
        self._targets, self._server, self._refused = list(targets), None, set()

    def receive(self, now_ns: int) -> bool:
        """Take in a few trains, and let time pass for the machine."""
        for train in received_trains(self.endpoint, self._train):
            if self._is_server(train.address):
                self._take(train, now_ns)
        self.machine.reporter.kernel_drop_count = self.endpoint.statistics.kernel_drops
        refused = self.endpoint.refused
        if refused and self._place is not None:  # A server whose group was just heard may be starting again.
            self._refused |= refused
            # Where a name has several addresses, one that refuses says nothing of the others.
            if len(self._targets) == 1 or self._refused.issuperset(self._targets):
                self.machine.handle_unreachable()
        self.machine.handle_timeout(now_ns)
        return False

    def respond(self, now_ns: int) -> int:
        """Act on what has become of the object, and send what must go out. When to come back at the latest."""
        if self._fetch.assembly is not None:
            has_settled, is_damaged = self._fetch.assembly.drain()
            if is_damaged:  # The old stream believes that we have it.
                self.machine.reconnect(Interruption.MANIFEST_DAMAGED, now_ns)
            if has_settled:
                self.machine.reporter.soon(now_ns)
        self._handle_events(now_ns)
        while (opened := self._fetch.poll_opened()) is not None:
            if isinstance(opened, Assembly):
                self._fetch.assembly = opened
                self._go_on(opened, opened.offer, now_ns)
            else:
                self._doubt(opened, now_ns)
            self._handle_events(now_ns)
        self._send()
        return self.machine.next_timeout(now_ns)

    def end(self, reason: StopReason, now_ns: int) -> Phase:
        """Stop the server's stream."""
        self.machine.stop(reason, now_ns)
        self._send()
        return Phase.STOPPING

    # --- In ------------------------------------------------------------------------------------------------

    def _is_server(self, address: Address) -> bool:
        if self._server is None:
            return address in self._targets
        offer = self.machine.offer
        return address == self._server or (offer is not None and address == (self._server[0], offer.data_port))

    def _take(self, train: Train, now_ns: int) -> None:
        controls, sessions = contents(train)
        for packet in controls:
            self._take_control(packet, train.address, now_ns)
        assembly = self._fetch.assembly
        if assembly is None:
            return
        for session_id in sessions:
            session = self.machine.find_session(session_id)
            if session is None:
                continue
            is_whole = train.segment_size == assembly.offer.symbol_size + DATA_OVERHEAD_SIZE
            for whole in [train] if is_whole else self._join(train, session_id, assembly):
                arrival = self._fetch.take(whole, session, now_ns)
                if arrival is not None:
                    self.machine.handle_data(session, *arrival, now_ns)

    def _join(self, train: Train, session_id: int, assembly: Assembly) -> Iterator[Train]:
        """The packets of a session that are whole with the parts in a train, in trains that the next one makes void."""
        size = assembly.offer.symbol_size + DATA_OVERHEAD_SIZE
        if self._joiner is None or self._joiner.packet_size != size:
            self._joiner = Joiner(size)
        malformed_before = self._joiner.malformed_count
        packets = self._joiner.join(rows_of(train.rows(), session_id))
        assembly.unpacker.malformed_count += self._joiner.malformed_count - malformed_before
        for start in range(0, len(packets), max(1, TRAIN_SIZE_MAX // size)):
            some = packets[start : start + max(1, TRAIN_SIZE_MAX // size)]
            self._joined.lay_out(len(some), size)[:] = some
            self._joined.address = train.address
            yield self._joined

    def _take_control(self, packet: bytes, address: Address, now_ns: int) -> None:
        self.machine.handle_datagram(packet, now_ns)
        if self._server is None and self.machine.patience.was_answered:
            self._server = address

    # --- Events and out ------------------------------------------------------------------------------------

    def _handle_events(self, now_ns: int) -> None:
        fetch = self._fetch
        is_finishing = fetch.assembly is not None and fetch.assembly.is_finishing
        while (event := self.machine.poll_event()) is not None:
            if isinstance(event, OfferReceived):
                self._open(event.offer, now_ns)
            elif isinstance(event, StreamOpened):
                self._begin()
            elif isinstance(event, ListingReceived):
                fetch.outcome = fetch.outcome or Unserved(Trouble(Failure.LISTED))
            elif isinstance(event, FetchFailed):
                if fetch.succeeded or is_finishing:
                    continue  # All is here: no server is needed.
                fetch.outcome = fetch.outcome or self._unserved(event)
            fetch.events.append(event)
        if self.machine.state is ClientState.CLOSED and not is_finishing:
            fetch.phase = Phase.ENDED

    def _unserved(self, trouble: FetchFailed) -> Failed | Unserved:
        """Where nothing but Offers of no use came, what is wrong with them is what the user can mend."""
        error = None if self.machine.patience.was_connected else self._doubts.error
        return Unserved(trouble) if error is None else Failed(error)

    def _open(self, offer: OfferBody, now_ns: int) -> None:
        assembly = self._fetch.assembly
        self._looked_at = offer
        if assembly is not None and described(assembly.offer) == described(offer):
            self._go_on(assembly, offer, now_ns)
        elif self._place is None:
            self._doubt(contradiction(), now_ns)
        else:
            self._fetch.open(offer, self._place)

    def _go_on(self, assembly: Assembly, offer: OfferBody, now_ns: int) -> None:
        if self._fetch.phase is Phase.CONNECTING:
            assembly.unpacker.is_open = offer.open
            if not offer.identified and offer.pairing is None:
                self._begin()
        self._note_way(offer)
        self.machine.request(assembly.table, now_ns)

    def _begin(self) -> None:
        """What comes, or is here already, counts: the server must have proved its key, or its code, before that."""
        if self._fetch.phase is Phase.CONNECTING:
            self._fetch.phase = Phase.RECEIVING

    def _note_way(self, offer: OfferBody) -> None:
        """What the system knows of the way to the server: an interface, or a router that complained, takes no more."""
        if self._server is not None:
            limit = self.endpoint.datagram_size_max((self._server[0], offer.data_port))
            if limit:
                self.machine.limit_datagrams(limit)

    def _doubt(self, error: FountainError, now_ns: int) -> None:
        """Nothing can be made of an Offer. It may be damaged or false: only one that insists ends the fetch."""
        assert self._looked_at is not None
        if self._doubts.add(self._looked_at, error):
            self._fetch.fail(error, now_ns)
        else:
            self.machine.decline(now_ns)

    def _send(self) -> None:
        while (waiting := self.machine.poll_datagram()) is not None:
            data = waiting.datagram
            for address in self._addresses(waiting.destination):
                self.endpoint.send(data, len(data), len(data), address)

    def _addresses(self, port: Port) -> Sequence[Address]:
        if self._server is None:
            return self._targets
        offer = self.machine.offer
        if port is Port.DATA and offer is not None:
            return [(self._server[0], offer.data_port)]
        return [self._server]
