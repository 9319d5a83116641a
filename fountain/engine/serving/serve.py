"""A server from start to end: sources, sockets, the loop, and what it tells."""

from __future__ import annotations

import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fountain.codes.api import Code
from fountain.codes.registry import code_by_name
from fountain.config import ServeConfig
from fountain.engine.runtime.clock import STOP_CHECK_NS, now_ns
from fountain.engine.runtime.exposure import warn_of_exposure
from fountain.engine.runtime.warmup import WarmUp
from fountain.engine.serving.fleet import Fleet, GroupPlace
from fountain.engine.serving.members import SNAPSHOT_COUNT_MAX
from fountain.engine.serving.porter import Porter
from fountain.engine.serving.roster import Roster
from fountain.engine.serving.sender import Sender
from fountain.engine.serving.served import BlockCache, ObjectSymbols
from fountain.errors import UsageError
from fountain.events import (
    EndReason,
    GroupSummary,
    LeftOut,
    ObjectServed,
    Observer,
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerRefused,
    PeersProgress,
    Preparing,
    ReceiverResult,
    Serving,
    Shield,
    Stopped,
    Warned,
)
from fountain.geometry import symbol_size_for_mtu
from fountain.limits import BLOCK_SYMBOL_COUNT_DEFAULT, LISTING_PAGE_COUNT_MAX, NS
from fountain.net.address import text
from fountain.net.endpoint import Endpoint, open_endpoint
from fountain.net.local import local_addresses
from fountain.net.waiting import wait
from fountain.protocol.rate import control_factory
from fountain.protocol.session.server_events import HandshakeRefused, ServerEvent, SessionOpened
from fountain.sentences import Notice, sentence
from fountain.storage.source import FileSource, check_source, object_name, open_source
from fountain.wire.control import Listing

__all__ = ["ServeSummary", "serve"]

PROGRESS_INTERVAL_NS = NS // 5
LARGE_INTERVAL_NS = NS  # with so many receivers that not all are shown, or ...
SMALL_COUNT_MAX = 64  # ... more sessions than this, whose table takes some ten kilobytes
_ENCODER_COUNT = max(1, min(4, (os.cpu_count() or 2) - 1))
LINGER_NS = NS // 4  # After the last expected Stop: its acknowledgement may be lost and asked for again.
REFUSAL_INTERVAL_NS = NS
BLOCKED_NS = NS // 100  # While the socket takes no more, what is due can wait so long for it.


@dataclass(frozen=True)
class ServeSummary:
    """How a server ended: distinct peers that hold the verified object, and how many were expected, if any.

    `results` has all receivers of a group.
    """

    done_count: int
    expected_count: int | None
    reason: EndReason
    results: tuple[ReceiverResult, ...] = ()


class _InterruptedError(Exception):
    """The server was stopped before it served."""


def serve(config: ServeConfig, observer: Observer, stop: threading.Event) -> ServeSummary:
    """Serve until `stop` is set, every expected peer is done, or nobody has come for the idle time.

    Raises:
        UsageError, StorageError, TransportError: the server could not start, or its only object changed.
    """
    observer = Shield(observer)
    try:
        return _serve(config, observer, stop)
    except _InterruptedError:
        observer.handle(Stopped(EndReason.INTERRUPTED))
        return ServeSummary(0, config.expect, EndReason.INTERRUPTED)


def _serve(config: ServeConfig, observer: Observer, stop: threading.Event) -> ServeSummary:
    _check_names([object_name(path) for path in config.paths])
    with ExitStack() as stack:
        code = code_by_name(config.code)
        warm_up = WarmUp(code)
        place = None if config.fleet is None else GroupPlace.find(config.fleet)  # Wrong ones before hours of reading.
        if config.fleet is not None:
            warn_of_exposure(config.fleet.group, observer)
        for path in config.paths:
            check_source(path)
        control = open_endpoint(config.bind, config.port)
        stack.callback(control.close)
        data = open_endpoint(config.bind, config.data_port, field="data_port")
        stack.callback(data.close)
        porter = Porter(control)
        stack.callback(porter.close)
        sources = [stack.enter_context(_open(path, config, code, observer, stop)) for path in config.paths]
        warm_up.finish(observer, stop)
        porter.close()
        cache = BlockCache()
        objects = [
            ObjectSymbols(
                source,
                code,
                cache,
                is_directory=source.manifest.is_tree,
                data_port=data.local_address[1],
                open=config.open,
            )
            for source in sources
        ]
        executor = ThreadPoolExecutor(_ENCODER_COUNT, "encoder")
        stack.callback(executor.shutdown, cancel_futures=True)
        server = _Server(config, observer, stop, objects, control, data, executor, place)
        server.announce(sources)
        return server.run()


def _open(path: Path, config: ServeConfig, code: Code, observer: Observer, stop: threading.Event) -> FileSource:
    def tell(done: int, total: int) -> None:
        if stop.is_set():
            raise _InterruptedError
        observer.handle(Preparing(sentence(Notice.READING, path=path), done, total))

    def scanned(count: int) -> None:
        if stop.is_set():
            raise _InterruptedError
        observer.handle(Preparing(sentence(Notice.LISTING, path=path), entry_count=count))

    source = open_source(
        path,
        symbol_size=symbol_size_for_mtu(config.mtu),
        profile_id=code.profile_id,
        block_symbol_limit=code.symbol_count_max if code.symbol_count_max < BLOCK_SYMBOL_COUNT_DEFAULT else None,
        skip_unportable=config.skip_unportable,
        progress=tell,
        scanned=scanned,
    )
    if source.geometry.block_symbols_max > code.symbol_count_max:
        source.close()
        raise UsageError(
            f"{path} would have blocks of {source.geometry.block_symbols_max} symbols, "
            f"and the code {code.name!r} takes {code.symbol_count_max} at most.",
            "Serve it with `code` raptorq.",
            field="code",
        )
    if source.left_out.count:
        observer.handle(LeftOut(source.name, source.left_out.count, tuple(source.left_out.examples)))
    return source


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            hint = "Serve them from two servers, or rename one."
            raise UsageError(f"Two of the paths have the name {name!r}.", hint, field="paths")
    page_count = len(Listing.pages([(name, 0) for name in names]))
    if page_count > LISTING_PAGE_COUNT_MAX:
        raise UsageError(
            f"The names of {len(names):,} objects fill {page_count} pages, and a listing has at most "
            f"{LISTING_PAGE_COUNT_MAX}.",
            "Serve a directory as one object, or serve them from several servers.",
            field="paths",
        )


class _Server:
    """The loop and its bookkeeping."""

    def __init__(
        self, config: ServeConfig, observer: Observer, stop: threading.Event, objects: list[ObjectSymbols],
        control: Endpoint, data: Endpoint, executor: ThreadPoolExecutor, place: GroupPlace | None,
    ) -> None:  # fmt: skip
        start_ns = now_ns()
        self._config = config
        self._observer = observer
        self._stop = stop
        self._control, self._data = control, data
        secret = secrets.token_bytes(32)
        self._fleet: Fleet | None = None
        if config.fleet is not None:
            assert place is not None
            self._fleet = Fleet(
                config.fleet, [entry.served for entry in objects], control, data,
                place=place, secret=secret, rate_bps=config.rate_bps, observer=observer, now_ns=start_ns,
            )  # fmt: skip
        self._sender = Sender(
            objects, control, data, secret=secret, rate_bps=config.rate_bps,
            peer_count_max=config.peer_count_max, now_ns=start_ns, executor=executor,
            congestion=control_factory(config.congestion_control, config.loss_tolerance),
            groups=None if self._fleet is None else self._fleet.streams,
            key=None if place is None else place.key,
        )  # fmt: skip
        self._roster = Roster(start_ns)
        self._done_peers: set[tuple[str, bytes]] = set()
        self._progress_ns = start_ns
        self._refusal_ns = start_ns - REFUSAL_INTERVAL_NS
        self._busy_ns = start_ns
        self._failed_count = 0
        self._is_ending = False

    def announce(self, sources: list[FileSource]) -> None:
        """Tell what is served, and where."""
        for source in sources:
            self._observer.handle(
                ObjectServed(
                    name=source.name,
                    path=source.path,
                    object_id=source.object_id.hex(),
                    size=source.geometry.object_size,
                    file_count=len(source.manifest.file_entries),
                    block_count=source.geometry.block_count,
                    symbol_size=source.geometry.symbol_size,
                )
            )
        config = self._config
        self._observer.handle(
            Serving(
                addresses=tuple(local_addresses(config.bind)),
                port=self._control.local_address[1],
                data_port=self._data.local_address[1],
                open=config.open,
                rate_bps=config.rate_bps,
                is_keyed=config.fleet is not None and config.fleet.group.key_path is not None,
            )
        )
        if self._fleet is not None:
            self._fleet.announce()

    def run(self) -> ServeSummary:
        """The loop; peers are told of its end, whatever that is."""
        try:
            return self._run()
        except BaseException:
            self._close(now_ns())
            self._summarize()  # What receivers have, they have.
            raise

    def _run(self) -> ServeSummary:
        reason: EndReason | None = None
        while reason is None:
            now = now_ns()
            if self._fleet is not None:
                self._fleet.look(now)
            deadline = self._sender.step(now)
            self._tell(now)
            reason = self._reason_to_stop(now)
            blocked = [self._data] if self._sender.is_blocked else []
            if blocked:
                deadline = now + BLOCKED_NS
            deadline = min(deadline, self._progress_ns, now + STOP_CHECK_NS)
            if reason is None and deadline > now:
                wait([self._control, self._data], deadline - now_ns(), blocked=blocked)  # A step may have taken long.
        self._end(reason)
        results = self._summarize()
        self._observer.handle(Stopped(reason))
        return ServeSummary(len(self._done_peers), self._config.expect, reason, results)

    def _summarize(self) -> tuple[ReceiverResult, ...]:
        fleet = self._config.fleet
        if self._fleet is None or fleet is None or fleet.oneway is not None:
            return ()
        results = self._fleet.members.results(self._roster.done_objects)
        self._observer.handle(GroupSummary(results))
        return results

    def _reason_to_stop(self, now: int) -> EndReason | None:
        config = self._config
        if self._sender.machine.sessions or (self._fleet is not None and self._fleet.is_busy):
            self._busy_ns = now
        is_complete = config.expect is not None and len(self._done_peers) >= config.expect
        if is_complete and (self._fleet is None or not self._fleet.members.hooking):
            return EndReason.COMPLETE
        if self._fleet is not None and self._fleet.is_over:
            return EndReason.ONEWAY_OVER
        if self._stop.is_set():
            return EndReason.INTERRUPTED
        if config.idle_exit_ns is not None and now - self._busy_ns >= config.idle_exit_ns:
            return EndReason.IDLE
        return None

    def _end(self, reason: EndReason) -> None:
        """Say Bye, and acknowledge what is still asked, for a moment."""
        self._is_ending = True  # All that was to be done is done: a source that changes now spoils nothing.
        now = now_ns()
        self._sender.machine.close(now)
        self._tell(now)
        limit = now + LINGER_NS
        while reason is EndReason.COMPLETE and now < limit:
            self._sender.step(now)
            wait([self._control, self._data], limit - now)
            now = now_ns()
        self._close(now)  # Whoever came meanwhile.
        self._progress_ns = 0
        self._tell(now)

    def _close(self, now: int) -> None:
        """Say Bye to everybody."""
        self._sender.machine.close(now)
        if self._fleet is not None:
            self._fleet.close()
            self._fleet.streams.close(now)
        self._sender.flush()

    def _tell(self, now: int) -> None:
        while (event := self._sender.poll_event()) is not None:
            self._tell_event(event, now)
        if self._fleet is None:
            self._done_peers = self._roster.done_peers
        else:
            has_happened = self._fleet.tell(now)
            if now >= self._progress_ns or (has_happened and self._is_small):
                self._done_peers = self._fleet.members.done_peers(
                    self._roster.done_objects, now, is_ending=self._is_ending
                )
        for failure in self._sender.failures[self._failed_count :]:
            self._failed_count += 1
            if len(self._sender.objects) == 1 and not self._is_ending:
                raise failure
            self._observer.handle(Warned(failure.message, failure.hint))
        if now >= self._progress_ns:
            self._progress_ns = now + (PROGRESS_INTERVAL_NS if self._is_small else LARGE_INTERVAL_NS)
            self._observer.handle(self._progress(now))

    @property
    def _is_small(self) -> bool:
        """Whether looking at every receiver costs next to nothing, and their table is short."""
        if self._roster.count > SMALL_COUNT_MAX:
            return False
        return self._fleet is None or self._fleet.members.count <= SNAPSHOT_COUNT_MAX

    def _progress(self, now: int) -> PeersProgress:
        """Everybody, whether served alone or in a group."""
        progress = self._roster.progress(now)
        if self._fleet is None:
            return progress
        peers = self._fleet.members.snapshots(progress.peers)
        return PeersProgress(peers, progress.rate_bps + self._fleet.rate_bps(now), len(self._done_peers))

    def _tell_event(self, event: ServerEvent, now: int) -> None:
        if isinstance(event, HandshakeRefused):
            if now - self._refusal_ns >= REFUSAL_INTERVAL_NS:
                self._refusal_ns = now
                self._observer.handle(PeerRefused(text(event.address), event.reason))
            return
        told: PeerJoined | PeerFinished | PeerGone
        members = None if self._fleet is None else self._fleet.members
        if isinstance(event, SessionOpened):
            # It may come as a receiver of the group: to whoever watches it is the same one.
            shown_id = None if members is None else members.id_apart(event.session)
            told = self._roster.joined(event.session, now, shown_id)
        else:
            told = self._roster.ended(event.session)
        if members is not None:
            members.note(told, now)
        self._observer.handle(told)
