"""Groups in the seeded world: how a server streams to one, and hosts that receive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.codes.api import Code
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.group_feed import GroupFeed
from fountain.engine.receiving.group_receiver import GroupPorts, GroupReceiver, ReceiverOptions
from fountain.engine.receiving.identity import GroupServerKeys, ReceiverIdentity
from fountain.engine.receiving.object_fetch import Phase, Place
from fountain.engine.receiving.outcome import Yielded
from fountain.engine.runtime.workers import InlineWorkers, Workers
from fountain.engine.serving.served import ObjectSymbols
from fountain.errors import FountainError
from fountain.integrity import digest
from fountain.limits import CONTROL_PORT_DEFAULT, NS
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.group.api import GroupSettings, GroupTarget
from fountain.protocol.group.streams import GroupStreams
from fountain.protocol.rate.tfmcc import group_rate
from fountain.protocol.session.client_events import ClientEvent
from fountain.testing.host import Host, Surroundings
from fountain.testing.memory import MemorySink
from fountain.wire.control import OfferBody
from fountain.wire.group import MemberState

__all__ = ["GROUP", "GroupOptions", "Listener", "ListenerOptions"]

GROUP: Address = ("group", 6331)


@dataclass(frozen=True)
class GroupOptions:
    """How a server of the world streams to a group: `cc` is "fixed" or "tfmcc"."""

    settings: GroupSettings = field(default_factory=GroupSettings)
    cc: str = "fixed"
    key: bytes | None = None
    address: Address = GROUP
    identity: Ed25519PrivateKey | None = None

    def streams(self, world: Surroundings, objects: Sequence[ObjectSymbols], rate_bps: int) -> GroupStreams:
        """The streams of a server's objects, from now on."""
        world.network.open_group(self.address)
        now_ns = world.now_ns
        return GroupStreams(
            [entry.served for entry in objects],
            GroupTarget(self.address, CONTROL_PORT_DEFAULT, self.key, self.identity),
            self.settings, secret=world.draw_bytes(32),
            controller=lambda size: group_rate(self.cc, size, rate_bps, now_ns), rate_bps=rate_bps, now_ns=now_ns,
        )  # fmt: skip


@dataclass(frozen=True)
class ListenerOptions:
    """What a receiver takes: objects of these `names`, or any; with `once` one alone.

    `capacity` is the size of each sink that it makes, and `loss` the share of packets that it throws away.
    """

    group: Address = GROUP
    names: Sequence[str] | None = None
    capacity: int | None = None
    key: bytes | None = None
    server_keys: GroupServerKeys | None = None
    loss: float = 0.0
    once: bool = True
    timeout_ns: int = 10 * NS
    wait: bool = False
    gives_up: bool = False


class Listener(Host):
    """A host that takes objects from a group into sinks that outlive it.

    It gives up only when a test asks for that, or, with `gives_up`, when nothing comes for the time-out.
    """

    def __init__(self, world: Surroundings, name: str, options: ListenerOptions, sinks: Iterable[MemorySink]) -> None:
        super().__init__(name)
        self.sinks = {sink.object_id: sink for sink in sinks}
        self.feeds: list[GroupFeed] = []
        self.events: list[ClientEvent] = []
        self.hook_ns: int | None = None  # how long a hook of each object takes; None for no hook
        self.hook_state = MemberState.HOOK_DONE
        self._options = options
        self._world = world
        self._hooks: list[tuple[int, GroupFeed]] = []
        self._reported: list[GroupFeed] = []
        self._start_ns = world.now_ns
        self.has_given_up = False  # before anything was announced
        # In memory a member hears the group at an address of its own.
        self.endpoint = world.network.attach((name, options.group[1]))
        self.answer = world.network.attach((name, world.draw_port()))
        world.network.join(self.endpoint, options.group)
        peer_id, secret = digest(name.encode())[:8], world.draw_bytes(32)
        identity = ReceiverIdentity(peer_id, name, secret, options.key, options.server_keys)
        self.receiver = GroupReceiver(
            GroupPorts(self.endpoint, self.answer), identity, self,
            ReceiverOptions(
                options.timeout_ns, options.wait, loss=options.loss, seed=world.draw.getrandbits(64)
            ),
        )  # fmt: skip

    @property
    def results(self) -> list[bytes]:
        """The objects that stand."""
        return [sink.result for sink in self.sinks.values() if sink.result is not None]

    @property
    def has_ended(self) -> bool:
        """Whether all that it took has ended, well or badly, and the server knows or has left."""
        return bool(self.feeds) and all(feed.fetch.phase is Phase.ENDED for feed in self.feeds)

    @property
    def is_done(self) -> bool:
        """Whether all that it took stands in its sinks."""
        taken = [feed.fetch for feed in self.feeds if not isinstance(feed.fetch.outcome, Yielded)]
        return bool(taken) and all(fetch.succeeded for fetch in taken)

    @property
    def received_count(self) -> int:
        """Data packets that came."""
        return sum(feed.fetch.counters.received_count for feed in self.feeds)

    def step(self, now_ns: int) -> int:
        """Let the receiver do what it can."""
        deadline = self.receiver.step(now_ns)
        for feed in self.feeds:
            self.events += feed.fetch.events
            feed.fetch.events = []
            is_alone = feed.fallback is not None and not self.receiver.stands_by(feed)
            if is_alone and self._options.once and not self._options.wait:
                self._world.network.leave(self.endpoint, self._options.group)
            if feed.fetch.succeeded and feed not in self._reported:
                self._reported.append(feed)
                deadline = self._begin_hook(feed, now_ns, deadline)
        for due_ns, feed in list(self._hooks):
            if now_ns >= due_ns:
                self._hooks.remove((due_ns, feed))
                feed.machine.change_state(self.hook_state, now_ns)
                feed.linger()
                deadline = now_ns
        if not self._options.once:
            self._forget_ended()
        if self._options.gives_up:
            self._check_patience(now_ns)
            deadline = min(deadline, now_ns + NS // 10)
        return NEVER_NS if self._options.once and self.has_ended and not self._hooks else deadline

    def give_up(self, now_ns: int) -> None:
        """Let go of what has fallen silent, as a listener does whose patience is over."""
        for feed in self.feeds:
            if feed.silent_ns is not None:
                feed.fetch.give_up(FountainError("The group fell silent."), now_ns)
                self.receiver.forget(feed)

    def stop(self, now_ns: int) -> None:
        """Interrupt it: it reports that, and leaves."""
        for feed in self.feeds:
            feed.fetch.give_up(FountainError("It was interrupted."), now_ns)
        self.receiver.stop(now_ns)

    def close(self) -> None:
        """Vanish without a word."""
        self.endpoint.close()
        self.answer.close()
        self.receiver.close()

    def _check_patience(self, now_ns: int) -> None:
        timeout_ns = self._options.timeout_ns
        self.has_given_up = not self.feeds and now_ns - self._start_ns >= timeout_ns
        for feed in self.feeds:
            if feed.is_forsaken(timeout_ns, now_ns):
                feed.fetch.give_up(FountainError("Nothing came of the group."), now_ns)

    def _forget_ended(self) -> None:
        hooking = [feed for _, feed in self._hooks]
        for feed in list(self.receiver.feeds.values()):
            if feed.fetch.phase is Phase.ENDED and feed not in hooking:
                self.receiver.forget(feed)

    def _begin_hook(self, feed: GroupFeed, now_ns: int, deadline: int) -> int:
        if self.hook_ns is None:
            return deadline
        feed.machine.change_state(MemberState.HOOKING, now_ns)
        self._hooks.append((now_ns + self.hook_ns, feed))
        return min(deadline, now_ns + self.hook_ns)

    # --- As the application of its receiver ----------------------------------------------------------------

    def trusts(self, _offer: OfferBody) -> bool:
        """Anything may be taken."""
        return True

    def wants(self, offer: OfferBody) -> bool:
        """Whether it takes an object."""
        if self._options.once and self.feeds:
            return False
        sink = self.sinks.get(offer.object_id)
        has_it = sink is not None and sink.result is not None
        return not has_it and (self._options.names is None or offer.name in self._options.names)

    def has(self, offer: OfferBody) -> MemberState | None:
        """How far an object is that stands here."""
        sink = self.sinks.get(offer.object_id)
        is_here = not self._options.once and sink is not None and sink.result is not None
        return MemberState.DONE if is_here else None

    def prepare(self, feed: GroupFeed) -> Place:
        """Put the object into a sink of its own."""
        return _Place(self, feed)

    def make_workers(self) -> Workers:
        """Workers that take no time."""
        return InlineWorkers()

    def open_endpoint(self) -> Endpoint:
        """An endpoint for an object whose rest comes by unicast."""
        return self._world.network.attach((self.name, self._world.draw_port()))

    def open_sink(self, feed: GroupFeed) -> tuple[Code, BlockSink]:
        """The code and the sink of an object."""
        if feed not in self.feeds:
            self.feeds.append(feed)
        object_id = feed.machine.offer.object_id
        if object_id not in self.sinks:
            self.sinks[object_id] = MemorySink(object_id, capacity=self._options.capacity)
        return self._world.code, self.sinks[object_id]


@dataclass(frozen=True)
class _Place:
    listener: Listener
    feed: GroupFeed

    def open_sink(self, _: OfferBody) -> tuple[Code, BlockSink]:
        return self.listener.open_sink(self.feed)

    def opens_quickly(self, _: OfferBody) -> bool:
        return False
