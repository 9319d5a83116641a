"""A server from start to end: sources, sockets, the loop, and what it reports."""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fountain.codes.api import Code
from fountain.codes.registry import code_by_name
from fountain.config import ServeConfig
from fountain.engine.runtime.clock import STOP_CHECK_NS, now_ns, now_utc
from fountain.engine.runtime.exposure import warn_of_exposure
from fountain.engine.runtime.warmup import WarmUp
from fountain.engine.serving.audience import Audience, event_of_member
from fountain.engine.serving.group import GroupPlace, ServedGroup
from fountain.engine.serving.identity import read_served_identity
from fountain.engine.serving.porter import Porter
from fountain.engine.serving.releases import ServedRelease, read_releases
from fountain.engine.serving.sender import Sender
from fountain.engine.serving.served import BlockCache, ObjectSymbols
from fountain.engine.serving.stragglers import Stragglers
from fountain.errors import RefusedError, UntrustedError, UsageError
from fountain.events import (
    EndReason,
    GroupSummary,
    LeftOut,
    ObjectServed,
    Observer,
    PairCodeDrawn,
    PairCodeRefused,
    PeerRefused,
    Preparing,
    ReceiverResult,
    Serving,
    Shield,
    Stopped,
    Warned,
)
from fountain.geometry import symbol_size_for_mtu
from fountain.limits import BLOCK_SYMBOL_COUNT_DEFAULT, LISTING_PAGE_COUNT_MAX, MTU_DEFAULT, NS
from fountain.net.address import text
from fountain.net.endpoint import Endpoint, open_endpoint
from fountain.net.local import local_addresses
from fountain.net.waiting import wait
from fountain.protocol.base.handshake import Identity
from fountain.protocol.rate import control_factory
from fountain.protocol.session.server import ServerMachine
from fountain.protocol.session.server_events import HandshakeRefused, ServerEvent, SessionEnded, SessionOpened
from fountain.sentences import Notice, sentence
from fountain.storage.files import check_source
from fountain.storage.source import FileSource, object_name, open_source
from fountain.trust.release import Release
from fountain.trust.sshsig import fingerprint
from fountain.wire.control import Listing, RefusalReason

if TYPE_CHECKING:
    from fountain.engine.serving.pairing import ServedCode

__all__ = ["ServeSummary", "serve"]

PROGRESS_INTERVAL_NS = NS // 5
LARGE_INTERVAL_NS = NS  # with so many peers that a table of them takes long, or much room
_ENCODER_COUNT = max(1, min(4, (os.cpu_count() or 2) - 1))
LINGER_NS = NS // 4  # After the last expected Stop: its acknowledgement may be lost and asked for again.
SPENT_LINGER_NS = NS * 3 // 2  # After the last wrong code: its Refusal may be lost, and the client asks for a second.
REFUSAL_INTERVAL_NS = NS
REFUSAL_REPEAT_NS = 10 * NS  # A client asks again, to be sure.
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


@dataclass(frozen=True)
class _Proofs:
    """What a server proves: that it has a key, and that it knows a code."""

    identity: Identity | None
    code: ServedCode | None


def _draw_code() -> ServedCode:
    from fountain.engine.serving.pairing import draw_served_code  # Most servers have no code.

    return draw_served_code()


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
        return ServeSummary(0, config.expected_count, EndReason.INTERRUPTED)


def _serve(config: ServeConfig, observer: Observer, stop: threading.Event) -> ServeSummary:
    names = [object_name(path) for path in config.paths]
    _check_names(names)
    with ExitStack() as stack:
        code = code_by_name(config.code)
        identity = read_served_identity(config.trust, observer)  # Wrong files before hours of reading.
        proofs = _Proofs(identity, _draw_code() if config.trust.pair else None)
        releases = read_releases(config.trust.releases, names, now_utc())
        for release in releases.values():
            release.check_cut(code, None if config.mtu == MTU_DEFAULT else symbol_size_for_mtu(config.mtu))
        warm_up = WarmUp(code)
        place = None if config.fleet is None else GroupPlace.find(config.fleet, identity)  # Before hours, too.
        if config.fleet is not None:
            warn_of_exposure(config.fleet.group, observer)
        for path in config.paths:
            check_source(path)
        control = open_endpoint(config.bind, config.port)
        stack.callback(control.close)
        data = open_endpoint(config.bind, config.data_port, field="data_port")
        stack.callback(data.close)
        porter = Porter(control, place)
        stack.callback(porter.close)
        sources = [
            stack.enter_context(_open(path, config, code, observer, stop, releases.get(name)))
            for name, path in zip(names, config.paths)
        ]
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
                release=None if release is None else release.text,
            )
            for source, release in zip(sources, map(releases.get, names))
        ]
        executor = ThreadPoolExecutor(_ENCODER_COUNT, "encoder")
        stack.callback(executor.shutdown, cancel_futures=True)
        server = _Server(config, observer, stop, objects, (control, data), executor, place, proofs)
        server.announce(sources, releases)
        return server.run()


def _open(
    path: Path, config: ServeConfig, code: Code, observer: Observer, stop: threading.Event,
    release: ServedRelease | None = None,
) -> FileSource:  # fmt: skip
    def read(done: int, total: int) -> None:
        if stop.is_set():
            raise _InterruptedError
        observer.handle(Preparing(sentence(Notice.READING, path=path), done, total))

    def scanned(count: int) -> None:
        if stop.is_set():
            raise _InterruptedError
        observer.handle(Preparing(sentence(Notice.LISTING, path=path), entry_count=count))

    symbol_size = symbol_size_for_mtu(config.mtu)
    limit = code.symbol_count_max if code.symbol_count_max < BLOCK_SYMBOL_COUNT_DEFAULT else None
    if release is not None:
        symbol_size, limit = release.manifest.symbol_size, release.manifest.block_symbol_limit
    source = open_source(
        path,
        symbol_size=symbol_size,
        profile_id=code.profile_id,
        block_symbol_limit=limit,
        skip_unportable=config.skip_unportable,
        progress=read,
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
    if release is not None:
        try:
            release.adopt_by(source)
        except UntrustedError:
            source.close()
            raise
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
    """The loop, from the first packet to the last Bye."""

    def __init__(
        self, config: ServeConfig, observer: Observer, stop: threading.Event, objects: list[ObjectSymbols],
        endpoints: tuple[Endpoint, Endpoint], executor: ThreadPoolExecutor, place: GroupPlace | None,
        proofs: _Proofs,
    ) -> None:  # fmt: skip
        start_ns = now_ns()
        self._config = config
        self._stop = stop
        self._control, self._data = control, data = endpoints
        self._proofs = proofs
        self._spent_ns: int | None = None  # since when nobody may come any more, and nobody is there
        secret, served = secrets.token_bytes(32), [entry.served for entry in objects]
        self._group: ServedGroup | None = None
        if place is not None:
            self._group = ServedGroup(
                place, served, control, data,
                secret=secret, rate_bps=config.rate_bps, observer=observer, now_ns=start_ns,
            )  # fmt: skip
        pairing = None if proofs.code is None else proofs.code.pairing
        machine = ServerMachine(
            secret=secret, objects=served, rate_bps=config.rate_bps,
            peer_count_max=config.peer_count_max if pairing is None else 1, now_ns=start_ns,
            congestion=control_factory(config.congestion_control, config.loss_tolerance),
            key=pairing if place is None else place.key, identity=proofs.identity,
        )  # fmt: skip
        groups = None if self._group is None else self._group.streams
        self._sender = Sender(objects, control, data, machine, executor, groups)
        self._notifier = _Notifier(observer, self._sender, self._group, config.rate_bps, start_ns)
        self._busy_ns = start_ns
        self._stragglers = Stragglers(0 if groups is None else groups.needed_size, start_ns)

    def announce(self, sources: list[FileSource], releases: Mapping[str, ServedRelease]) -> None:
        """Report what is served, and where."""
        ports = self._control.local_address[1], self._data.local_address[1]
        identity = self._proofs.identity
        key = "" if identity is None else fingerprint(identity.private_key.public_key().public_bytes_raw())
        if self._proofs.code is not None:
            self._notifier.show_code(self._proofs.code.code)
        self._notifier.announce(sources, releases, self._config, ports, key)

    def run(self) -> ServeSummary:
        """The loop; peers are notified of its end, whatever that is."""
        try:
            reason = self._run_until_over()
            self._end(reason)
        except BaseException:
            self._close(now_ns())
            self._notifier.summarize()  # What receivers have, they have.
            raise
        results = self._notifier.summarize()
        self._notifier.stopped(reason)
        return ServeSummary(self._notifier.audience.done_count, self._config.expected_count, reason, results)

    def _run_until_over(self) -> EndReason:
        while True:
            now = now_ns()
            if self._group is not None:
                self._group.look(now)
            deadline = self._sender.step(now)
            self._notifier.step(now)
            reason = self._reason_to_stop(now)
            if reason is not None:
                return reason
            self._check_code(now)
            blocked = [self._data] if self._sender.is_blocked else []
            if blocked:
                deadline = now + BLOCKED_NS
            deadline = min(deadline, self._notifier.due_ns, now + STOP_CHECK_NS)
            if deadline > now:
                wait([self._control, self._data], deadline - now_ns(), blocked=blocked)  # A step may have taken long.

    def _reason_to_stop(self, now: int) -> EndReason | None:
        config = self._config
        if self._sender.machine.sessions or (self._group is not None and self._group.is_busy):
            self._busy_ns = now
        audience = self._notifier.audience
        expected_count = config.expected_count
        is_complete = expected_count is not None and audience.done_count >= expected_count
        if is_complete and not audience.hooking and self._may_end(now):
            return EndReason.COMPLETE
        if self._group is not None and self._group.is_over:
            return EndReason.ONEWAY_OVER
        if self._stop.is_set():
            return EndReason.INTERRUPTED
        if config.idle_exit_ns is not None and now - self._busy_ns >= config.idle_exit_ns:
            return EndReason.IDLE
        return None

    def _check_code(self, now: int) -> None:
        """End when the code is spent, and no client that knew it before is fetching.

        Raises:
            RefusedError: that is so, and the client that was wrong last has had time to hear it.
        """
        machine = self._sender.machine
        if machine.pairing is None or not machine.pairing.is_spent or machine.sessions:
            self._spent_ns = None
            return
        self._spent_ns = now if self._spent_ns is None else self._spent_ns
        if now - self._spent_ns >= SPENT_LINGER_NS:
            raise RefusedError(
                f"{machine.pairing.wrong_count} wrong codes came: this code is void, and the server has ended.",
                "Start it again for a new code. If nobody mistyped it, somebody on the network is guessing.",
            )

    def _may_end(self, now: int) -> bool:
        """Whether nobody is known, or to be heard yet, for whom the server should go on though `expect` is met."""
        if self._group is None:
            return True
        streams, audience = self._group.streams, self._notifier.audience
        return streams.has_heard_all(now) and self._stragglers.may_end(
            lambda: audience.receiving(now), streams.rate_bps, now
        )

    def _end(self, reason: EndReason) -> None:
        """Say Bye, and acknowledge what is still asked, for a moment."""
        self._notifier.is_ending = True
        now = now_ns()
        self._sender.machine.close(now)
        self._notifier.step(now)
        limit = now + LINGER_NS
        while reason is EndReason.COMPLETE and now < limit:
            self._sender.step(now)
            wait([self._control, self._data], limit - now)
            now = now_ns()
        self._close(now)  # Sessions that began meanwhile.
        self._notifier.due_ns = 0
        self._notifier.step(now)

    def _close(self, now: int) -> None:
        """Say Bye to everybody."""
        self._sender.machine.close(now)
        if self._group is not None:
            self._group.close()
            self._group.streams.close(now)
        self._sender.flush()


class _Notifier:
    """Notifies the observer of what happens at a server, and of how its peers fare.

    Attributes:
        audience: its peers.
        due_ns: when they are looked at again.
        is_ending: All that was to be done is done: a source that changes now spoils nothing.
    """

    def __init__(
        self, observer: Observer, sender: Sender, group: ServedGroup | None, rate_bps: int, now: int
    ) -> None:  # fmt: skip
        self.audience = Audience(rate_bps, now, () if group is None else group.machines)
        self.due_ns = now
        self.is_ending = False
        self._observer = observer
        self._sender = sender
        self._group = group
        self._refusal_ns = now - REFUSAL_INTERVAL_NS
        self._refused: tuple[str, RefusalReason] | None = None  # what was reported last
        self._refused_counts: Counter[RefusalReason] = Counter()
        self._failed_count = 0
        self._wrong_count = 0  # codes
        self._releases: list[Release] = []  # that have not expired yet

    def announce(
        self, sources: list[FileSource], releases: Mapping[str, ServedRelease], config: ServeConfig,
        ports: tuple[int, int], server_key: str,
    ) -> None:  # fmt: skip
        """Report what is served, and where: at these ports for control and for data, by a server that has this key."""
        self._releases = [release.release for release in releases.values()]
        for source in sources:
            release = releases.get(source.name)
            self._observer.handle(
                ObjectServed(
                    name=source.name,
                    path=source.path,
                    object_id=source.object_id.hex(),
                    size=source.geometry.object_size,
                    file_count=len(source.manifest.file_entries),
                    block_count=source.geometry.block_count,
                    symbol_size=source.geometry.symbol_size,
                    release="" if release is None else str(release.release),
                )
            )
        self._observer.handle(
            Serving(
                addresses=tuple(local_addresses(config.bind)),
                port=ports[0],
                data_port=ports[1],
                open=config.open,
                rate_bps=config.rate_bps,
                is_keyed=config.fleet is not None and config.fleet.group.key_path is not None,
                server_key=server_key,
            )
        )
        if self._group is not None:
            self._group.announce()

    def show_code(self, code: str) -> None:
        """Report the code that the server has drawn."""
        self._observer.handle(PairCodeDrawn(code))

    def step(self, now: int) -> None:
        """Report what has happened, and, when it is time to, how everybody fares.

        Raises:
            StorageError: the only object changed.
        """
        while (event := self._sender.poll_event()) is not None:
            self._report(event, now)
        has_happened = False
        if self._group is not None:
            while (happened := self._group.streams.poll_event()) is not None:
                has_happened = True
                machine, member_event = happened
                if (reported := event_of_member(member_event, machine.stream.offer)) is not None:
                    self._observer.handle(reported)
            self._group.report(self.audience, now)
        is_due = now >= self.due_ns
        if is_due or self._group is None or (has_happened and self.audience.is_small):
            self.audience.count_done(now, is_ending=self.is_ending)
        for failure in self._sender.failures[self._failed_count :]:
            self._failed_count += 1
            if len(self._sender.objects) == 1 and not self.is_ending:
                raise failure
            self._observer.handle(Warned(failure.message, failure.hint))
        if is_due:
            self.due_ns = now + (PROGRESS_INTERVAL_NS if self.audience.is_small else LARGE_INTERVAL_NS)
            self._observer.handle(self.audience.progress(now))
            self._report_expired()

    def _report_expired(self) -> None:
        """Report once that nobody takes a release any more."""
        clock = now_utc() if self._releases else None
        for release in [release for release in self._releases if clock is not None and release.expires <= clock]:
            self._releases.remove(release)
            self._observer.handle(Warned(f"{release} has expired: no receiver takes it any more.", "Sign it again."))

    def summarize(self) -> tuple[ReceiverResult, ...]:
        """Report what became of all receivers of a group that answers."""
        if self._group is None or self._group.is_oneway:
            return ()
        results = self.audience.results()
        self._observer.handle(GroupSummary(results))
        return results

    def stopped(self, reason: EndReason) -> None:
        """Report the end."""
        self._observer.handle(Stopped(reason))

    def _report(self, event: ServerEvent, now: int) -> None:
        match event:
            case SessionOpened():
                self._observer.handle(self.audience.opened(event.session, now))
            case SessionEnded():
                self._observer.handle(self.audience.ended(event.session, now))
            case HandshakeRefused(address, RefusalReason.WRONG_CODE):
                pairing = self._sender.machine.pairing
                if pairing is not None and pairing.wrong_count > self._wrong_count:
                    self._wrong_count = pairing.wrong_count
                    self._observer.handle(PairCodeRefused(text(address), pairing.left_count))
            case HandshakeRefused():
                self._refused_counts[event.reason] += 1
                refused = text(event.address), event.reason
                interval_ns = REFUSAL_REPEAT_NS if refused == self._refused else REFUSAL_INTERVAL_NS
                if now - self._refusal_ns >= interval_ns:
                    self._refused, self._refusal_ns = refused, now
                    self._observer.handle(PeerRefused(*refused, self._refused_counts[event.reason]))
