"""A fetch from start to end: the handshake, the loop, the file, and what it tells."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import threading
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fountain.codes.api import Code
from fountain.codes.registry import code_by_name, code_by_profile
from fountain.engine.clock import now_ns
from fountain.engine.collector import BlockSink
from fountain.engine.config import FetchConfig
from fountain.engine.failures import KEPT_HINT, fetch_failure
from fountain.engine.meter import RateMeter
from fountain.engine.observer import (
    DigestComputed,
    Fetched,
    Listed,
    Observer,
    Offered,
    Preparing,
    Reconnecting,
    Resumed,
    Searching,
    TransferProgress,
)
from fountain.engine.receiver import Phase, Receiver
from fountain.engine.warmup import WarmUp
from fountain.engine.workers import ThreadWorkers
from fountain.errors import FountainError, IncompleteError, RefusedError, UsageError
from fountain.integrity import digest
from fountain.limits import NS
from fountain.net.address import resolve
from fountain.net.endpoint import open_endpoint
from fountain.net.waiting import Waker, wait
from fountain.protocol.client import ClientMachine
from fountain.protocol.client_events import ClientEvent
from fountain.storage.part import Part, resolve_destination
from fountain.wire.control import OfferBody, Want
from fountain.wire.session import StopReason

__all__ = ["FetchSummary", "fetch"]

PROGRESS_INTERVAL_NS = NS // 5
STOP_CHECK_NS = NS // 10


@dataclass(frozen=True)
class FetchSummary:
    """Where the object stands, and the digest and path of each of its files."""

    path: Path
    files: tuple[tuple[str, Path], ...]


def fetch(config: FetchConfig, observer: Observer, stop: threading.Event) -> FetchSummary:
    """Fetch one object and return when it stands, verified, at its destination.

    Raises:
        FountainError: any of its kinds but PeersMissingError; what was received is kept unless it was worth nothing.
    """
    with ExitStack() as stack:
        warm_up = WarmUp(code_by_name("raptorq"))
        targets = resolve(config.host, config.port)
        observer.handle(Searching(config.host, config.port))
        endpoint = open_endpoint()
        stack.callback(endpoint.close)
        waker = Waker()
        stack.callback(waker.close)
        workers = ThreadWorkers(waker.wake)
        fetcher = _Fetcher(config, observer, stop, warm_up)
        stack.callback(fetcher.close)
        stack.callback(workers.close)  # First: no job may touch a part that is closed.
        want_kind, want = Want.ANY, bytes(32)
        if config.name is not None:
            want_kind, want = Want.NAME, digest(config.name.encode())
        machine = ClientMachine(
            secret=secrets.token_bytes(32), want_kind=want_kind, want=want, open=config.open, wait=config.wait,
            timeout_ns=config.timeout_ns, peer_id=_peer_id(config), host=platform.node(), now_ns=now_ns(),
        )  # fmt: skip
        receiver = Receiver(
            machine, endpoint, targets, workers,
            open_sink=fetcher.open_sink, loss=config.loss_test, seed=secrets.randbits(64),
        )  # fmt: skip
        while receiver.phase is not Phase.ENDED:
            now = now_ns()
            if stop.is_set():
                receiver.stop(StopReason.INTERRUPTED, now)
            deadline = receiver.step(now)
            fetcher.tell(receiver, now)
            wait([endpoint], min(deadline, now + STOP_CHECK_NS) - now, waker)
        fetcher.tell(receiver, now_ns())
        return fetcher.summary(receiver)


def _peer_id(config: FetchConfig) -> bytes:
    """Eight octets that stay the same when the same fetch is started again on the same machine."""
    place = os.path.abspath(config.out or Path.cwd())
    parts = f"{platform.node()}\0{uuid.getnode():x}\0{place}\0{config.name or ''}"
    return hashlib.blake2s(parts.encode(errors="surrogateescape"), digest_size=8).digest()


class _Fetcher:
    """What a fetch knows beside the receiver: its destination, its part, and what was told."""

    def __init__(self, config: FetchConfig, observer: Observer, stop: threading.Event, warm_up: WarmUp) -> None:
        self._config = config
        self._observer = observer
        self._stop = stop
        self._warm_up = warm_up
        self._part: Part | None = None
        self._offer: OfferBody | None = None
        self._failure: FountainError | None = None
        self._start_ns = now_ns()
        self._progress_ns = self._start_ns
        self._meter = RateMeter(self._start_ns)
        self._reconnecting = False
        self._address = config.host

    def open_sink(self, offer: OfferBody) -> tuple[Code, BlockSink]:
        """The code and the part for an offer."""
        code = code_by_profile(offer.profile_id)
        if code is None:
            raise RefusedError(
                f"The server's code (profile {offer.profile_id.hex()}) is not installed here.",
                "Install the package that has it, or serve with --code raptorq.",
            )
        self._offer = offer
        destination = resolve_destination(self._config.out, offer.name)
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
        self._part = Part.open(
            destination, offer.object_id, offer.name, offer.object_size,
            overwrite=self._config.overwrite,
            progress=lambda done, total: self._observer.handle(Preparing("checking what is there", done, total)),
        )  # fmt: skip
        self._warm_up.finish(lambda: self._observer.handle(Preparing("compiling kernels, first run only")), self._stop)
        verified_size = self._verified_size()
        if verified_size:
            self._observer.handle(Resumed(verified_size, offer.object_size))
        self._start_ns = now_ns()
        self._meter = RateMeter(self._start_ns, verified_size)
        return code, self._part

    def tell(self, receiver: Receiver, now: int) -> None:
        """Hand events and, now and then, progress to the observer."""
        events, receiver.events = receiver.events, []
        for event in events:
            self._tell_event(event)
        if self._offer is not None and now >= self._progress_ns:
            self._progress_ns = now + PROGRESS_INTERVAL_NS
            self._observer.handle(self._progress(receiver, self._offer, now))

    def summary(self, receiver: Receiver) -> FetchSummary:
        """The end: raise what went wrong, or tell of the object."""
        error = receiver.error or self._failure
        if error is not None:
            raise error
        if not receiver.succeeded:
            raise IncompleteError("The fetch was interrupted.", KEPT_HINT if self._part is not None else "")
        assert self._part is not None
        assert self._offer is not None
        for hex_digest, path in receiver.files:
            self._observer.handle(DigestComputed(hex_digest, path, path.stat().st_size))
        self._tell_fetched(receiver, self._offer, self._part.destination)
        return FetchSummary(self._part.destination, tuple(receiver.files))

    def close(self) -> None:
        """Keep the part, if there is one."""
        if self._part is not None:
            self._part.close()

    def _tell_fetched(self, receiver: Receiver, offer: OfferBody, path: Path) -> None:
        duration_s = max(1e-9, (receiver.finished_ns - self._start_ns) / NS)
        self._observer.handle(
            Fetched(
                path=path,
                name=offer.name,
                object_id=offer.object_id.hex(),
                size=offer.object_size,
                duration_s=duration_s,
                rate_bps=offer.object_size * 8 / duration_s,
                received_count=receiver.received_count,
                overhead_count=receiver.collector.overhead_count if receiver.collector else 0,
                block_count=offer.geometry.block_count,
                loss=receiver.loss_fraction,
            )
        )

    def _tell_event(self, event: ClientEvent) -> None:
        config = self._config
        if event.kind == "listed":
            self._observer.handle(Listed(event.entries))
            self._failure = UsageError(
                f"{config.host} serves several objects.", f"Name one of them: fountain-fetch {config.host} NAME"
            )
        elif event.kind == "reconnecting":
            self._reconnecting = True
            self._observer.handle(Reconnecting(event.reason))
        elif event.kind == "connected":
            self._reconnecting = False
        elif event.kind == "failed":
            self._failure = fetch_failure(event, config.host, config.port, config.timeout_ns / NS)

    def _verified_size(self) -> int:
        if self._part is None or self._offer is None:
            return 0
        verified, geometry = self._part.verified, self._offer.geometry
        if not len(verified):
            return 0
        size = int(verified.sum()) * geometry.block_symbols_max * geometry.symbol_size
        return min(size, geometry.object_size)

    def _progress(self, receiver: Receiver, offer: OfferBody, now: int) -> TransferProgress:
        geometry = offer.geometry
        verified_size = self._verified_size()
        held = receiver.collector.table.held_symbol_count if receiver.collector else 0
        symbols = min(geometry.symbol_count, -(-verified_size // geometry.symbol_size) + held)
        size = min(symbols * geometry.symbol_size, geometry.object_size)
        self._meter.update(size, now)
        rate = self._meter.rate_bps
        state = "receiving"
        if receiver.phase is Phase.FINISHING:
            state = "finishing"
        elif self._reconnecting:
            state = "reconnecting"
        unpacker = receiver.unpacker
        return TransferProgress(
            symbol_count=symbols,
            symbol_total=geometry.symbol_count,
            verified_size=verified_size,
            total_size=geometry.object_size,
            rate_bps=rate,
            loss=receiver.loss_fraction,
            eta_s=(geometry.object_size - size) * 8 / rate if rate > 0 else None,
            state=state,
            received_count=receiver.received_count,
            duplicate_count=unpacker.duplicate_count if unpacker else 0,
            damaged_count=unpacker.damaged_count if unpacker else 0,
            kernel_drop_count=receiver.machine.kernel_drop_count,
        )
