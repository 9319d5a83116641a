"""A fetch from its Offer on: the part, the kernels, and what is told of the progress and of the end."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fountain.codes.api import Code
from fountain.codes.registry import code_by_name, code_by_profile, missing_code_error
from fountain.config import FetchConfig
from fountain.engine.receiving.assembly import check_cut
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.failures import DEFECT_HINT, KEPT_HINT, fetch_failure
from fountain.engine.receiving.object_fetch import ObjectFetch, Phase
from fountain.engine.receiving.outcome import Succeeded, Unserved
from fountain.engine.runtime.clock import now_ns
from fountain.engine.runtime.meter import RateMeter
from fountain.engine.runtime.warmup import WarmUp
from fountain.errors import FountainError, IncompleteError, StorageError
from fountain.events import (
    DigestComputed,
    Fetched,
    LeftOut,
    Listed,
    Observer,
    Offered,
    Preparing,
    Reconnecting,
    Resumed,
    TransferProgress,
    TransferState,
    Warned,
)
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.protocol.session.client_events import (
    ClientEvent,
    FetchHindered,
    ListingReceived,
    PacketsTooLarge,
    PartsRequested,
    ServerPreparing,
    StreamLost,
    StreamOpened,
    Trouble,
)
from fountain.sentences import Notice, sentence, warning
from fountain.storage.destination import check_place, make_object_directory, object_directory
from fountain.storage.part import Part, PartRules, resolve_destination
from fountain.storage.parts import PendingPart, disk_size, kept_free, make_room
from fountain.storage.paths import is_typed, printable
from fountain.storage.workspace import has_part, other_workspaces
from fountain.wire.control import OfferBody

__all__ = ["Fetching"]

PROGRESS_INTERVAL_NS = NS // 5
WAITING_HINT = "Going on to wait (`wait`)."
ETA_MAX_S = 100 * 86_400.0  # Beyond that a stream has stopped.


class Fetching:
    """What a fetch knows beside the receiver: its destination, its part, and what was told."""

    def __init__(
        self, config: FetchConfig, observer: Observer, stop: threading.Event, warm_up: WarmUp | None = None,
        placing: Callable[[OfferBody, Sequence[str]], None] | None = None, address: str = "",
    ) -> None:  # fmt: skip
        self._config = config
        self._observer = observer
        self._stop = stop
        self._warm_up = WarmUp(code_by_name("raptorq")) if warm_up is None else warm_up
        self._placing = placing
        self._part: Part | PendingPart | None = None
        self._lock = threading.Lock()  # guards the part, for a worker may be opening it when this is closed
        self._is_closed = False
        self._offer: OfferBody | None = None
        self.was_asked_to_leave = False
        self._start_ns = now_ns()
        self._progress_ns = self._start_ns
        self._resumed_size = 0  # Octets that an earlier run fetched: no part of this one's rate.
        self._meter = RateMeter(self._start_ns)
        self._reconnecting = self._has_told_defect = False
        self._address = address or config.host  # of whoever offers the object

    def open_sink(self, offer: OfferBody) -> tuple[Code, BlockSink]:
        """The code and the part for an offer.

        A worker calls this: it takes as long as looking at an earlier part, and compiling, take.
        """
        code = code_by_profile(offer.profile_id)
        if code is None:
            raise missing_code_error(offer.profile_id)
        check_cut(code, offer)
        self._offer = None
        size_max = self._config.size_max
        if size_max is not None and offer.object_size > size_max:
            message = f"{printable(offer.name)} has {offer.object_size:,} octets, more than `size_max` {size_max:,}."
            raise StorageError(message, "Raise `size_max` to take it.", field="size_max")
        beside = destination = resolve_destination(self._config.out, offer.name)
        if self._placing is not None:
            destination = object_directory(beside.parent, offer.object_id) / offer.name
        self._observer.handle(
            Offered(
                name=offer.name,
                object_id=offer.object_id.hex(),
                size=offer.object_size,
                block_count=offer.geometry.block_count,
                address=self._address,
                destination=destination,
                sealed=not offer.open,
            )
        )
        open_part = functools.partial(self._open_part, offer, destination, beside)
        if self._config.listen and not has_part(beside, offer.object_id):
            # Anybody may have announced it: nothing is made for it before its manifest is here.
            overwrite = self._overwrites(destination)
            check_place(destination, overwrite=overwrite)
            free = functools.partial(make_room, beside.parent)
            part = self._hold(PendingPart(offer.object_id, offer.name, destination, open_part, free))
        else:
            part = self._hold(open_part())
        self._tell_other_parts(beside, offer.object_id)
        self._warm_up.add(code)
        self._warm_up.finish(self._observer, self._stop)
        verified_size = self._verified_size(offer)
        if verified_size:
            self._observer.handle(Resumed(verified_size, offer.object_size))
        self._resumed_size = verified_size
        self._start_ns = now_ns()
        self._meter = RateMeter(self._start_ns, verified_size)
        self._offer = offer  # Last: from here on there is something to show.
        return code, part

    def opens_quickly(self, offer: OfferBody) -> bool:
        """Whether `open_sink` takes too little time to be worth a thread: nothing is to be looked at or compiled."""
        config = self._config
        code = code_by_profile(offer.profile_id)
        if not config.listen or code is None or not self._warm_up.is_over(code):
            return False
        return not has_part(resolve_destination(config.out, offer.name), offer.object_id)

    def _hold(self, part: Part | PendingPart) -> Part | PendingPart:
        """Keep the part, unless it comes too late: then it must not stay locked."""
        with self._lock:
            if not self._is_closed:
                self._part = part
                return part
        part.close()
        raise IncompleteError("The fetch was interrupted.", KEPT_HINT)

    def _open_part(self, offer: OfferBody, destination: Path, beside: Path) -> Part:
        config = self._config
        free_size_min, size_max = config.free_size_min, config.size_max
        if config.listen and free_size_min is None:
            free_size_min = kept_free(beside.parent)
        if config.listen and size_max is None:
            size_max = disk_size(beside.parent)  # Anybody may announce holes without end.
        part = Part.open(
            destination, offer.object_id, offer.name, offer.object_size,
            overwrite=self._overwrites(destination), progress=self._checking,
            rules=PartRules(
                beside, free_size_min, size_max,
                None if self._placing is None else functools.partial(self._place, self._placing, offer),
            ),
        )  # fmt: skip
        if not part.is_locked:
            self._observer.handle(
                Warned(
                    f"The file system of {printable(str(destination.parent))} has no locks.",
                    "Do not start a second fetch of the same object there while this one runs: each would undo what "
                    "the other writes.",
                )
            )
        return part

    def _overwrites(self, destination: Path) -> bool:
        """Whether to replace what the user chose: by name, or, with a listener, whatever has an object's name."""
        config = self._config
        if config.listen:
            is_chosen = not destination.name.startswith(".")  # Nobody who announces things may replace .profile.
        else:
            is_chosen = is_typed(destination, config.out, config.name)
        return config.overwrite and is_chosen

    def _place(
        self, placing: Callable[[OfferBody, Sequence[str]], None], offer: OfferBody, digests: Sequence[str]
    ) -> None:  # fmt: skip
        """On a worker: the object gets a directory of its own, which nothing else is put into."""
        make_object_directory(self.destination.parent)
        placing(offer, digests)

    def _tell_other_parts(self, destination: Path, object_id: bytes) -> None:
        """Say what is left of objects that had this name before: nothing that is fetched now can use it."""
        for path in other_workspaces(destination, object_id):
            shown = printable(str(path))
            self._observer.handle(
                Warned(
                    f"A part of another object of this name is left in {shown}.", "Remove it if nobody fetches that."
                )
            )

    def _checking(self, done: int, total: int) -> None:
        if self._stop.is_set() or self._is_closed:
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT)
        self._observer.handle(Preparing(sentence(Notice.CHECKING), done, total))

    def tell(self, fetch: ObjectFetch, now: int) -> None:
        """Hand events and, now and then, progress to the observer."""
        events, fetch.events = fetch.events, []
        for event in events:
            self._tell_event(event)
        defect = fetch.assembly.defect if fetch.assembly is not None else ""
        if defect and not self._has_told_defect:
            self._has_told_defect = True
            self._observer.handle(Warned(f"A packet that came could not be taken in: {defect}.", DEFECT_HINT))
        offer = self._offer
        if offer is not None and now >= self._progress_ns:
            self._progress_ns = now + PROGRESS_INTERVAL_NS
            self._observer.handle(self._progress(fetch, offer, now))

    def finish(self, fetch: ObjectFetch) -> Fetched:
        """The end: raise what went wrong, or report the object, and return what was reported."""
        error = self.error_of(fetch)
        if error is not None:
            raise error
        if not isinstance(fetch.outcome, Succeeded):
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT if self._part is not None else "")
        assert self._part is not None
        assert self._offer is not None
        manifest = self._part.manifest
        if manifest is not None and manifest.left_out_count:
            self._observer.handle(LeftOut(self._offer.name, manifest.left_out_count))
        for remark in self._part.remarks:
            self._observer.handle(Warned(remark))
        # The size is the manifest's: whoever watches the directory may have moved the file away by now.
        for (hex_digest, path), size in zip(fetch.files, self._part.file_sizes):
            if hex_digest:
                self._observer.handle(DigestComputed(hex_digest, path, size))
        fetched = self._figures(fetch, fetch.outcome, self._offer, self._part.destination)
        self._observer.handle(fetched)
        return fetched

    def error_of(self, fetch: ObjectFetch) -> FountainError | None:
        """What went wrong, at either end."""
        return self._failure_of(fetch.outcome.trouble) if isinstance(fetch.outcome, Unserved) else fetch.error

    @property
    def destination(self) -> Path:
        """Where the object stands, or will stand."""
        assert self._part is not None
        return self._part.destination

    def close(self) -> None:
        """Keep the part, if there is one; one that is being opened is closed by whoever opens it."""
        with self._lock:
            self._is_closed = True
        if self._part is not None:
            self._part.close()

    def _figures(self, fetch: ObjectFetch, outcome: Succeeded, offer: OfferBody, path: Path) -> Fetched:
        duration_s = max(1e-9, (outcome.at_ns - self._start_ns) / NS)
        counters = fetch.counters
        return Fetched(
            path=path,
            name=offer.name,
            object_id=offer.object_id.hex(),
            size=offer.object_size,
            duration_s=duration_s,
            rate_bps=(offer.object_size - self._resumed_size) * 8 / duration_s,
            received_count=counters.received_count,
            overhead_count=fetch.assembly.collector.overhead_count if fetch.assembly else 0,
            block_count=offer.geometry.block_count,
            loss=counters.loss,
            files=outcome.files,
        )

    def _tell_event(self, event: ClientEvent) -> None:
        match event:
            case ListingReceived():
                self._observer.handle(Listed(event.entries))
            case ServerPreparing():
                self._observer.handle(warning(Notice.SERVER_PREPARING, host=self._config.host or self._address))
            case StreamLost():
                self._reconnecting = True
                self._observer.handle(Reconnecting(event.reason))
            case StreamOpened():
                self._reconnecting = False
            case PartsRequested():
                size = event.offer.symbol_size + DATA_OVERHEAD_SIZE
                self._observer.handle(warning(Notice.PACKETS_IN_PARTS, size=size, part_count=event.part_count))
            case PacketsTooLarge():
                size = event.offer.symbol_size + DATA_OVERHEAD_SIZE
                self._observer.handle(warning(Notice.PACKETS_TOO_LARGE, size=size))
            case FetchHindered():
                self._observer.handle(Warned(self._failure_of(event).message, WAITING_HINT))

    def _failure_of(self, trouble: Trouble) -> FountainError:
        config = self._config
        host, timeout_s = config.host or self._address, config.timeout_ns / NS
        return fetch_failure(trouble, host, config.port, timeout_s, config.name)

    def _verified_size(self, offer: OfferBody) -> int:
        if self._part is None:
            return 0
        verified, geometry = self._part.verified, offer.geometry
        if not len(verified):
            return 0
        size = int(verified.sum()) * geometry.block_symbols_max * geometry.symbol_size
        return min(size, geometry.object_size)

    def _progress(self, fetch: ObjectFetch, offer: OfferBody, now: int) -> TransferProgress:
        geometry = offer.geometry
        verified_size = self._verified_size(offer)
        held = fetch.assembly.table.held_symbol_count if fetch.assembly else 0
        symbols = min(geometry.symbol_count, -(-verified_size // geometry.symbol_size) + held)
        size = min(symbols * geometry.symbol_size, geometry.object_size)
        self._meter.update(size, now)
        rate = self._meter.rate_bps
        state = TransferState.RECEIVING
        if fetch.phase is Phase.FINISHING:
            state = TransferState.FINISHING
        elif self._reconnecting:
            state = TransferState.RECONNECTING
        elif fetch.assembly is not None and not fetch.assembly.table.manifest_known:
            state = TransferState.LISTING
        unpacker = fetch.assembly.unpacker if fetch.assembly else None
        counters = fetch.counters
        return TransferProgress(
            symbol_count=symbols,
            symbol_total=geometry.symbol_count,
            verified_size=verified_size,
            total_size=geometry.object_size,
            rate_bps=rate,
            loss=counters.loss,
            eta_s=None if state is TransferState.RECONNECTING else _eta_s(geometry.object_size - size, rate),
            state=state,
            received_count=counters.received_count,
            duplicate_count=unpacker.duplicate_count if unpacker else 0,
            damaged_count=unpacker.damaged_count if unpacker else 0,
            rejected_count=counters.rejected_count,
            kernel_drop_count=counters.kernel_drop_count,
            name=offer.name,
        )


def _eta_s(left_size: int, rate_bps: float) -> float | None:
    """Seconds that are left at this rate; None where it tells nothing."""
    seconds = left_size * 8 / rate_bps if rate_bps > 0 else ETA_MAX_S
    return seconds if seconds < ETA_MAX_S else None
