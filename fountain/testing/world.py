"""The seeded world: hosts with real senders and receivers, links between them, one virtual clock.

Time is an integer and jumps to whatever happens next: a datagram's arrival, a deadline, a scheduled action. Nothing in
it looks at a real clock or draws from a source other than the world's seed, so a run is a function of its seed.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.codes.api import Code
from fountain.codes.registry import code_by_name
from fountain.engine.receiving.collector import BlockSink
from fountain.engine.receiving.object_fetch import ObjectFetch, Phase
from fountain.engine.receiving.unicast_feed import UnicastFeed
from fountain.engine.runtime.workers import InlineExecutor, InlineWorkers
from fountain.engine.serving.sender import Sender
from fountain.engine.serving.served import BlockCache, ObjectSymbols
from fountain.integrity import digest
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, NS
from fountain.net.address import Address
from fountain.net.memory import MemoryEndpoint, MemoryNetwork
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.handshake import Identity
from fountain.protocol.group.events import MemberEvent
from fountain.protocol.group.streams import GroupStreams
from fountain.protocol.rate import CONTROL_DEFAULT, LOSS_TOLERANCE_DEFAULT, control_factory
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig, ServerJudge
from fountain.protocol.session.client_events import ClientEvent
from fountain.protocol.session.pairing import ClientPairing, ServerPairing
from fountain.protocol.session.server import ServerMachine
from fountain.protocol.session.server_events import ServerEvent
from fountain.testing.group import GroupOptions, Listener, ListenerOptions
from fountain.testing.host import Host
from fountain.testing.link import Link
from fountain.testing.memory import MemorySink, MemorySource
from fountain.wire.control import OfferBody, Want
from fountain.wire.session import StopReason

__all__ = ["Client", "ClientOptions", "Server", "ServerOptions", "World"]

_START_NS = 1_000 * NS  # No machine may rely on time beginning at zero.
_STALL_LIMIT = 100_000  # Steps of one host at one instant before the world is taken to be stuck.


H = TypeVar("H", bound=Host)


@dataclass(frozen=True)
class ServerOptions:
    """How a server serves; it streams to a `group` as well, if one is given."""

    rate_bps: int = 20_000_000
    peer_count_max: int = 64
    open: bool = False
    cc: str = CONTROL_DEFAULT
    loss_tolerance: float = LOSS_TOLERANCE_DEFAULT
    group: GroupOptions | None = None
    identity: Identity | None = None
    pairing: ServerPairing | None = None


class Server(Host):
    """A host that serves objects at its name's address, on the default ports."""

    def __init__(self, world: World, name: str, sources: Sequence[MemorySource], options: ServerOptions) -> None:
        super().__init__(name)
        self.events: list[ServerEvent] = []
        self.member_events: list[MemberEvent] = []
        self._endpoints = [world.network.attach((name, port)) for port in (CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT)]
        cache, group = BlockCache(), options.group
        objects = [
            ObjectSymbols(source, world.code, cache, is_directory=False, data_port=DATA_PORT_DEFAULT, open=options.open)
            for source in sources
        ]
        machine = ServerMachine(
            secret=world.draw_bytes(32), objects=[entry.served for entry in objects], rate_bps=options.rate_bps,
            peer_count_max=options.peer_count_max, now_ns=world.now_ns,
            congestion=control_factory(options.cc, options.loss_tolerance),
            key=options.pairing if group is None else group.key, identity=options.identity,
        )  # fmt: skip
        groups = None if group is None else group.streams(world, objects, options.rate_bps)
        control, data = self._endpoints
        self.sender = Sender(objects, control, data, machine, InlineExecutor(), groups)

    def step(self, now_ns: int) -> int:
        """Let the sender do what it can."""
        deadline = self.sender.step(now_ns)
        while (event := self.sender.poll_event()) is not None:
            self.events.append(event)
        while self.sender.groups is not None and (happened := self.sender.groups.poll_event()) is not None:
            self.member_events.append(happened[1])
        return deadline

    @property
    def groups(self) -> GroupStreams:
        """Its streams to a group."""
        assert self.sender.groups is not None, f"{self.name} serves no group"
        return self.sender.groups

    def leave_group(self, now_ns: int) -> None:
        """Notify the group that nothing more will come."""
        self.groups.close(now_ns)
        self.sender.flush()

    def close(self) -> None:
        """Vanish without a word."""
        for endpoint in self._endpoints:
            endpoint.close()


@dataclass(frozen=True)
class ClientOptions:
    """What a client wants, and how it fetches; `loss` is the share of packets that it throws away."""

    want: tuple[Want, bytes] = (Want.ANY, bytes(32))
    loss: float = 0.0
    wait: bool = False
    open: bool = False
    timeout_ns: int = 10 * NS
    server_keys: ServerJudge | None = None
    identity: Ed25519PrivateKey | None = None
    pairing: ClientPairing | None = None


class Client(Host):
    """A host that fetches one object from a server into a sink that outlives it."""

    def __init__(self, world: World, name: str, server: str, sink: MemorySink | None, options: ClientOptions) -> None:
        super().__init__(name)
        self.sink = sink
        self.events: list[ClientEvent] = []
        self._code = world.code
        self.endpoint: MemoryEndpoint = world.network.attach((name, world.draw_port()))
        config = ClientConfig(
            *options.want, open=options.open, wait=options.wait, timeout_ns=options.timeout_ns,
            peer_id=digest(name.encode())[:8], host=name, server_keys=options.server_keys, identity=options.identity,
            pairing=options.pairing,
        )  # fmt: skip
        machine = ClientMachine(config, world.draw_bytes(32), world.now_ns)
        self.fetch = ObjectFetch(InlineWorkers(), loss=options.loss, seed=world.draw.getrandbits(64))
        self.fetch.feed = self.feed = UnicastFeed(
            self.fetch, machine, self.endpoint, [(server, CONTROL_PORT_DEFAULT)], self
        )

    @property
    def is_done(self) -> bool:
        """Whether the object stands in the sink."""
        return self.fetch.succeeded

    @property
    def has_ended(self) -> bool:
        """Whether the fetch is over, well or badly."""
        return self.fetch.phase is Phase.ENDED

    def stop(self, now_ns: int, reason: StopReason = StopReason.INTERRUPTED) -> None:
        """Interrupt the fetch."""
        self.fetch.stop(reason, now_ns)

    def step(self, now_ns: int) -> int:
        """Let the receiver do what it can."""
        deadline = self.fetch.step(now_ns)
        self.events += self.fetch.events
        self.fetch.events = []
        return NEVER_NS if self.has_ended else deadline

    def close(self) -> None:
        """Vanish without a word."""
        self.endpoint.close()

    def open_sink(self, offer: OfferBody) -> tuple[Code, BlockSink]:
        """The code and the sink of what is offered."""
        if self.sink is None or self.sink.object_id != offer.object_id:
            self.sink = MemorySink(offer.object_id)
        return self._code, self.sink

    def opens_quickly(self, _: OfferBody) -> bool:
        """Workers of a world take no time anyway."""
        return False


class World:
    """Everything that happens follows from `seed` and from what the test does."""

    def __init__(self, seed: int, *, code: str = "raptorq") -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.now_ns = _START_NS
        self.code = code_by_name(code)
        self.network = MemoryNetwork(self._carry)
        self.links: dict[tuple[str, str], Link] = defaultdict(Link)
        self.hosts: list[Host] = []
        self.taps: list[Callable[[bytes, Address, Address], None]] = []  # see each datagram that is sent
        self.arrival_taps: list[Callable[[bytes, Address, Address], None]] = []  # see each as it arrives
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def __repr__(self) -> str:
        return f"World(seed={self.seed}, now={(self.now_ns - _START_NS) / NS:.6f} s)"

    # --- Making it -----------------------------------------------------------------------------------------

    def source(self, content: bytes, *, name: str = "object", symbol_size: int = 64, block: int = 16) -> MemorySource:
        """An object of `content`, in blocks of at most `block` symbols."""
        return MemorySource(
            name, content, symbol_size=symbol_size, block_symbol_limit=block, profile_id=self.code.profile_id
        )

    def serve(self, *sources: MemorySource, name: str = "server", **options: Any) -> Server:
        """A server, from now on; the other arguments are those of `ServerOptions`."""
        return self._add(Server(self, name, sources, ServerOptions(**options)))

    def fetch(
        self, *, name: str = "client", server: str = "server", sink: MemorySink | None = None, **options: Any
    ) -> Client:
        """A client, from now on; the other arguments are those of `ClientOptions`."""
        return self._add(Client(self, name, server, sink, ClientOptions(**options)))

    def listen(self, *, name: str = "listener", sinks: Iterable[MemorySink] = (), **options: Any) -> Listener:
        """A receiver of a group, from now on; the other arguments are those of `ListenerOptions`."""
        return self._add(Listener(self, name, ListenerOptions(**options), sinks))

    def link(self, source: str, target: str, link: Link) -> Link:
        """What lies on the way from one host to another."""
        self.links[source, target] = link
        return link

    def kill(self, host: Host) -> None:
        """End a host as kill -9 does: nothing more comes from it."""
        host.alive = False
        host.close()
        self.hosts.remove(host)

    def pause(self, host: Host, time_ns: int) -> None:
        """Stop a host for so long, as SIGSTOP or a closed lid does: what comes meanwhile waits in its sockets."""
        host.alive = False
        self.at(time_ns, functools.partial(self._wake, host))

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        """Have `action` happen so many nanoseconds from now."""
        self._push(self.now_ns + time_ns, action)

    def draw_bytes(self, size: int) -> bytes:
        """Octets from the seed."""
        return self.draw.randbytes(size)

    def draw_port(self) -> int:
        """An ephemeral port from the seed."""
        return self.draw.randrange(32_768, 61_000)

    # --- Letting it run ------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], limit_ns: int = 60 * NS) -> bool:
        """Let time pass until the condition holds (true) or `limit_ns` is over (false).

        Raises:
            RuntimeError: a host keeps asking for time that does not pass.
        """
        end_ns = self.now_ns + limit_ns
        stalls = 0
        while not until():
            at_ns = min([host.due_ns for host in self.hosts if host.alive], default=NEVER_NS)
            if self._actions:
                at_ns = min(at_ns, self._actions[0][0])
            if at_ns > end_ns:
                self.now_ns = end_ns
                return False
            stalls = 0 if at_ns > self.now_ns else stalls + 1
            if stalls > _STALL_LIMIT:
                raise RuntimeError(f"{self!r} is stuck: some host does not let time pass")
            self.now_ns = max(self.now_ns, at_ns)
            self._happen()
        return True

    def _happen(self) -> None:
        latest = self._order  # What these actions have happen at once has its turn after the hosts.
        while self._actions and self._actions[0][0] <= self.now_ns and self._actions[0][1] <= latest:
            heapq.heappop(self._actions)[2]()
        for host in list(self.hosts):
            if host.alive and host.due_ns <= self.now_ns:
                host.due_ns = host.step(self.now_ns)

    def _wake(self, host: Host) -> None:
        host.alive, host.due_ns = True, self.now_ns

    def _carry(self, datagram: bytes, source: Address, target: Address) -> None:
        for tap in self.taps:
            tap(datagram, source, target)
        link = self.links[source[0], target[0]]
        link.target = target
        for at_ns, octets in link.carry(datagram, self.now_ns, self.draw):
            self._push(at_ns, functools.partial(self.deliver, octets, source, target))

    def deliver(self, octets: bytes, source: Address, target: Address) -> None:
        """A datagram arrives now: one that was sent, or one that somebody forged."""
        for tap in self.arrival_taps:
            tap(octets, source, target)
        self.network.deliver(octets, source, target)
        for host in self.hosts:
            if host.name in (target[0], source[0]):
                host.due_ns = self.now_ns

    def _push(self, at_ns: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._actions, (at_ns, self._order, action))

    def _add(self, host: H) -> H:
        host.due_ns = self.now_ns
        self.hosts.append(host)
        return host
