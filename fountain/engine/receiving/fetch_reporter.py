"""What an observer is notified of while an object is fetched, and at the end."""

from __future__ import annotations

from fountain.config import FetchConfig
from fountain.engine.receiving.failures import DEFECT_HINT, KEPT_HINT, fetch_failure
from fountain.engine.receiving.object_fetch import ObjectFetch, Phase
from fountain.engine.receiving.outcome import Succeeded, Unserved
from fountain.engine.receiving.place import Beginning, ObjectPlace
from fountain.engine.receiving.server_trust import ServerTrust
from fountain.engine.runtime.meter import RateMeter
from fountain.errors import FountainError, IncompleteError
from fountain.events import (
    DigestComputed,
    Fetched,
    LeftOut,
    Listed,
    Observer,
    PairCodeProved,
    Reconnecting,
    TransferProgress,
    TransferState,
    Warned,
)
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.protocol.session.client_events import (
    ClientEvent,
    Failure,
    FetchHindered,
    ListingReceived,
    PacketsTooLarge,
    PartsRequested,
    ServerPreparing,
    StreamLost,
    StreamOpened,
    Trouble,
)
from fountain.sentences import Notice, warning

__all__ = ["FetchReporter"]

PROGRESS_INTERVAL_NS = NS // 5
WAITING_HINT = "Still waiting (`wait`)."
ETA_MAX_S = 100 * 86_400.0  # Beyond that a stream has stopped.


class FetchReporter:
    """Notifies `observer` of one fetch, whose object goes to `place`; `servers` learns the key of its server."""

    def __init__(
        self, config: FetchConfig, observer: Observer, fetch: ObjectFetch, place: ObjectPlace,
        servers: ServerTrust | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._observer = observer
        self._fetch = fetch
        self._place = place
        self._servers = servers
        self._beginning: Beginning | None = None  # that `_meter` belongs to
        self._meter = RateMeter(0)
        self._progress_ns = 0  # when progress is due
        self._is_reconnecting = self._has_reported_defect = self._has_reported_code = False

    def report(self, now_ns: int) -> None:
        """Hand events and, now and then, progress to the observer."""
        fetch = self._fetch
        if self._servers is not None and (proved := self._servers.poll_event()) is not None:
            self._observer.handle(proved)
        events, fetch.events = fetch.events, []
        for event in events:
            self._report_event(event)
        defect = fetch.assembly.defect if fetch.assembly is not None else ""
        if defect and not self._has_reported_defect:
            self._has_reported_defect = True
            self._observer.handle(Warned(f"A packet that arrived could not be processed: {defect}.", DEFECT_HINT))
        beginning = self._place.beginning
        if beginning is not None and now_ns >= self._progress_ns:
            self._progress_ns = now_ns + PROGRESS_INTERVAL_NS
            self._observer.handle(self._progress(beginning, now_ns))

    def finish(self) -> Fetched:
        """The end: report the object, and return what was reported.

        Raises:
            FountainError: what went wrong, at either end.
        """
        if self.error is not None:
            raise self.error
        outcome, part, beginning = self._fetch.outcome, self._place.part, self._place.beginning
        if not isinstance(outcome, Succeeded):
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT if part is not None else "")
        assert part is not None
        assert beginning is not None
        if part.manifest is not None and part.manifest.left_out_count:
            self._observer.handle(LeftOut(beginning.offer.name, part.manifest.left_out_count))
        for remark in part.remarks:
            self._observer.handle(Warned(remark))
        # The size is the manifest's: another program may have moved the file away by now.
        for (hex_digest, path), size in zip(outcome.files, part.file_sizes):
            if hex_digest:
                self._observer.handle(DigestComputed(hex_digest, path, size))
        fetched = self._figures(outcome, beginning)
        self._observer.handle(fetched)
        return fetched

    @property
    def error(self) -> FountainError | None:
        """What went wrong, at either end."""
        outcome = self._fetch.outcome
        return self._failure_of(outcome.trouble) if isinstance(outcome, Unserved) else self._fetch.error

    def close(self) -> None:
        """Keep the part, and end what runs."""
        self._fetch.workers.close()  # First: no job may touch a part that is closed.
        self._place.close()

    # --- Inside --------------------------------------------------------------------------------------------

    def _figures(self, outcome: Succeeded, beginning: Beginning) -> Fetched:
        offer, counters, assembly = beginning.offer, self._fetch.counters, self._fetch.assembly
        duration_s = max(1e-9, (outcome.at_ns - beginning.start_ns) / NS)
        return Fetched(
            path=self._place.destination,
            name=offer.name,
            object_id=offer.object_id.hex(),
            size=offer.object_size,
            duration_s=duration_s,
            rate_bps=(offer.object_size - beginning.resumed_size) * 8 / duration_s,
            received_count=counters.received_count,
            overhead_count=assembly.collector.overhead_count if assembly else 0,
            block_count=offer.geometry.block_count,
            loss=counters.loss,
            files=outcome.files,
            release=beginning.release,
            signer=beginning.signer,
        )

    def _report_event(self, event: ClientEvent) -> None:
        match event:
            case ListingReceived():
                self._observer.handle(Listed(event.entries))
            case ServerPreparing():
                self._observer.handle(warning(Notice.SERVER_PREPARING, host=self._host))
            case StreamLost():
                self._is_reconnecting = True
                self._observer.handle(Reconnecting(event.reason))
            case StreamOpened():
                self._is_reconnecting = False
                if self._config.trust.pair is not None and not self._has_reported_code:
                    self._has_reported_code = True
                    self._observer.handle(PairCodeProved(self._host, self._config.port))
            case PartsRequested():
                size = event.offer.symbol_size + DATA_OVERHEAD_SIZE
                self._observer.handle(warning(Notice.PACKETS_IN_PARTS, size=size, part_count=event.part_count))
            case PacketsTooLarge():
                size = event.offer.symbol_size + DATA_OVERHEAD_SIZE
                self._observer.handle(warning(Notice.PACKETS_TOO_LARGE, size=size))
            case FetchHindered():
                self._observer.handle(Warned(self._failure_of(event).message, WAITING_HINT))

    @property
    def _host(self) -> str:
        return self._config.host or self._place.address

    def _failure_of(self, trouble: Trouble) -> FountainError:
        config, vetting = self._config, self._place.vetting
        keys = self._servers.keys if self._servers is not None else None
        if trouble.failure is Failure.OTHER_KEY and keys is not None and keys.refusal is not None:
            return keys.refusal
        if trouble.failure is Failure.UNTRUSTED and vetting is not None and vetting.refusal is not None:
            return vetting.refusal
        is_pinned, is_paired = config.trust.object_id is not None, config.trust.pair is not None
        return fetch_failure(
            trouble, self._host, config.port, config.timeout_ns / NS, config.name,
            is_pinned=is_pinned, is_paired=is_paired,
        )  # fmt: skip

    def _progress(self, beginning: Beginning, now_ns: int) -> TransferProgress:
        fetch = self._fetch
        if beginning is not self._beginning:
            self._beginning = beginning
            self._meter = RateMeter(beginning.start_ns, beginning.resumed_size)
        offer, geometry, assembly = beginning.offer, beginning.offer.geometry, fetch.assembly
        verified_size = self._place.verified_size(offer)
        held = assembly.table.held_symbol_count if assembly else 0
        symbols = min(geometry.symbol_count, -(-verified_size // geometry.symbol_size) + held)
        size = min(symbols * geometry.symbol_size, geometry.object_size)
        self._meter.update(size, now_ns)
        rate = self._meter.rate_bps
        state = TransferState.RECEIVING
        if fetch.phase is Phase.FINISHING:
            state = TransferState.FINISHING
        elif self._is_reconnecting:
            state = TransferState.RECONNECTING
        elif assembly is not None and not assembly.table.manifest_known:
            state = TransferState.LISTING
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
            duplicate_count=assembly.unpacker.duplicate_count if assembly else 0,
            damaged_count=assembly.unpacker.damaged_count if assembly else 0,
            rejected_count=counters.rejected_count,
            kernel_drop_count=counters.kernel_drop_count,
            name=offer.name,
        )


def _eta_s(left_size: int, rate_bps: float) -> float | None:
    """Seconds that are left at this rate; None where it shows nothing."""
    seconds = left_size * 8 / rate_bps if rate_bps > 0 else ETA_MAX_S
    return seconds if seconds < ETA_MAX_S else None
