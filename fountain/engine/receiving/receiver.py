"""The receiving side, stepped by a loop: trains in, reports out, blocks to the sink. The mirror of
`fountain.engine.serving.sender`.

    endpoint -> train -> opened packets -> slab rows -> block -> sink

A `Receiver` owns the client machine, one endpoint, the decoders and the sink, and never waits: `step` does what can be
done now and says when to come back. The same class runs behind a real socket and in the simulated world.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fountain.codes.api import Code
from fountain.engine.receiving.assembly import Assembly, Opened, contradiction, described, open_for
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.runtime.workers import Workers
from fountain.errors import FountainError, IntegrityError
from fountain.limits import DATA_OVERHEAD_SIZE, TRAIN_SIZE_MAX
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_events import ClientEvent, ClientState, FetchFailed, Interruption, OfferReceived
from fountain.wire.control import OfferBody, is_control
from fountain.wire.data import session_of
from fountain.wire.parts import Joiner, is_part
from fountain.wire.session import StopReason

__all__ = ["RECEIVE_PACKET_COUNT_MAX", "RECEIVE_TRAIN_COUNT_MAX", "Phase", "Receiver"]

RECEIVE_TRAIN_COUNT_MAX = 16  # Trains taken in one step before timers and workers are looked at, ...
RECEIVE_PACKET_COUNT_MAX = 704  # ... if they have no more packets than these together.
DOUBTED_OFFER_COUNT_MAX = 3  # Offers that contradict a saved manifest before the server is believed to mean it.
USELESS_OFFER_COUNT_MAX = 2  # Offers of what cannot be put anywhere here before that is the end: one may be false.


class Phase(enum.Enum):
    """Where a fetch is, for whoever drives the receiver."""

    CONNECTING = "connecting"
    RECEIVING = "receiving"
    FINISHING = "finishing"
    STOPPING = "stopping"
    ENDED = "ended"


class Receiver:
    """One fetch. `open_sink` is called with the offer and gives the code and the sink, or raises FountainError.

    A worker calls it, for it may take long: what is there is looked at, kernels are compiled.

    With an `assembly` the fetch goes on with what that holds; a server that offers anything else is doubted.
    """

    def __init__(
        self, machine: ClientMachine, endpoint: Endpoint, targets: Sequence[Address], workers: Workers, *,
        open_sink: Callable[[OfferBody], tuple[Code, BlockSink]], loss: float = 0.0, seed: int = 0,
        assembly: Assembly | None = None,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.assembly = assembly
        self.error: FountainError | None = None
        self.files: Sequence[tuple[str, Path]] = ()
        self.phase = Phase.CONNECTING
        self.events: list[ClientEvent] = []
        self.succeeded = False
        self.finished_ns = 0
        self._endpoint = endpoint
        machine.reporter.receive_buffer_size = endpoint.receive_buffer_size
        self._targets = list(targets)
        self._server: Address | None = None
        self._workers = workers
        self._open_sink = open_sink
        self._loss, self._seed = loss, seed
        self._train = Train()
        self._doubted_count = 0
        self._is_opening = False
        self._refused: set[Address] = set()
        self._joiner: Joiner | None = None
        self._joined = Train()
        self._is_bound = assembly is not None
        if assembly is not None:
            assembly.keeper = self

    @property
    def received_count(self) -> int:
        """Authentic data packets of all sessions."""
        return self.machine.received_count

    @property
    def rejected_count(self) -> int:
        """Packets that were none of this fetch, or damaged."""
        malformed = self.assembly.unpacker.malformed_count if self.assembly is not None else 0
        return self.machine.rejects.total + malformed

    @property
    def loss_fraction(self) -> float:
        """Share of all data packets sent here that did not arrive."""
        expected = self.machine.expected_count
        return max(0.0, 1.0 - self.received_count / expected) if expected else 0.0

    @property
    def kernel_drop_count(self) -> int:
        """Times that this system threw packets away."""
        return self.machine.kernel_drop_count

    @property
    def is_searching(self) -> bool:
        """Whether no server answers (any more)."""
        return self.machine.state is ClientState.SEARCHING and not self._is_opening

    def retarget(self, targets: Sequence[Address]) -> None:
        """The host is at other addresses now: ask there, and hear from there alone."""
        self._targets, self._server, self._refused = list(targets), None, set()

    def step(self, now_ns: int) -> int:
        """Do all that can be done at `now_ns`; when to come back at the latest."""
        self._receive(now_ns)
        refused = self._endpoint.refused
        if refused:
            self._refused |= refused
            # Where a name has several addresses, one that refuses says nothing of the others.
            if len(self._targets) == 1 or self._refused.issuperset(self._targets):
                self.machine.handle_unreachable()
        self.machine.handle_timeout(now_ns)
        if self.assembly is not None and not self._is_opening:
            self.assembly.settle(now_ns)
            if self.phase is Phase.RECEIVING and self.assembly.advance(now_ns):
                self.phase = Phase.FINISHING
        self._handle_events(now_ns)
        while self._settle_opening(now_ns):
            self._handle_events(now_ns)
        self._send()
        return self.machine.next_timeout(now_ns)

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """End the transfer early: tell the server, keep the part. What is being put in its place has its end first."""
        if self.assembly is not None and self.assembly.is_finishing:
            self.assembly.is_interrupted = True
            return
        if self.phase in (Phase.STOPPING, Phase.ENDED):
            return
        self.phase = Phase.STOPPING
        self.machine.stop(reason, now_ns)
        self._send()

    def fail(self, error: FountainError, reason: StopReason, now_ns: int) -> None:
        """End the transfer because of `error`."""
        self.error = self.error or error
        self.stop(reason, now_ns)

    # --- In ------------------------------------------------------------------------------------------------

    def _receive(self, now_ns: int) -> None:
        train, left = self._train, RECEIVE_PACKET_COUNT_MAX
        for _ in range(RECEIVE_TRAIN_COUNT_MAX):
            if left <= 0 or not self._endpoint.receive(train):
                break
            left -= train.segment_count
            if self._is_server(train.address):
                self._take(train, now_ns)
        self.machine.kernel_drop_count = self._endpoint.statistics.kernel_drops

    def _is_server(self, address: Address) -> bool:
        if self._server is None:
            return address in self._targets
        offer = self.machine.offer
        return address == self._server or (offer is not None and address == (self._server[0], offer.data_port))

    def _take(self, train: Train, now_ns: int) -> None:
        if is_control(train.view):
            for segment in train.segments():
                self._take_control(segment, train.address, now_ns)
            return
        if train.remainder:  # The system may have put a shorter control packet behind data packets.
            self._take_control(train.remainder, train.address, now_ns)
        if self.assembly is None:
            return
        session = self.machine.find_session(session_of(train.view))
        if session is None:
            return
        for whole in self._join(train, self.assembly) if is_part(train.view) else [train]:
            arrival = self.assembly.take(whole, session, now_ns)
            if arrival is not None:
                self.machine.handle_data(session, *arrival, now_ns)

    def _join(self, train: Train, assembly: Assembly) -> Iterator[Train]:
        """The packets that are whole with the parts in a train, in trains that the next one makes void."""
        size = assembly.offer.symbol_size + DATA_OVERHEAD_SIZE
        if self._joiner is None or self._joiner.packet_size != size:
            self._joiner = Joiner(size)
        malformed_before = self._joiner.malformed_count
        packets = self._joiner.join(train.rows())
        assembly.unpacker.malformed_count += self._joiner.malformed_count - malformed_before
        for start in range(0, len(packets), max(1, TRAIN_SIZE_MAX // size)):
            some = packets[start : start + max(1, TRAIN_SIZE_MAX // size)]
            self._joined.lay_out(len(some), size)[:] = some
            self._joined.address = train.address
            yield self._joined

    def _take_control(self, segment: memoryview, address: Address, now_ns: int) -> None:
        self.machine.handle_datagram(bytes(segment), now_ns)
        if self._server is None and self.machine.patience.was_answered:
            self._server = address

    # --- The assembly's keeper -----------------------------------------------------------------------------

    def progressed(self, now_ns: int) -> None:
        """A block was settled: the server should know soon."""
        self.machine.reporter.soon(now_ns)

    def manifest_was_damaged(self, now_ns: int) -> None:
        """All blocks of the manifest are wanted again."""
        self.machine.reconnect(Interruption.MANIFEST_DAMAGED, now_ns)  # The old stream believes that we have it.

    def failed(self, error: FountainError, now_ns: int) -> None:
        """The object cannot be put together here."""
        reason = StopReason.INTEGRITY if isinstance(error, IntegrityError) else StopReason.STORAGE
        if self.assembly is not None and self.assembly.is_interrupted and reason is StopReason.STORAGE:
            reason = StopReason.INTERRUPTED
        self.fail(error, reason, now_ns)

    def finished(self, files: Sequence[tuple[str, Path]], now_ns: int) -> None:
        """The object stands in its place."""
        self.files = files
        self.succeeded = True
        self.finished_ns = now_ns
        self.stop(StopReason.DONE, now_ns)

    # --- Events and out ------------------------------------------------------------------------------------

    def _handle_events(self, now_ns: int) -> None:
        while (event := self.machine.poll_event()) is not None:
            if isinstance(event, OfferReceived):
                self._open(event.offer, now_ns)
            is_whole = self.succeeded or (self.assembly is not None and self.assembly.is_finishing)
            if not isinstance(event, FetchFailed) or not is_whole:  # All is here: no server is needed.
                self.events.append(event)
        is_finishing = self.assembly is not None and self.assembly.is_finishing
        if self.machine.state is ClientState.CLOSED and not is_finishing:
            self.phase = Phase.ENDED

    def _open(self, offer: OfferBody, now_ns: int) -> None:
        if self.assembly is not None and self.assembly.offer == described(offer):
            self._go_on(self.assembly, offer, now_ns)
            return
        if self._is_bound:
            self._doubt(contradiction(), now_ns)
            return
        earlier, self.assembly = self.assembly, None
        self._is_opening = True
        self._workers.submit(functools.partial(self._make_room, offer, earlier))

    def _make_room(self, offer: OfferBody, earlier: Assembly | None) -> Opened:
        """Open the sink for an offer, after the one that was opened for an Offer that nothing vouched for."""
        if earlier is not None:
            earlier.sink.close()
        return open_for(offer, self._open_sink)

    def _settle_opening(self, now_ns: int) -> bool:
        """Take in what became of the sink that a worker opens; whether there was anything."""
        if not self._is_opening or not isinstance(opened := self._workers.poll(), Opened):
            return False
        self._is_opening = False
        if opened.code is not None and opened.sink is not None:
            self.assembly = Assembly(
                opened.code, opened.sink, opened.offer, self._workers, self, loss=self._loss, seed=self._seed
            )
            self._go_on(self.assembly, opened.offer, now_ns)
        elif opened.error is not None:
            self._doubt(opened.error, now_ns)
        return True

    def _go_on(self, assembly: Assembly, offer: OfferBody, now_ns: int) -> None:
        if self.phase is Phase.CONNECTING:
            self.phase = Phase.RECEIVING
            assembly.unpacker.is_open = offer.open
        self._note_way(offer)
        self.machine.request(assembly.table, now_ns)

    def _note_way(self, offer: OfferBody) -> None:
        """What the system knows of the way to the server: an interface, or a router that complained, takes no more."""
        if self._server is not None:
            limit = self._endpoint.datagram_size_max((self._server[0], offer.data_port))
            if limit:
                self.machine.datagram_size_max = min(limit, self.machine.datagram_size_max or limit)

    def _doubt(self, error: FountainError, now_ns: int) -> None:
        """Nothing can be made of an Offer. It may be damaged or false: only one that insists ends the fetch."""
        self._doubted_count += 1
        is_contradiction = isinstance(error, IntegrityError)
        if self._doubted_count >= (DOUBTED_OFFER_COUNT_MAX if is_contradiction else USELESS_OFFER_COUNT_MAX):
            self.fail(error, StopReason.INTEGRITY if is_contradiction else StopReason.STORAGE, now_ns)
        else:
            self.machine.decline(now_ns)

    def _send(self) -> None:
        while (waiting := self.machine.poll_datagram()) is not None:
            data = waiting.datagram
            for address in self._addresses(waiting.destination):
                self._endpoint.send(data, len(data), len(data), address)

    def _addresses(self, port: Port) -> Sequence[Address]:
        if self._server is None:
            return self._targets
        offer = self.machine.offer
        if port is Port.DATA and offer is not None:
            return [(self._server[0], offer.data_port)]
        return [self._server]
