"""The receiving side, stepped by a loop: trains in, reports out, blocks to the sink. The mirror of
`fountain.engine.sender`.

    endpoint -> train -> opened packets -> slab rows -> block -> sink

A `Receiver` owns the client machine, one endpoint, the decoders and the sink, and never waits: `step` does what can be
done now and says when to come back. The same class runs behind a real socket and in the simulated world.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fountain.codes.api import Code
from fountain.engine.collector import BlockOutcome, BlockSink, Collector, open_block_limit
from fountain.engine.failures import KEPT_HINT
from fountain.engine.unpacker import Unpacker
from fountain.engine.workers import Workers
from fountain.errors import FountainError, IncompleteError, IntegrityError
from fountain.integrity import digest
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint
from fountain.net.train import Train
from fountain.protocol.blocks import BlockTable
from fountain.protocol.client import ClientMachine
from fountain.protocol.client_events import ClientEvent, ClientState
from fountain.wire.control import MAGIC, OfferBody
from fountain.wire.manifest import Manifest, parse
from fountain.wire.reject import Reject
from fountain.wire.session import Run, StopReason

__all__ = ["Phase", "Receiver", "runs_of"]

RECEIVE_TRAIN_COUNT_MAX = 16  # Trains taken in one step before timers and workers are looked at.
BAD_BLOCK_COUNT_MAX = 8  # Blocks or manifests with a wrong digest before the source itself is taken to be wrong.
DOUBTED_OFFER_COUNT_MAX = 3  # Offers that contradict a saved manifest before the server is believed to mean it.
FALSE_HINT = "Start the server again; if it happens again, somebody on the network is sending false packets."


class Phase(enum.Enum):
    """Where a fetch is, for whoever drives the receiver."""

    CONNECTING = "connecting"
    RECEIVING = "receiving"
    FINISHING = "finishing"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True)
class _Committed:
    error: FountainError | None = None


@dataclass(frozen=True)
class _Adopted:
    """The sink took the manifest, or `refusal` says why not, or `error` why no manifest of this object will do."""

    refusal: FountainError | None = None
    error: FountainError | None = None


@dataclass(frozen=True)
class _Finished:
    files: Sequence[tuple[str, Path]] = ()
    error: FountainError | None = None


def runs_of(verified: np.ndarray) -> list[Run]:
    """The runs of true values in a bool array: (first, count)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], verified, [False])).astype(np.int8)))
    return [(int(first), int(end - first)) for first, end in zip(edges[::2], edges[1::2])]


def _contradiction() -> IntegrityError:
    return IntegrityError(
        "The server's manifest contradicts what it announced.", "Start the server again from the original files."
    )


def _is_as_offered(manifest: Manifest, offer: OfferBody) -> bool:
    """Whether a manifest whose digest is right says of the object what the Offer, that nothing vouched for, said."""
    told = (offer.profile_id, offer.object_size, offer.symbol_size, offer.block_symbol_limit, offer.name)
    cut = (manifest.profile_id, manifest.object_size, manifest.symbol_size, manifest.block_symbol_limit, manifest.name)
    return cut == told and manifest.is_tree == offer.is_directory


class Receiver:
    """One fetch. `open_sink` is called with the offer and gives the code and the sink, or raises FountainError."""

    def __init__(
        self, machine: ClientMachine, endpoint: Endpoint, targets: Sequence[Address], workers: Workers, *,
        open_sink: Callable[[OfferBody], tuple[Code, BlockSink]], loss: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.sink: BlockSink | None = None
        self.collector: Collector | None = None
        self.unpacker: Unpacker | None = None
        self.error: FountainError | None = None
        self.files: Sequence[tuple[str, Path]] = ()
        self.phase = Phase.CONNECTING
        self.events: list[ClientEvent] = []
        self._endpoint = endpoint
        machine.reporter.receive_buffer_size = endpoint.receive_buffer_size
        self._targets = list(targets)
        self._server: Address | None = None
        self._workers = workers
        self._open_sink = open_sink
        self._loss, self._seed = loss, seed
        self._train = Train()
        self.succeeded = False
        self.finished_ns = 0
        self._committing = False
        self._adopting = False
        self._finishing = False
        self._is_interrupted = False  # while finishing
        self._doubted_count = 0
        self._refused: set[Address] = set()
        self._described: OfferBody | None = None  # the offer that the sink was opened for, without its key

    @property
    def received_count(self) -> int:
        """Authentic data packets of all sessions."""
        return sum(session.counter.received_count for session in self.machine.all_sessions)

    @property
    def loss_fraction(self) -> float:
        """Share of all data packets sent here that did not arrive."""
        expected = sum(session.counter.expected for session in self.machine.all_sessions)
        return max(0.0, 1.0 - self.received_count / expected) if expected else 0.0

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
        self._settle(now_ns)
        self._advance(now_ns)
        self._handle_events(now_ns)
        self._send()
        return self.machine.next_timeout()

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """End the transfer early: tell the server, keep the part. What is being put in its place has its end first."""
        if self._finishing:
            self._is_interrupted = True
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
        train = self._train
        for _ in range(RECEIVE_TRAIN_COUNT_MAX):
            if not self._endpoint.receive(train):
                break
            if self._is_server(train.address):
                self._take(train, now_ns)
        self.machine.kernel_drop_count = self._endpoint.statistics.kernel_drops

    def _is_server(self, address: Address) -> bool:
        if self._server is None:
            return address in self._targets
        offer = self.machine.offer
        return address == self._server or (offer is not None and address == (self._server[0], offer.data_port))

    def _take(self, train: Train, now_ns: int) -> None:
        if train.view[:4] == MAGIC:
            for segment in train.segments():
                self._take_control(segment, train.address, now_ns)
            return
        if train.remainder:  # The system may have put a shorter control packet behind data packets.
            self._take_control(train.remainder, train.address, now_ns)
        if self.unpacker is None:
            return
        session = self.machine.find_session(int.from_bytes(train.view[4:12], "big"))
        if session is None:
            return
        arrival = self.unpacker.take(train, session)
        if arrival is not None:
            self.machine.handle_data(session, *arrival, now_ns)

    def _take_control(self, segment: memoryview, address: Address, now_ns: int) -> None:
        self.machine.handle_datagram(bytes(segment), now_ns)
        if self._server is None and self.machine.was_answered:
            self._server = address

    # --- Blocks --------------------------------------------------------------------------------------------

    def _settle(self, now_ns: int) -> None:
        """Take in what workers have done."""
        while (result := self._workers.poll()) is not None:
            error = getattr(result, "error", None)
            if isinstance(result, _Finished):
                self._finishing = False
            if error is not None:
                self.fail(error, self._stop_reason(error), now_ns)
            if isinstance(result, _Committed):
                self._committing = False
            elif isinstance(result, _Adopted):
                self._adopting = False
                if error is None:
                    self._settle_manifest(result.refusal, now_ns)
            elif isinstance(result, _Finished) and error is None:
                self.files = result.files
                self.succeeded = True
                self.finished_ns = now_ns
                self.stop(StopReason.DONE, now_ns)
            elif isinstance(result, BlockOutcome) and error is None:
                self._settle_block(result, now_ns)

    def _stop_reason(self, error: FountainError) -> StopReason:
        if isinstance(error, IntegrityError):
            return StopReason.INTEGRITY
        return StopReason.INTERRUPTED if self._is_interrupted else StopReason.STORAGE

    def _settle_block(self, outcome: BlockOutcome, now_ns: int) -> None:
        assert self.collector is not None
        self.collector.settle(outcome)
        self.machine.reporter.soon(now_ns)
        manifest = None if self._adopting else self.collector.take_manifest()
        if manifest is not None:
            self._adopting = True
            self._workers.submit(functools.partial(self._adopt, manifest))
        if self.collector.bad_block_count >= BAD_BLOCK_COUNT_MAX:
            self.fail(
                IntegrityError(
                    "The blocks that arrive are not those that the server announced.",
                    FALSE_HINT,
                ),
                StopReason.INTEGRITY,
                now_ns,
            )

    def _settle_manifest(self, refusal: FountainError | None, now_ns: int) -> None:
        assert self.collector is not None
        assert self.sink is not None
        if isinstance(refusal, IntegrityError):
            self.collector.bad_block_count += 1
            self.collector.table.forget_manifest()
            if self.collector.bad_block_count >= BAD_BLOCK_COUNT_MAX:
                self.fail(IntegrityError(refusal.message, refusal.hint or FALSE_HINT), StopReason.INTEGRITY, now_ns)
            else:
                self.machine.reconnect("the manifest was damaged", now_ns)  # The old stream believes that we have it.
        elif refusal is not None:
            self.fail(refusal, StopReason.STORAGE, now_ns)
        else:
            self.collector.table.know_manifest(runs_of(self.sink.verified))
            self.collector.close_finished()
            self.machine.reporter.soon(now_ns)

    def _advance(self, now_ns: int) -> None:
        """Give workers what is ready; finish when all is done."""
        if self.phase is not Phase.RECEIVING or self.collector is None or self.sink is None:
            return
        table = self.collector.table
        while self._workers.has_room and (block := table.poll_ready()) is not None:
            self._workers.submit(functools.partial(self.collector.job, block))
        if table.is_complete:
            if self._workers.is_idle:
                self.phase = Phase.FINISHING
                self._finishing = True
                self._workers.submit(self._finish)
        elif not self._committing and self._workers.has_room and self.sink.commit_due(now_ns):
            self._committing = True
            self._workers.submit(self._commit)

    def _adopt(self, octets: bytes) -> _Adopted:
        """Lay out the files: a worker's job, because reserving their space may take seconds."""
        assert self.sink is not None
        assert self._described is not None
        if digest(octets) == self._described.object_id:
            manifest = parse(octets)
            if isinstance(manifest, Reject) or not _is_as_offered(manifest, self._described):
                return _Adopted(error=_contradiction())
        try:
            self.sink.set_manifest(octets)
        except FountainError as error:
            return _Adopted(error)
        return _Adopted()

    def _commit(self) -> _Committed:
        assert self.sink is not None
        try:
            self.sink.commit()
        except FountainError as error:
            return _Committed(error)
        return _Committed()

    def _finish(self) -> _Finished:
        assert self.sink is not None
        try:
            return _Finished(self.sink.finish(self._go_on))
        except FountainError as error:
            return _Finished(error=error)

    def _go_on(self, _done: int, _total: int) -> None:
        if self._is_interrupted:
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT)

    # --- Events and out ------------------------------------------------------------------------------------

    def _handle_events(self, now_ns: int) -> None:
        while (event := self.machine.poll_event()) is not None:
            if event.kind == "offered" and event.offer is not None:
                self._open(event.offer, now_ns)
            if event.kind != "failed" or not (self._finishing or self.succeeded):  # All is here: no server is needed.
                self.events.append(event)
        if self.machine.state is ClientState.CLOSED and not self._finishing:
            self.phase = Phase.ENDED

    def _open(self, offer: OfferBody, now_ns: int) -> None:
        described = replace(offer, key_index=0, server_public=b"")
        if self.collector is not None and described == self._described:
            self.machine.request(self.collector.table, now_ns)
            return
        self._described = described
        if self.sink is not None:
            self.sink.close()  # It was opened for an Offer that nothing vouched for.
        self.sink = self.collector = self.unpacker = None
        try:
            code, self.sink = self._open_sink(offer)
        except IntegrityError as error:
            self._doubt(error, now_ns)
            return
        except FountainError as error:
            self.fail(error, StopReason.STORAGE, now_ns)
            return
        if self.sink.manifest is not None and not _is_as_offered(self.sink.manifest, offer):
            self._doubt(_contradiction(), now_ns)
            return
        geometry, manifest = offer.geometry, offer.manifest_geometry
        largest = max(geometry.block_symbols_max, manifest.block_symbols_max)
        table = BlockTable(geometry, manifest, open_block_limit(largest, offer.symbol_size))
        self.collector = Collector(code, table, self.sink)
        self.unpacker = Unpacker(
            self.collector, symbol_size=offer.symbol_size, open=offer.open, loss=self._loss, seed=self._seed
        )
        if self.sink.manifest is not None:
            table.know_manifest(runs_of(self.sink.verified))
        self.phase = Phase.RECEIVING
        self.machine.request(table, now_ns)

    def _doubt(self, error: IntegrityError, now_ns: int) -> None:
        """An Offer contradicts the manifest that is here. It may be damaged: only one that insists ends the fetch."""
        self._doubted_count += 1
        if self._doubted_count >= DOUBTED_OFFER_COUNT_MAX:
            self.fail(error, StopReason.INTEGRITY, now_ns)
        else:
            self.machine.decline(now_ns)

    def _send(self) -> None:
        while (waiting := self.machine.poll_datagram()) is not None:
            data, to_data_port = waiting
            for address in self._addresses(to_data_port):
                self._endpoint.send(data, len(data), len(data), address)

    def _addresses(self, to_data_port: bool) -> Sequence[Address]:
        if self._server is None:
            return self._targets
        offer = self.machine.offer
        if to_data_port and offer is not None:
            return [(self._server[0], offer.data_port)]
        return [self._server]
