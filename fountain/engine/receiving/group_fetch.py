"""Fetching from a group, from start to end: one object, or, listening, every object that comes."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fountain.codes.registry import code_by_name
from fountain.config import FetchConfig
from fountain.engine.receiving.failures import KEPT_HINT, standstill_error
from fountain.engine.receiving.fetching import Fetching
from fountain.engine.receiving.group_feed import GroupFeed
from fountain.engine.receiving.group_receiver import OBJECT_COUNT_MAX, GroupPorts, GroupReceiver, ReceiverOptions
from fountain.engine.receiving.hooks import Hooks
from fountain.engine.receiving.identity import ReceiverIdentity
from fountain.engine.receiving.object_fetch import Phase, Place
from fountain.engine.receiving.outcome import Unserved
from fountain.engine.receiving.reticence import Gate, Reticence
from fountain.engine.runtime.clock import STOP_CHECK_NS, now_ns, wall_ns
from fountain.engine.runtime.standing import Standing
from fountain.engine.runtime.warmup import WarmUp
from fountain.engine.runtime.workers import ThreadWorkers
from fountain.errors import FountainError, IncompleteError, NameClashError, NobodyAnsweredError, StorageError
from fountain.events import Announced, AskedToLeave, Fetched, Observer, Warned
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.address import text
from fountain.net.endpoint import Endpoint, open_endpoint, reopen_group_receiver
from fountain.net.group import Group
from fountain.net.waiting import Waker, wait
from fountain.protocol.group.receiver import standstill_ns
from fountain.protocol.group.standstill import Standstill
from fountain.storage.destination import may_be_replaced
from fountain.storage.parts import tidy_parts
from fountain.storage.paths import printable
from fountain.storage.received import PendingHook, ReceivedList, is_own_name
from fountain.wire.control import OfferBody
from fountain.wire.group import AnnounceFlag, MemberState
from fountain.wire.session import StopReason

__all__ = ["GroupFetch"]

OTHERS_NS = 3 * NS  # Where only other things are heard for so long, that is told to whoever waits.
TIDY_NS, TIDY_SOON_NS = 3600 * NS, 10 * NS  # Parts are looked at so often, and so soon when one is left.
NAME_COUNT_MAX = 32  # Names that are told to whoever asks for one that is not announced.


@dataclass
class _Fetch:
    """One object on its way, and what is told of it."""

    feed: GroupFeed
    fetching: Fetching
    gate: Gate
    fetched: Fetched | None = None  # once that was reported
    standstill: Standstill | None = None  # that was told

    @property
    def has_proved(self) -> bool:
        """Whether its manifest is here, so that there is such an object."""
        assembly = self.feed.fetch.assembly
        return assembly is not None and assembly.sink.manifest is not None


class GroupFetch:
    """The loop of a receiver, whatever it takes: one object, or, listening, every object that comes."""

    def __init__(
        self, config: FetchConfig, observer: Observer, stop: threading.Event, waker: Waker, group: Group,
        endpoint: Endpoint, answer: Endpoint, identity: ReceiverIdentity,
    ) -> None:  # fmt: skip
        self._config = config
        self._observer = observer
        self._stop = stop
        self._waker = waker
        assert config.group is not None
        self._heard_group = group
        self._standing = Standing(group, config.group.interface, observer, self._renew, now_ns=now_ns())
        self._fetches: list[_Fetch] = []
        self._start_ns = now_ns()
        self._received = ReceivedList(config.out or Path.cwd()) if config.listen else None
        self._hooks: Hooks | None = None
        if config.hook is not None and self._received is not None:
            self._hooks = Hooks(config.hook, self._received, observer, self._start_ns)
        self._reticence = Reticence(observer, self._start_ns)
        self._tidier = ThreadWorkers(waker.wake, 1)
        self._tidy_ns = self._start_ns
        self._warm_up = WarmUp(code_by_name("raptorq"))  # while nothing is announced yet
        self._name = None if config.name is None else unicodedata.normalize("NFC", config.name)
        self._announced: dict[str, None] = {}  # the names that were heard, in order
        self._has_told_other = self._has_told_why = False
        self._instead: OfferBody | None = None  # what is announced under the name of what was begun
        self._heard_ns = self._start_ns  # until then nothing was heard
        count_max = OBJECT_COUNT_MAX if config.listen else 1
        options = ReceiverOptions(
            config.timeout_ns, config.wait or config.listen, count_max, config.loss_test, secrets.randbits(64)
        )
        self._receiver = GroupReceiver(GroupPorts(endpoint, answer), identity, self, options)

    def run(self) -> Fetched | None:
        """Take what comes, until that is enough; None for a listener that was stopped.

        Raises:
            FountainError: any of its kinds but PeersMissingError; what was received is kept unless it is worthless.
        """
        while True:
            now = now_ns()
            if self._stop.is_set():
                return self._interrupt(now)
            self._standing.step(now)
            deadline = self._receiver.step(now)
            self._tell(now)
            self._step_hooks(now)
            self._tidy(now)
            fetched = self._settle(now)
            if fetched is not None:
                return fetched
            self._check_patience(now)
            wait(self._receiver.endpoints, min(deadline, now + STOP_CHECK_NS) - now_ns(), self._waker)

    def close(self) -> None:
        """Keep the parts, and end what runs."""
        self._receiver.flush()
        self._standing.close()
        if self._hooks is not None:
            self._hooks.close()
        self._tidier.close()
        for fetch in self._fetches:
            fetch.feed.fetch.workers.close()
            fetch.fetching.close()
        self._receiver.close()

    def _renew(self, group: Group) -> None:
        """Join again: the interface is another one now, or was gone for a while."""
        before = self._heard_group
        self._receiver.ports.renew(lambda endpoint: reopen_group_receiver(endpoint, before, group))
        self._heard_group = group

    # --- What is taken -------------------------------------------------------------------------------------

    def wants(self, offer: OfferBody) -> bool:
        """Whether to take an object that is not on its way yet. A plain fetch stays with what it has begun."""
        if self._received is not None:
            return not is_own_name(offer.name) and offer.object_id not in self._received
        if len(self._announced) < NAME_COUNT_MAX:
            self._announced[offer.name] = None
        if self._fetches:
            self._tell_other(offer)
            return False
        return self._name is None or offer.name == self._name

    def has(self, offer: OfferBody) -> MemberState | None:
        """How far an object is that was received already."""
        if self._received is None or offer.object_id not in self._received:
            return None
        return MemberState.DONE if self._hooks is None else self._hooks.state(offer.object_id)

    def _tell_other(self, offer: OfferBody) -> None:
        """Where no name was given, the first object that was heard is taken; somebody may have meant another."""
        taken = self._fetches[0].feed.machine.offer
        if offer.name == taken.name and self._instead is None:
            self._instead = offer
            self._observer.handle(Warned(_described(offer), "It is another object: what was begun is waited for."))
        if self._name is None and not self._has_told_other and offer.name != taken.name:
            self._has_told_other = True
            message = f"{printable(offer.name)} is announced here as well."
            self._observer.handle(Warned(message, "Name the one that you want."))

    def _tell_why_nothing_comes(self, now: int) -> None:
        """Whoever has no limit of time is told once what is heard instead of what is waited for."""
        if self._fetches or self._has_told_why:
            return
        if not self._announced and not self._receiver.foreign_count:
            self._heard_ns = now
        elif now - self._heard_ns >= OTHERS_NS:
            self._has_told_why = True
            error = self._nobody()
            self._observer.handle(Warned(error.message, error.hint))

    def make_workers(self) -> ThreadWorkers:
        """Workers for one object."""
        return ThreadWorkers(self._waker.wake)

    def open_endpoint(self) -> Endpoint:
        """An endpoint for an object whose rest comes by unicast."""
        return open_endpoint(family=self._heard_group.family)

    def prepare(self, feed: GroupFeed) -> Place:
        """Where to put the object of a feed that begins."""
        machine = feed.machine
        announce = machine.announce
        is_shown = not self._config.listen or self._reticence.may_show(now_ns())
        gate = Gate(self._observer, is_open=is_shown, is_proved=not self._config.listen)
        gate.handle(
            Announced(
                name=announce.offer.name,
                object_id=announce.offer.object_id.hex(),
                size=announce.offer.object_size,
                address=text(machine.server),
                rate_bps=announce.rate_bps,
                is_oneway=bool(announce.flags & AnnounceFlag.ONEWAY),
            )
        )
        placing = None if self._hooks is None else self._expect_hook
        fetching = Fetching(self._config, gate, self._stop, self._warm_up, placing, text(machine.server))
        self._fetches.append(_Fetch(feed, fetching, gate))
        return fetching

    def _tell(self, now: int) -> None:
        self._reticence.step(now)
        for fetch in self._fetches:
            with self._receiver.alone(fetch.feed, now):
                if not fetch.gate.is_proved and fetch.has_proved:
                    fetch.gate.prove()
                fetch.fetching.tell(fetch.feed.fetch, now)
            self._tell_standstill(fetch)
            has_left = fetch.feed.was_asked or not self._config.wait
            if fetch.feed.fallback is not None and has_left and not self._config.listen:
                self._receiver.ports.leave()
        for fetch in self._fetches:
            reason = fetch.feed.leave_reason
            if fetch.gate.is_open and reason is not None and not fetch.fetching.was_asked_to_leave:
                fetch.fetching.was_asked_to_leave = True
                packet_size = fetch.feed.machine.offer.symbol_size + DATA_OVERHEAD_SIZE
                self._observer.handle(AskedToLeave(reason, packet_size))

    def _tell_standstill(self, fetch: _Fetch) -> None:
        """Report why nothing comes of a group that is heard, unless the last report of it gave the same cause."""
        cause = fetch.feed.standstill
        if cause is not None and cause is not fetch.standstill:
            fetch.standstill = cause
            error = standstill_error(cause, standstill_ns(self._config.timeout_ns) / NS)
            self._observer.handle(Warned(error.message, error.hint))

    def _settle(self, now: int) -> Fetched | None:
        """See to what has ended; the object, if that was all."""
        for fetch in list(self._fetches):
            taken, machine = fetch.feed.fetch, fetch.feed.machine
            if taken.unforeseen is not None and not self._config.listen:
                raise taken.unforeseen
            if taken.succeeded and fetch.fetched is None:
                fetch.fetched = fetch.fetching.finish(taken)
                if self._hooks is not None:
                    digests = [digest for digest, _ in taken.files] if len(taken.files) == 1 else []
                    self._hooks.begin(_pending_hook(machine.offer, digests), fetch.fetched.path, now)
                    machine.change_state(MemberState.HOOKING, now)
                elif self._received is not None:
                    self._remember(self._received, machine.offer.object_id)
            is_hook_open = self._hooks is not None and self._hooks.is_open(machine.offer.object_id)
            if taken.phase is not Phase.ENDED or is_hook_open:
                continue
            if not self._config.listen:
                self._explain(fetch)
                return fetch.fetched or fetch.fetching.finish(taken)
            self._drop(fetch)
        return None

    def _explain(self, fetch: _Fetch) -> None:
        """Where neither the group nor its server alone brings anything, both are what went wrong."""
        cause, taken = fetch.feed.standstill, fetch.feed.fetch
        failure = fetch.fetching.error_of(taken) if isinstance(taken.outcome, Unserved) else None
        if cause is not None and failure is not None:
            error = standstill_error(cause, standstill_ns(self._config.timeout_ns) / NS)
            message = f"{error.message} Its server alone does not help: {failure.message}"
            raise IncompleteError(message, f"{error.hint} {failure.hint}")

    def _remember(self, received: ReceivedList, object_id: bytes) -> None:
        """Take this object never again; a list that cannot be written is no reason to take nothing more."""
        try:
            received.add(object_id)
        except StorageError as error:
            self._observer.handle(Warned(error.message, error.hint))

    def _expect_hook(self, offer: OfferBody, digests: Sequence[str]) -> None:
        """On a worker: the object is about to get its place. Should all end there, the next start runs its hook."""
        assert self._received is not None
        with contextlib.suppress(StorageError):  # It is written again, and what goes wrong is told, with the attempt.
            self._received.expect_hook(_pending_hook(offer, digests))

    def _step_hooks(self, now: int) -> None:
        """Run the hooks that are due, and let servers know how others have ended."""
        if self._hooks is None:
            return
        for object_id, is_success in self._hooks.step(now):
            told = self._receiver.idle.of_object(object_id)
            for fetch in self._fetches:
                if fetch.feed.fetch.succeeded and fetch.feed.machine.offer.object_id == object_id:
                    told.append(fetch.feed.machine)
                    fetch.feed.linger()
            for machine in told:
                machine.change_state(MemberState.HOOK_DONE if is_success else MemberState.HOOK_FAILED, now)

    def _drop(self, fetch: _Fetch) -> None:
        """A listener's object is over, well or badly; the next may come."""
        self._fetches.remove(fetch)
        error = fetch.fetching.error_of(fetch.feed.fetch)
        if not fetch.feed.fetch.succeeded and self._hooks is not None and self._received is not None:
            self._received.forget(fetch.feed.machine.offer.object_id)
        if not fetch.feed.fetch.succeeded:
            self._tell_loss(fetch, error)
        fetch.feed.fetch.workers.close()
        fetch.fetching.close()
        self._receiver.forget(fetch.feed)
        self._tidy_ns = min(self._tidy_ns, now_ns() + TIDY_SOON_NS)

    def _tell_loss(self, fetch: _Fetch, error: FountainError | None) -> None:
        """An object of a listener will not come, or not now."""
        if not fetch.gate.is_open:
            self._reticence.hide()
        elif error is not None:
            self._observer.handle(Warned(error.message, self._hint(error)))

    def _tidy(self, now: int) -> None:
        """Have a thread remove the parts that are too old or too much, now and then."""
        while (gone := self._tidier.poll()) is not None:
            for name in gone if isinstance(gone, list) else ():
                message = f"The part {printable(name)} was removed: it was old, or too much with the others."
                self._observer.handle(Warned(message, "Nothing is to be done, unless its server was to go on with it."))
        if self._received is not None and now >= self._tidy_ns and self._tidier.is_idle:
            self._tidy_ns = now + TIDY_NS
            directory = self._received.directory
            self._tidier.submit(lambda: tidy_parts(directory, wall_ns()))

    def _hint(self, error: FountainError) -> str:
        """What to do about an object that was not taken: nobody is there to type the command again."""
        if not isinstance(error, NameClashError) or not os.path.lexists(error.path):
            return error.hint
        hint = "Move it away and start the listener again, or use another `out`"
        may_help = not self._config.overwrite and may_be_replaced(Path(error.path))
        return f"{hint}, or let it replace files with `overwrite`." if may_help else f"{hint}."

    # --- The end -------------------------------------------------------------------------------------------

    def _check_patience(self, now: int) -> None:
        """Give up where nothing comes for too long, unless there is time without limit."""
        config = self._config
        if config.wait or config.listen:
            self._tell_why_nothing_comes(now)
        if config.wait and not config.listen:
            return
        if not self._fetches and not config.listen and now - self._start_ns >= config.timeout_ns:
            raise self._nobody()
        for fetch in self._fetches:
            feed = fetch.feed
            if not feed.is_forsaken(config.timeout_ns, now):
                continue
            if feed.standstill is not None:
                error = standstill_error(feed.standstill, standstill_ns(config.timeout_ns) / NS)
                feed.fetch.give_up(IncompleteError(error.message, f"{error.hint} {KEPT_HINT}"), now)
            else:
                hint = "It goes on when a server announces it again." if config.listen else "Start again to go on."
                silence = "The group fell silent before all was here."
                instead = "" if self._instead is None else f" {_described(self._instead)}"
                message = self._standing.fault or silence + instead
                feed.fetch.give_up(IncompleteError(message, f"What was received is kept. {hint}"), now)

    def _nobody(self) -> NobodyAnsweredError:
        group, seconds = self._heard_group, self._config.timeout_ns / NS
        if self._receiver.foreign_count:
            return NobodyAnsweredError(
                f"Group {group.address} has a server, but it uses another key than this receiver, or only one of them "
                "uses any.",
                "Give both the same `group.key_path`, or none.",
            )
        if self._announced:
            names = ", ".join(printable(name) for name in self._announced)
            return NobodyAnsweredError(
                f"{printable(self._config.name or '')} is not announced in group {group.address}, port {group.port}.",
                f"This is: {names}.",
            )
        what = "anything" if self._config.name is None else printable(self._config.name)
        return NobodyAnsweredError(
            f"Nobody announced {what} in group {group.address}, port {group.port}, on {group.interface.name} within "
            f"{seconds:g} s.",
            f"Start fountain-serve with the same group, open UDP port {group.port} in this machine's firewall, choose "
            "the interface with `group.interface`, or wait longer with `wait`.",
        )

    def _interrupt(self, now: int) -> Fetched | None:
        for fetch in self._fetches:
            fetch.feed.fetch.stop(StopReason.INTERRUPTED, now)
            if self._hooks is not None and self._hooks.is_open(fetch.feed.machine.offer.object_id):
                fetch.feed.disown_hook(now)
        while any(feed.fetch.phase is Phase.FINISHING for feed in self._receiver.feeds.values()):
            self._receiver.step(now_ns())  # What is being put in its place has its end first.
            wait(self._receiver.endpoints, STOP_CHECK_NS, self._waker)
        self._receiver.stop(now_ns())
        if self._config.listen:
            return None
        if not self._fetches:
            raise IncompleteError("The fetch was interrupted.")
        fetch = self._fetches[0]
        return fetch.fetched or fetch.fetching.finish(fetch.feed.fetch)


def _pending_hook(offer: OfferBody, digests: Sequence[str]) -> PendingHook:
    """What the hook of an object is told, whose files have these digests."""
    return PendingHook(offer.object_id, offer.name, digests[0] if len(digests) == 1 else "")


def _described(offer: OfferBody) -> str:
    """What is announced under the name of an object that was begun."""
    return f"The group now announces another '{printable(offer.name)}', of {offer.object_size:,} bytes."
