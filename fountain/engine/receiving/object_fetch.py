"""One object being fetched, whatever feed its packets come by.

    feed -> train -> opened packets -> slab rows -> block -> sink

An `ObjectFetch` owns the assembly of the object, where the fetch is, and how it ended. Its `Feed` owns the machine of
the protocol and what it listens at: a server's stream for this client alone (`fountain.engine.receiving.unicast_feed`),
or the stream of a group (`fountain.engine.receiving.group_feed`). The feed may be swapped while the object is on its
way: what was assembled stays.

`step` never waits: it does what can be done now and returns when to come back. The same classes run behind real sockets
and in the simulated world.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, replace
from typing import Protocol

from fountain.codes.api import Code
from fountain.engine.receiving.assembly import Assembly, contradiction, is_as_offered
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.failures import local_error
from fountain.engine.receiving.outcome import Failed, GivenUp, Outcome, Succeeded
from fountain.engine.receiving.unpacker import Inflow
from fountain.engine.runtime.workers import InlineWorkers, Workers
from fountain.errors import FountainError, IncompleteError, IntegrityError
from fountain.net.train import Train
from fountain.protocol.session.client_events import ClientEvent
from fountain.wire.control import OfferBody
from fountain.wire.session import StopReason

__all__ = ["Counters", "Feed", "ObjectFetch", "Phase", "Place"]


class Phase(enum.Enum):
    """Where a fetch is, for the loop that drives it."""

    CONNECTING = "connecting"
    RECEIVING = "receiving"
    FINISHING = "finishing"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True)
class Counters:
    """What a fetch has counted: data packets that came, packets that were none of it or damaged, the share of the data
    packets sent here that did not arrive, and the times that this system threw packets away.
    """

    received_count: int
    rejected_count: int
    loss: float
    kernel_drop_count: int


class Place(Protocol):
    """Where an object is put."""

    def open_sink(self, offer: OfferBody) -> tuple[Code, BlockSink]:
        """The code of an offer's symbols, and the sink of its blocks. A worker calls this, for it may take long.

        Raises:
            FountainError: the object cannot be taken here.
        """

    def opens_quickly(self, offer: OfferBody) -> bool:
        """Whether `open_sink` takes too little time to be worth a thread."""


class Feed(Protocol):
    """What the packets of an object come by. All methods are called on the loop's thread."""

    @property
    def counters(self) -> Counters:
        """What it has counted."""

    def receive(self, now_ns: int) -> bool:
        """Take in what has come, and let time pass for the machine. Whether there is more to take in at once."""

    def respond(self, now_ns: int) -> int:
        """Act on what has become of the object, and send what must go out. When to come back at the latest."""

    def end(self, reason: StopReason, now_ns: int) -> Phase:
        """The fetch ends: inform the server. Whether that takes time (STOPPING), or is done (ENDED)."""


class ObjectFetch:
    """One object on its way. `loss` is the share of packets to throw away, to see the code work; `seed` draws which."""

    feed: Feed  # The code that makes a fetch gives it one before its first step.

    def __init__(self, workers: Workers, *, loss: float = 0.0, seed: int = 0) -> None:
        self.workers = workers
        self.assembly: Assembly | None = None
        self.phase = Phase.CONNECTING
        self.outcome: Outcome | None = None  # None as well where it was interrupted
        self.unforeseen: Exception | None = None  # what was raised on its behalf and is a bug
        self.events: list[ClientEvent] = []
        self._opener: Workers | None = None  # what opens the sink, until it is open
        self._loss, self._seed = loss, seed

    @property
    def succeeded(self) -> bool:
        """Whether the object stands in its place."""
        return isinstance(self.outcome, Succeeded)

    @property
    def error(self) -> FountainError | None:
        """What went wrong here, if anything did."""
        return self.outcome.error if isinstance(self.outcome, Failed | GivenUp) else None

    @property
    def counters(self) -> Counters:
        """What the feed and the assembly have counted."""
        counters = self.feed.counters
        malformed = self.assembly.unpacker.malformed_count if self.assembly is not None else 0
        return replace(counters, rejected_count=counters.rejected_count + malformed)

    @property
    def is_opening(self) -> bool:
        """Whether the sink is being opened."""
        return self._opener is not None

    def step(self, now_ns: int) -> int:
        """Do all that can be done at `now_ns`; when to come back at the latest."""
        has_more = self.feed.receive(now_ns)
        if self.assembly is not None:
            self.assembly.settle(now_ns)
            self._conclude(self.assembly, now_ns)
            if self.phase is Phase.RECEIVING and self.assembly.advance(now_ns):
                self.phase = Phase.FINISHING
        deadline = self.feed.respond(now_ns)
        return now_ns if has_more else deadline

    def stop(self, reason: StopReason, now_ns: int) -> None:
        """End the fetch early, and keep the part. What is being put in its place ends first."""
        if self.assembly is not None and self.assembly.is_finishing:
            self.assembly.is_interrupted = True
        elif self.phase not in (Phase.STOPPING, Phase.ENDED):
            self.phase = self.feed.end(reason, now_ns)

    def fail(self, error: FountainError, now_ns: int) -> None:
        """End the fetch because of `error`; the first error is the one that is reported."""
        self.outcome = self.outcome or Failed(error)
        error = self.error or error
        is_interrupted = self.assembly is not None and self.assembly.is_interrupted
        if isinstance(error, IntegrityError):
            self.stop(StopReason.INTEGRITY, now_ns)
        elif is_interrupted and isinstance(error, IncompleteError):
            self.stop(StopReason.INTERRUPTED, now_ns)
        else:
            self.stop(StopReason.STORAGE, now_ns)

    def give_up(self, error: FountainError, now_ns: int) -> None:
        """End the fetch because nothing more will come."""
        self.outcome = self.outcome or GivenUp(error)
        self.stop(StopReason.INTERRUPTED, now_ns)

    # --- What feeds call -----------------------------------------------------------------------------------

    def take(self, train: Train, inflow: Inflow, now_ns: int) -> tuple[int, int] | None:
        """Take in the data packets of a stream in a train: as `Unpacker.take`."""
        if self.assembly is None:
            return None
        arrival = self.assembly.take(train, inflow)
        self._conclude(self.assembly, now_ns)
        return arrival

    def open(self, offer: OfferBody, place: Place) -> None:
        """Make room for an object, in place of the one that was opened for an Offer that nothing vouched for."""
        earlier, self.assembly = self.assembly, None
        self._opener = InlineWorkers() if place.opens_quickly(offer) else self.workers
        self._opener.submit(functools.partial(self._open, offer, place, earlier))

    def poll_opened(self) -> Assembly | FountainError | None:
        """What became of `open`, once that is known. The caller puts an assembly in its place."""
        opened = None if self._opener is None else self._opener.poll()
        if not isinstance(opened, Assembly | FountainError):
            return None
        self._opener = None
        return opened

    # --- Inside --------------------------------------------------------------------------------------------

    def _open(self, offer: OfferBody, place: Place, earlier: Assembly | None) -> Assembly | FountainError:
        """A worker's job: what is there is looked at, and kernels are compiled."""
        if earlier is not None:
            earlier.sink.close()
        try:
            code, sink = place.open_sink(offer)
        except (FountainError, MemoryError) as error:
            return local_error(error)
        if sink.manifest is not None and not is_as_offered(sink.manifest, offer):
            sink.close()  # Another offer may be of what is there.
            return contradiction()
        return Assembly(code, sink, offer, self.workers, loss=self._loss, seed=self._seed)

    def _conclude(self, assembly: Assembly, now_ns: int) -> None:
        """Act on how the assembly has ended, if it has."""
        if isinstance(assembly.outcome, Failed):
            self.fail(assembly.outcome.error, now_ns)
        elif assembly.outcome is not None and not self.succeeded:
            self.outcome = assembly.outcome
            self.stop(StopReason.DONE, now_ns)
