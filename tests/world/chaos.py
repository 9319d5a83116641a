"""One chaotic run of the world: all is drawn from one seed, and watched by oracles from the first octet to the last.

The drawing (`Options`), the watching (`Watch`) and the play (`Play`) are apart, so that a failure can be read: it
prints the seed and each drawn option, and `python -m tests.world.replay SEED` plays it again with a log.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field, fields

from fountain.errors import IntegrityError
from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.session.client_events import Failure, FetchFailed
from fountain.testing import Client, Link, MemorySink, MemorySource, Server, World, payload
from fountain.wire.control import MAGIC, PacketType
from tests.world.scene import ChaosError, Fate, Scene

__all__ = ["Options", "Play", "Watch"]

MS = NS // 1000
FAULTS_NS = 10 * NS  # Faults happen in so many nanoseconds from the start; then all links are clean.
WATCH_INTERVAL_NS = 50 * MS
PATIENT_NS = 25 * NS  # A time-out that no drawn silence reaches.
HASTY_NS = 3 * NS
LINK_HEADERS_SIZE = 86  # around a symbol: our own header and tail, UDP, IPv4, Ethernet

# How a fetch may end while faults last; whoever typed the command then types it again. Nothing authenticates a damaged
# Hello, Offer or Refusal, so under corruption a refusal may be a mistake.
FAILURES_OF_SILENCE = {
    Failure.NOBODY,
    Failure.NO_DATA,
    Failure.TOO_LARGE,
    Failure.NOT_SENT,
    Failure.SILENCE,
    Failure.CUT_OFF,
    Failure.NOT_HEARD,
    Failure.STALLED,
}
FAILURES_OF_DAMAGE = {Failure.REFUSED, Failure.SEAL}


@dataclass(kw_only=True)
class ClientOptions(Fate):
    """One client, and the loss that it makes itself."""

    loss_test: float


@dataclass
class Options:
    """All that is drawn from a seed."""

    seed: int
    code: str = "raptorq"
    object_size: int = 0
    symbol_size: int = 0
    block_symbol_limit: int = 0
    open: bool = False
    rate_bps: int = 0
    timeout_ns: int = 0
    server_restarts: list[tuple[int, int]] = field(default_factory=list)  # (killed at, back after)
    clients: list[ClientOptions] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{item.name} = {getattr(self, item.name)}" for item in fields(self) if item.name != "clients"]
        for index, client in enumerate(self.clients):
            lines += [f"client {index}: {item.name} = {getattr(client, item.name)}" for item in fields(client)]
        return "\n".join(lines)

    @classmethod
    def drawn(cls, seed: int) -> Options:
        """The options of a seed. Which kinds of fault there are at all is drawn first: few seeds have them all."""
        draw = random.Random(f"chaos {seed}")
        options = cls(seed)
        options.symbol_size = draw.choice([16, 48, 64, 64, 256, 1024])
        options.block_symbol_limit = draw.choice([1, 2, 5, 10, 16, 16, 40, 101])
        options.object_size = _draw_size(draw, options.symbol_size, options.block_symbol_limit)
        options.open = draw.random() < 0.4
        options.rate_bps = int(100_000 * 300 ** draw.random())
        options.timeout_ns = HASTY_NS if draw.random() < 0.1 else PATIENT_NS
        if draw.random() < 0.25:
            killed_ns = draw.randrange(4 * NS)
            options.server_restarts.append((killed_ns, draw.randrange(3 * NS)))
            if draw.random() < 0.3:
                options.server_restarts.append((draw.randrange(7 * NS, 8 * NS), draw.randrange(NS)))
        kinds = {kind for kind in ("loss", "burst", "jitter", "copy", "corrupt", "rate", "cut") if draw.random() < 0.4}
        for _ in range(draw.choice([1, 1, 1, 2, 2, 3, 4])):
            client = ClientOptions(
                join_ns=draw.randrange(3 * NS) if draw.random() < 0.5 else 0,
                loss_test=draw.uniform(0, 0.3) if draw.random() < 0.2 else 0.0,
                out=_draw_link(draw, kinds, options.rate_bps),
                back=_draw_link(draw, kinds, options.rate_bps),
            )
            if "cut" in kinds:
                _draw_partitions(draw, client)
            if draw.random() < 0.2:
                client.restarts_ns = sorted(draw.randrange(8 * NS) for _ in range(draw.randint(1, 3)))
            options.clients.append(client)
        if len(options.clients) > 1 and draw.random() < 0.15:
            options.clients[-1].vanishes_ns = draw.randrange(4 * NS)
        if draw.random() < 0.15:
            options.code = "lt"
        return options


def _draw_size(draw: random.Random, symbol_size: int, limit: int) -> int:
    block_size = symbol_size * limit
    largest = min(50_000, 500 * symbol_size)
    kind = draw.random()
    if kind < 0.1:
        return draw.choice([0, 1, 2, symbol_size - 1, symbol_size, symbol_size + 1])
    if kind < 0.5:
        return min(largest, max(0, draw.randint(1, 6) * block_size + draw.choice([-1, 0, 1])))
    return draw.randrange(largest)


def _draw_link(draw: random.Random, kinds: set[str], rate_bps: int) -> Link:
    link = Link(delay_ns=draw.choice([0, 100_000, draw.randrange(20 * MS), draw.randrange(100 * MS)]))
    if "loss" in kinds:
        link.loss = draw.uniform(0, 0.3)
    if "burst" in kinds:
        link.burst, link.burst_length = draw.uniform(0, 0.05), draw.uniform(2, 10)
    if "jitter" in kinds:
        link.jitter_ns = draw.randrange(1, 50 * MS)
    if "copy" in kinds:
        link.duplicate = draw.uniform(0, 0.3)
    if "corrupt" in kinds:
        link.corrupt = draw.uniform(0, 0.3)
    if "rate" in kinds:
        link.rate_bps = int(rate_bps * draw.uniform(0.4, 2))
        link.queue_size = draw.randrange(4_000, 64_000)
    return link


def _draw_partitions(draw: random.Random, client: ClientOptions) -> None:
    for _ in range(draw.randint(1, 2)):
        start = draw.randrange(FAULTS_NS // 2)
        cut = (start, start + draw.randrange(NS // 2, 5 * NS))
        kind = draw.random()
        if kind < 0.7:
            client.out.partitions.append(cut)
        if kind > 0.3:
            client.back.partitions.append(cut)


class Watch:
    """The safety oracles that look at every datagram."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._received: dict[Address, int] = defaultdict(int)  # octets, by the server that lives now
        self._answered: dict[Address, int] = defaultdict(int)
        self._proved: set[Address] = set()
        self._nonces: dict[tuple[object, ...], int] = {}
        self._offers: dict[bytes, set[bytes]] = defaultdict(set)  # that came, by nonce
        self._requests: dict[bytes, set[bytes]] = defaultdict(set)
        self._server: Server | None = None
        self.sent_at: dict[Address, list[int]] = defaultdict(list)
        world.taps.append(self._sent)
        world.arrival_taps.append(self._arrived)

    def server_is(self, server: Server) -> None:
        """A new server knows nobody."""
        self._server = server
        self._received.clear()
        self._answered.clear()
        self._proved.clear()

    def _sent(self, datagram: bytes, source: Address, target: Address) -> None:
        self._check_nonce(datagram, source)
        if source[0] != "server":
            return
        self.sent_at[target].append(self._world.now_ns)
        assert self._server is not None
        if target not in self._proved:
            if any(session.address == target for session in self._server.sender.machine.sessions.values()):
                self._proved.add(target)
                return
            self._answered[target] += len(datagram)
            if self._answered[target] > self._received[target]:
                raise ChaosError(
                    f"{self._answered[target]} octets sent to {target}, which proved nothing and sent "
                    f"{self._received[target]}"
                )

    def _arrived(self, datagram: bytes, source: Address, target: Address) -> None:
        if target[0] == "server":
            self._received[source] += len(datagram)
        elif (
            len(datagram) > 5 and datagram[:4] == MAGIC and datagram[5] == PacketType.OFFER
        ):  # A damaged one may end before.
            self._offers[datagram[8:24]].add(datagram)

    def _check_nonce(self, datagram: bytes, source: Address) -> None:
        """No two different packets are sealed with one key and one number."""
        if datagram[:4] != MAGIC:
            key: tuple[object, ...] = (datagram[4:12], datagram[12:16])
        elif datagram[5] >= PacketType.REPORT:
            key = (source[0] == "server", datagram[8:16], datagram[16:24])
        elif datagram[5] == PacketType.REQUEST:
            # The key comes from the Offer, and one that was damaged on the way is another Offer.
            requests = self._requests[datagram[16:32]]
            requests.add(datagram)
            if len(requests) > len(self._offers[datagram[16:32]]):
                raise ChaosError(f"more Requests of {source} than Offers came")
            return
        else:
            return
        if self._nonces.setdefault(key, hash(datagram)) != hash(datagram):
            raise ChaosError(f"the nonce {key} of {source} sealed two different packets")


class Play(Scene):
    """Plays the run of one seed; `run` raises ChaosError when an oracle is contradicted."""

    MODULE = "tests.world.replay"
    FAULTS_NS = FAULTS_NS

    def __init__(self, options: Options, *, log: bool = False) -> None:
        fates = [(f"client {index}", client) for index, client in enumerate(options.clients)]
        super().__init__(options, World(options.seed, code=options.code), fates, log=log)
        self.options = options
        self.watch = Watch(self.world)
        self.source: MemorySource = self.world.source(
            payload(options.object_size, options.seed),
            symbol_size=options.symbol_size,
            block=options.block_symbol_limit,
        )
        self.clients: dict[str, Client] = {}
        self.sinks: dict[str, MemorySink | None] = {name: None for name, _ in fates}
        self.gone: dict[Address, int] = {}

    # --- What happens --------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        super()._arrange()
        self.world.at(WATCH_INTERVAL_NS, self._look)

    def _serve(self) -> Server:
        server = self.world.serve(self.source, rate_bps=self.options.rate_bps, open=self.options.open)
        self.watch.server_is(server)
        return server

    def _is_at_work(self, name: str) -> bool:
        return name in self.clients and not self.clients[name].is_done

    def _start(self, name: str) -> None:
        if name not in self.clients and name in self.sinks:
            self._say(f"{name} starts")
            self.clients[name] = self.world.fetch(
                name=name, sink=self.sinks[name], open=self.options.open, timeout_ns=self.options.timeout_ns,
                loss=self.options.clients[int(name.split()[1])].loss_test,
            )  # fmt: skip

    def _remove(self, name: str) -> None:
        client = self.clients.pop(name)
        self.sinks[name] = client.sink if client.sink and client.sink.object_id == self.source.object_id else None
        self.gone[client.endpoint.local_address] = self.world.now_ns
        self.world.kill(client)

    def _vanish(self, name: str) -> None:
        if name in self.clients:
            self._say(f"{name} vanishes")
            self._remove(name)
        self.sinks.pop(name, None)

    def _may_end_early(self) -> bool:
        return self._all_done

    @property
    def _all_done(self) -> bool:
        return self.clients.keys() == self.sinks.keys() and all(client.is_done for client in self.clients.values())

    def _look(self) -> None:
        """Look at what no datagram shows; start again what failed as it may."""
        self.world.at(WATCH_INTERVAL_NS, self._look)
        for name, client in list(self.clients.items()):
            for event in client.events:
                self._say(f"{name}: {event}")
            failures = [event for event in client.events if isinstance(event, FetchFailed)]
            client.events.clear()
            self._check_client(client)
            if client.has_ended and not client.is_done:
                self._check_failure(client, failures)
                self._remove(name)
                self._start(name)

    # --- Oracles -------------------------------------------------------------------------------------------

    def _check_client(self, client: Client) -> None:
        if client.sink is not None and client.sink.result is not None:
            assert client.sink.result == self.source.content, f"{client.name} finished with wrong octets"
        table = client.feed.machine.blocks
        if table is not None:
            begun_count = len(list(table))
            assert begun_count <= table.open_limit, f"{client.name} has {begun_count} blocks open"

    def _check_failure(self, client: Client, failures: list[FetchFailed]) -> None:
        is_damaging = any(link.corrupt for entry in self.options.clients for link in (entry.out, entry.back))
        error = client.fetch.error
        if is_damaging and isinstance(error, IntegrityError) and not client.feed.machine.was_connected:
            return  # A damaged Offer contradicted the manifest that the sink has.
        assert error is None, f"{client.name}: {error}"
        assert len(failures) == 1, f"{client.name} ended without saying why"
        failure = failures[0].failure
        allowed: set[Failure | None] = set()
        if self.options.timeout_ns == HASTY_NS:
            allowed |= FAILURES_OF_SILENCE
        if is_damaging:
            allowed |= FAILURES_OF_DAMAGE
        if self.options.server_restarts:
            allowed.add(Failure.UNREACHABLE)
        late_ns = self.world.now_ns - self._start_ns - FAULTS_NS
        assert failure in allowed, f"{client.name} failed: {failure}"
        assert late_ns <= self.options.timeout_ns, f"{client.name} failed without a fault: {failure}"

    def _check_liveness(self) -> None:
        """Once faults stop, everybody finishes."""
        self._clean_links()
        remaining_count = sum(self._missing_symbol_count(client) for client in self.clients.values())
        size = remaining_count * (self.options.symbol_size + LINK_HEADERS_SIZE)
        limit_ns = size * 8 * NS // self.options.rate_bps * 3 // 2 + 10 * NS
        # Where more is lost than a stream tolerates, it sends a few packets in each round trip.
        limit_ns += remaining_count * 100 * MS
        if self.options.timeout_ns == HASTY_NS:
            limit_ns += HASTY_NS
        assert self.world.run(lambda: self._all_done, limit_ns), f"not done {limit_ns / NS} s after the last fault"
        for client in self.clients.values():
            self._check_client(client)
            assert client.sink is not None
            assert client.sink.result is not None

    def _missing_symbol_count(self, client: Client) -> int:
        manifest_count = -(-len(self.source.manifest_bytes) // self.options.symbol_size)
        verified = client.sink.verified if client.sink is not None else ()
        have_count = sum(self.source.geometry.block_symbols(block) for block, done in enumerate(verified) if done)
        return manifest_count + self.source.geometry.symbol_count - have_count

    def _check_quiet(self) -> None:
        """Whoever vanished gets probes alone after a while, and then nothing; no session outlives its client."""
        self.world.run(lambda: False, 36 * NS)
        assert self._server is not None
        assert not self._server.sender.machine.sessions, "a session outlived its client"
        for address, gone_ns in self.gone.items():
            times = self.watch.sent_at[address]
            # A report may have been under way for the link's delay; sessions are looked at each eighth of a second.
            probes = [at_ns for at_ns in times if at_ns > gone_ns + 2 * NS + 500 * MS]
            assert len(probes) <= 120, f"{len(probes)} packets to {address} after it had vanished"
            assert not [at_ns for at_ns in times if at_ns > gone_ns + 31 * NS], f"{address} is never forgotten"
