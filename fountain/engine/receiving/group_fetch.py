"""Fetching from a group, from start to end: one object, or, listening, every object that comes."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig
from fountain.engine.receiving.announcements import Announcements, described
from fountain.engine.receiving.archive import Archive
from fountain.engine.receiving.failures import KEPT_HINT, standstill_error
from fountain.engine.receiving.fetch_reporter import FetchReporter
from fountain.engine.receiving.group_feed import GroupFeed
from fountain.engine.receiving.group_receiver import OBJECT_COUNT_MAX, GroupPorts, GroupReceiver, ReceiverOptions
from fountain.engine.receiving.identity import ReceiverIdentity
from fountain.engine.receiving.object_fetch import Phase, Place
from fountain.engine.receiving.outcome import Unserved, Yielded
from fountain.engine.receiving.place import ObjectPlace
from fountain.engine.receiving.reticence import Gate, Reticence
from fountain.engine.receiving.server_trust import FetchTrust
from fountain.engine.runtime.clock import now_ns
from fountain.engine.runtime.standing import Standing
from fountain.engine.runtime.warmup import WarmUp
from fountain.engine.runtime.workers import ThreadWorkers
from fountain.errors import FountainError, IncompleteError, NameClashError, UntrustedError
from fountain.events import Announced, AskedToLeave, Fetched, Observer, Warned
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.address import text
from fountain.net.endpoint import Endpoint, open_endpoint, reopen_group_receiver
from fountain.net.group import Group
from fountain.net.waiting import Waker
from fountain.protocol.group.receiver import standstill_ns
from fountain.protocol.group.standstill import Standstill
from fountain.storage.destination import may_be_replaced
from fountain.wire.control import OfferBody
from fountain.wire.group import AnnounceFlag, MemberState
from fountain.wire.session import StopReason

if TYPE_CHECKING:
    from fountain.trust.release import Release

__all__ = ["GroupFetch"]


@dataclass
class _Entry:
    """One object on its way, and what is reported of it."""

    feed: GroupFeed
    reporter: FetchReporter
    gate: Gate
    release: Release | None = None  # where only signed releases are taken
    fetched: Fetched | None = None  # once that was reported
    standstill: Standstill | None = None  # that was reported
    was_asked_to_leave: bool = False  # and that was reported
    false_hosts: set[str] = field(default_factory=set)  # that were reported

    @property
    def has_proved(self) -> bool:
        """Whether its manifest is here, so that there is such an object."""
        assembly = self.feed.fetch.assembly
        return assembly is not None and assembly.sink.manifest is not None

    @property
    def done_count(self) -> int:
        """Blocks of it that are here."""
        assembly = self.feed.fetch.assembly
        return 0 if assembly is None else assembly.table.done.count

    @property
    def object_id(self) -> bytes:
        """Of the object."""
        return self.feed.machine.offer.object_id


class GroupFetch:
    """What a receiver takes: one object, or, listening, every object that comes.

    It is the application of a `GroupReceiver`.
    """

    def __init__(
        self, config: FetchConfig, observer: Observer, stop: threading.Event, waker: Waker, group: Group,
        ports: GroupPorts, identity: ReceiverIdentity, trust: FetchTrust,
    ) -> None:  # fmt: skip
        now = now_ns()
        assert config.group is not None
        self._config = config
        self._observer = observer
        self._stop = stop
        self._waker = waker
        self._group = group
        self._standing = Standing(group, config.group.interface, observer, self._renew, now_ns=now)
        self._entries: list[_Entry] = []
        self._start_ns = now
        self._is_interrupted = False
        self._trust = trust
        self._archive = Archive(config, observer, waker.wake, now, trust.vetting) if config.listen else None
        self._announcements = Announcements(config, observer, now)
        self._reticence = Reticence(observer, now)
        self._warm_up = WarmUp(code_by_name("raptorq"))  # while nothing is announced yet
        count_max = OBJECT_COUNT_MAX if config.listen else 1
        options = ReceiverOptions(
            config.timeout_ns, config.wait or config.listen, count_max, config.loss_test, secrets.randbits(64)
        )
        self._receiver = GroupReceiver(ports, identity, self, options)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """What to wait for."""
        return self._receiver.endpoints

    @property
    def is_over(self) -> bool:
        """Whether the one object has ended, well or badly, or all that an interrupt lets end."""
        phases = [entry.feed.fetch.phase for entry in self._entries]
        if self._is_interrupted:
            return Phase.FINISHING not in phases
        return self._archive is None and phases == [Phase.ENDED]

    def step(self, now_ns: int) -> int:
        """Do what can be done at `now_ns`; when to come back at the latest."""
        if self._is_interrupted:
            return now_ns if self.is_over else self._receiver.step(now_ns)
        self._standing.step(now_ns)
        deadline = self._receiver.step(now_ns)
        self._report(now_ns)
        self._step_hooks(now_ns)
        if self._archive is not None:
            self._archive.tidy(now_ns)
        self._settle(now_ns)
        self._check_patience(now_ns)
        return deadline

    def interrupt(self, now_ns: int) -> None:
        """End all as soon as what is being put in its place is there. Harmless when repeated."""
        if self._is_interrupted:
            return
        self._is_interrupted = True
        for entry in self._entries:
            entry.feed.fetch.stop(StopReason.INTERRUPTED, now_ns)
            if self._is_hook_open(entry):
                entry.feed.disown_hook(now_ns)

    def finish(self) -> Fetched | None:
        """The one object; None for a listener.

        Raises:
            FountainError: what went wrong.
        """
        if self._is_interrupted:
            self._receiver.stop(now_ns())
        if self._archive is not None:
            return None
        if not self._entries:
            raise IncompleteError("The fetch was interrupted.")
        entry = self._entries[0]
        self._explain(entry)
        return entry.fetched or entry.reporter.finish()

    def close(self) -> None:
        """Keep the parts, and end what runs."""
        self._receiver.flush()
        self._standing.close()
        if self._archive is not None:
            self._archive.close()
        for entry in self._entries:
            entry.reporter.close()
        self._receiver.close()

    def _renew(self, group: Group) -> None:
        """Join again: the interface is another one now, or was gone for a while."""
        before = self._group
        self._receiver.ports.renew(lambda endpoint: reopen_group_receiver(endpoint, before, group))
        self._group = group

    # --- As the application of its receiver ----------------------------------------------------------------

    def trusts(self, offer: OfferBody) -> bool:
        """Whether an object may be taken: where only signed releases are, it has to be one, and the newest."""
        if self._trust.vetting is None:
            return True
        now = now_ns()
        verdict = self._trust.vetting.judge(offer, now)
        error = verdict.error
        if verdict.release is not None:
            newest = self._newest_under_way(verdict.release.product)
            if newest <= verdict.release.version:
                return True
            hint = "You need not do anything: the newer one is fetched."
            error = UntrustedError(f"{verdict.release} is older than {newest}, which is on its way.", hint)
        if error is not None and not verdict.is_foreign and (self._config.wait or self._config.listen):
            self._announcements.report_refusal(error, lambda: self._reticence.may_show(now))
        return False

    def wants(self, offer: OfferBody) -> bool:
        """Whether to take an object that is not on its way yet. A plain fetch stays with what it has begun."""
        if self._archive is not None:
            return self._archive.wants(offer)
        return self._announcements.wants(offer, self._entries[0].feed.machine.offer if self._entries else None)

    def has(self, offer: OfferBody) -> MemberState | None:
        """How far an object is that was received already."""
        return None if self._archive is None else self._archive.has(offer.object_id)

    def prepare(self, feed: GroupFeed) -> Place:
        """Where to put the object of a feed that begins."""
        announce = feed.machine.announce
        is_shown = self._archive is None or self._reticence.may_show(now_ns())
        gate = Gate(self._observer, is_passing=is_shown, is_proved=self._archive is None)
        address = text(feed.machine.server)
        gate.handle(
            Announced(
                name=announce.offer.name,
                object_id=announce.offer.object_id.hex(),
                size=announce.offer.object_size,
                address=address,
                rate_bps=announce.rate_bps,
                is_oneway=bool(announce.flags & AnnounceFlag.ONEWAY),
            )
        )
        placing = None if self._archive is None else self._archive.placing
        place = ObjectPlace(self._config, gate, self._stop, self._warm_up, placing, address, self._trust.vetting)
        release = None if self._trust.vetting is None else self._trust.vetting.release_of(announce.offer)
        self._entries.append(_Entry(feed, FetchReporter(self._config, gate, feed.fetch, place), gate, release))
        return place

    def make_workers(self) -> ThreadWorkers:
        """Workers for one object."""
        return ThreadWorkers(self._waker.wake)

    def open_endpoint(self) -> Endpoint:
        """An endpoint for an object whose rest comes by unicast."""
        return open_endpoint(family=self._group.family)

    # --- What is reported ----------------------------------------------------------------------------------

    def _report(self, now: int) -> None:
        self._reticence.step(now)
        proved = None if self._trust.servers is None else self._trust.servers.poll_event()
        if proved is not None:
            self._observer.handle(proved)
        vetting = self._trust.vetting
        overdue = None if vetting is None or self._archive is None else vetting.poll_overdue(now)
        if overdue is not None:
            self._observer.handle(Warned(overdue.message, overdue.hint))
        for entry in self._entries:
            with self._receiver.alone(entry.feed, now):
                if not entry.gate.is_proved and entry.has_proved:
                    entry.gate.prove()
                    self._supersede(entry, now)
                entry.reporter.report(now)
            self._report_standstill(entry)
            self._report_false_hosts(entry)
            has_left = (entry.feed.was_asked or not self._config.wait) and not self._receiver.stands_by(entry.feed)
            if entry.feed.fallback is not None and has_left and self._archive is None:
                self._receiver.ports.leave()
        for entry in self._entries:
            reason = entry.feed.leave_reason
            if entry.gate.is_passing and reason is not None and not entry.was_asked_to_leave:
                entry.was_asked_to_leave = True
                packet_size = entry.feed.machine.offer.symbol_size + DATA_OVERHEAD_SIZE
                self._observer.handle(AskedToLeave(reason, packet_size))

    def _newest_under_way(self, product: str) -> int:
        """The highest version of a product that is on its way, and of which there is proof; 0: none is."""
        releases = [entry.release for entry in self._entries if entry.release is not None and entry.has_proved]
        return max((release.version for release in releases if release.product == product), default=0)

    def _supersede(self, newer: _Entry, now: int) -> None:
        """There is proof of a release: older ones of its product that are on their way give it their place."""
        release = newer.release
        if release is None:
            return
        for entry in self._entries:
            older = entry.release
            if older is None or older.product != release.product or older.version >= release.version:
                continue
            if entry.feed.may_yield:
                self._observer.handle(Warned(f"{older} is not fetched any more: {release} has come."))
                entry.feed.fetch.outcome = Yielded()
                entry.feed.fetch.stop(StopReason.INTERRUPTED, now)

    def _report_standstill(self, entry: _Entry) -> None:
        """Report why nothing comes of a group that is heard, unless the last report of it gave the same cause."""
        cause = entry.feed.standstill
        if cause is not None and cause is not entry.standstill:
            entry.standstill = cause
            error = self._standstill_error(cause)
            self._observer.handle(Warned(error.message, error.hint))

    def _report_false_hosts(self, entry: _Entry, *, is_end: bool = False) -> None:
        """Report who sends data in the name of the server: each host once, and at the end how much it was."""
        for host, count in entry.feed.false_hosts.items():
            if is_end:
                self._observer.handle(Warned(f"{host} sent {count:,} false data packets. None of them was used."))
            elif host not in entry.false_hosts:
                entry.false_hosts.add(host)
                self._observer.handle(
                    Warned(
                        f"{host} sends data packets in the name of the group's server. They are dropped.",
                        "It may have the key of the group: give all others a new one.",
                    )
                )

    def _standstill_error(self, cause: Standstill) -> IncompleteError:
        return standstill_error(cause, standstill_ns(self._config.timeout_ns) / NS)

    def _report_loss(self, entry: _Entry, error: FountainError | None) -> None:
        """An object of a listener will not come, or not now."""
        if not entry.gate.is_passing:
            self._reticence.hide()
        elif error is not None:
            self._observer.handle(Warned(error.message, self._hint(error)))

    def _hint(self, error: FountainError) -> str:
        """What to do about an object that was not taken: nobody is there to type the command again."""
        if not isinstance(error, NameClashError) or not os.path.lexists(error.path):
            return error.hint
        hint = "Move it away and start the listener again, or use another `out`"
        may_help = not self._config.overwrite and may_be_replaced(Path(error.path))
        return f"{hint}, or let it replace files with `overwrite`." if may_help else f"{hint}."

    # --- The end of an object ------------------------------------------------------------------------------

    def _settle(self, now: int) -> None:
        """See to what has ended."""
        for entry in list(self._entries):
            fetch, machine = entry.feed.fetch, entry.feed.machine
            if fetch.unforeseen is not None and self._archive is None:
                raise fetch.unforeseen
            if fetch.succeeded and entry.fetched is None:
                entry.fetched = entry.reporter.finish()
                self._report_false_hosts(entry, is_end=True)
                if self._archive is not None and self._archive.add(machine.offer, entry.fetched, now):
                    machine.change_state(MemberState.HOOKING, now)
            if self._archive is not None and fetch.phase is Phase.ENDED and not self._is_hook_open(entry):
                self._drop(self._archive, entry)

    def _is_hook_open(self, entry: _Entry) -> bool:
        return self._archive is not None and self._archive.is_hook_open(entry.object_id)

    def _step_hooks(self, now: int) -> None:
        """Run the hooks that are due, and let servers know how others have ended."""
        for object_id, is_success in self._archive.step_hooks(now) if self._archive is not None else ():
            machines = self._receiver.idle.of_object(object_id)
            for entry in self._entries:
                if entry.feed.fetch.succeeded and entry.object_id == object_id:
                    machines.append(entry.feed.machine)
                    entry.feed.linger()
            for machine in machines:
                machine.change_state(MemberState.HOOK_DONE if is_success else MemberState.HOOK_FAILED, now)

    def _drop(self, archive: Archive, entry: _Entry) -> None:
        """A listener's object is over, well or badly; the next may come."""
        self._entries.remove(entry)
        fetch = entry.feed.fetch
        if not fetch.succeeded:
            archive.forget(entry.object_id)
            self._report_loss(entry, entry.reporter.error)
        entry.reporter.close()
        self._receiver.forget(entry.feed)
        archive.tidy_soon(now_ns())

    def _explain(self, entry: _Entry) -> None:
        """Where neither the group nor its server alone brings anything, raise both as what went wrong."""
        cause, fetch = entry.feed.standstill, entry.feed.fetch
        failure = entry.reporter.error if isinstance(fetch.outcome, Unserved) else None
        if cause is not None and failure is not None:
            error = self._standstill_error(cause)
            message = f"{error.message} Fetching from its server by unicast failed too: {failure.message}"
            raise IncompleteError(message, f"{error.hint} {failure.hint}")

    @property
    def _server_refusal(self) -> UntrustedError | None:
        """Why what is announced is not believed, where that is so."""
        servers, proofs = self._trust.servers, self._receiver.proofs
        key = None if proofs is None else proofs.refused_key
        return None if servers is None or key is None else servers.refusal(key)

    def _check_patience(self, now: int) -> None:
        """Give up where nothing comes for too long, unless there is time without limit."""
        config, servers = self._config, self._receiver.servers
        servers.note_done(sum(entry.done_count for entry in self._entries))
        self._announcements.report_preparing(servers)
        if (config.wait or config.listen) and not self._entries:
            self._announcements.report_why_nothing_comes(self._group, servers, self._server_refusal, now)
        if config.wait and not config.listen:
            return
        is_awaited = servers.is_awaited(config.timeout_ns, now)
        is_late = now - self._start_ns >= config.timeout_ns
        if not self._entries and not config.listen and is_late and not is_awaited:
            refusal = None if self._trust.vetting is None else self._trust.vetting.refusal
            raise refusal or self._announcements.error(self._group, servers, self._server_refusal)
        for entry in self._entries:
            feed = entry.feed
            if not feed.is_forsaken(config.timeout_ns, now) or (is_awaited and feed.standstill is None):
                continue
            if feed.standstill is not None:
                error = self._standstill_error(feed.standstill)
                feed.fetch.give_up(IncompleteError(error.message, f"{error.hint} {KEPT_HINT}"), now)
            else:
                hint = "It goes on when a server announces it again." if config.listen else "Start again to go on."
                instead = self._announcements.instead
                silence = "The group fell silent before all was here."
                message = self._standing.fault or (silence if instead is None else f"{silence} {described(instead)}")
                feed.fetch.give_up(IncompleteError(message, f"What was received is kept. {hint}"), now)
