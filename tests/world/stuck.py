"""Worlds in which everything arrives but nothing advances: some kinds of packets are dropped for ever from a moment on.

All is drawn from one seed. The oracle: each fetch ends within three time-outs, with a word that is true.
`python -m tests.world.stuck SEED` plays one again, with a log.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.session.client_events import Failure, FetchFailed
from fountain.testing import Client, Link, World, payload
from fountain.wire.control import MAGIC, PacketType
from tests.world.scene import ChaosError

__all__ = ["Drawn", "Kind", "play"]

MS = NS // 1000
Kind = tuple[bool, str]  # whether from the server, and the type of the packet
KINDS: tuple[Kind, ...] = (
    *((False, kind.name) for kind in PacketType if kind.name in {"HELLO", "REQUEST", "REPORT", "STOP", "PING", "PONG"}),
    *((True, kind.name) for kind in PacketType if kind.name not in {"HELLO", "REQUEST", "REPORT", "STOP"}),
    (True, "DATA"),
)


def kind_of(datagram: bytes, source: Address) -> Kind:
    """What a datagram of a session with one peer is."""
    name = PacketType(datagram[5]).name if datagram[:4] == MAGIC else "DATA"
    return source[0] == "server", name


@dataclass
class Drawn:
    """All that is drawn from a seed."""

    seed: int
    timeout_ns: int = 0
    size: int = 0
    block: int = 0
    rate_bps: int = 0
    delay_ns: int = 0
    stuck_ns: int = 0  # from when on
    dropped: set[Kind] = field(default_factory=set)

    @classmethod
    def drawn(cls, seed: int) -> Drawn:
        """The options of a seed: single kinds, whole directions of a port, or any subset."""
        draw = random.Random(f"stuck {seed}")
        drawn = cls(seed)
        drawn.timeout_ns = draw.choice([3, 5, 10, 10, 30]) * NS
        drawn.size = draw.choice([1, 3_000, 40_000, 40_000])
        drawn.block = draw.choice([1, 16, 16, 100])
        drawn.rate_bps = draw.choice([200_000, 1_000_000, 1_000_000, 5_000_000])
        drawn.delay_ns = draw.choice([0, 1, 20, 150]) * MS
        whole_ns = drawn.size * 16 * 8 * NS // (6 * drawn.rate_bps)
        drawn.stuck_ns = draw.choice([0, draw.randrange(6) * drawn.delay_ns, draw.randrange(max(1, whole_ns))])
        kind = draw.random()
        if kind < 0.3:
            drawn.dropped = set(draw.sample(KINDS, draw.choice([1, 1, 2])))
        elif kind < 0.6:
            to_control, from_control = (
                {(False, n) for n in ("HELLO", "REPORT", "STOP", "PONG")},
                {(True, n) for n in ("OFFER", "LISTING", "REFUSAL", "RETRY", "STOP_ACK")},
            )
            to_data, from_data = (
                {(False, n) for n in ("REQUEST", "PING")},
                {(True, n) for n in ("DATA", "PING", "PONG", "BYE")},
            )
            for part in draw.sample([to_control, from_control, to_data, from_data], draw.randint(1, 4)):
                drawn.dropped |= part
        else:
            drawn.dropped = {kind for kind in KINDS if draw.random() < 0.5}
        return drawn


class Stuck(Link):
    """Drops these kinds from a moment on."""

    def __init__(self, delay_ns: int, dropped: set[Kind], source: str, since_ns: int) -> None:
        super().__init__(delay_ns=delay_ns)
        self._dropped, self._origin, self._since_ns = dropped, (source, 0), since_ns

    def kind(self, datagram: bytes) -> Kind:
        """What it carries."""
        return kind_of(datagram, self._origin)

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        """When what arrives."""
        if now_ns >= self._since_ns and self.kind(datagram) in self._dropped:
            self.lost_count += 1
            return []
        return super().carry(datagram, now_ns, draw)


def play(drawn: Drawn, *, log: bool = False) -> Failure | None:
    """How the fetch ends.

    Raises:
        ChaosError: it does not end in time, or with a word that is not true.
    """
    world = World(drawn.seed)
    arrived: list[tuple[int, Kind]] = []
    source = world.source(payload(drawn.size, drawn.seed), block=drawn.block)
    world.serve(source, rate_bps=drawn.rate_bps)
    since_ns = world.now_ns + drawn.stuck_ns
    for way in ("server", "client"), ("client", "server"):
        world.link(*way, Stuck(drawn.delay_ns, drawn.dropped, way[0], since_ns))
    client = world.fetch(timeout_ns=drawn.timeout_ns)

    def look(datagram: bytes, origin: Address, target: Address) -> None:
        arrived.append((world.now_ns, kind_of(datagram, origin)))

    world.arrival_taps.append(look)
    limit_ns = max(0, since_ns - world.now_ns) + 3 * drawn.timeout_ns
    has_ended = world.run(lambda: client.has_ended, limit_ns)
    if log:
        _print(world, client, arrived, since_ns)
    failure = next((event.failure for event in client.events if isinstance(event, FetchFailed)), None)
    _check(drawn, client, has_ended, failure, {kind for _, kind in arrived}, source.content)
    return failure


def _print(world: World, client: Client, arrived: list[tuple[int, Kind]], since_ns: int) -> None:
    for at_ns, kind in arrived:
        print(f"{(at_ns - since_ns) / NS:10.4f} {'server' if kind[0] else 'client'} {kind[1]}")
    for event in client.events:
        print(event)
    print(f"at {(world.now_ns - since_ns) / NS:.4f} s", client.feed.machine.state)


def _check(
    drawn: Drawn, client: Client, has_ended: bool, failure: Failure | None, arrived: set[Kind], content: bytes
) -> None:  # fmt: skip
    def demand(condition: bool, what: str) -> None:
        if not condition:
            raise ChaosError(f"{what}: {drawn}")

    demand(has_ended, "it has not ended within three time-outs")
    if client.is_done:
        demand(client.sink is not None and client.sink.result == content, "what it got is something else")
        demand(failure is None, f"it has all, and failed: {failure}")
        return
    demand(client.fetch.error is None, f"an error of its own: {client.fetch.error}")
    demand(failure in TRUTHS, f"an end that is not documented: {failure}")
    assert failure is not None
    came, lost = TRUTHS[failure]
    demand(came <= {name for is_server, name in arrived if is_server}, f"{failure}, but that never came")
    demand(not lost or bool(lost & drawn.dropped), f"{failure}, but nothing of that was lost")


def _from(*names: str) -> set[Kind]:
    return {(True, name) for name in names}


def _to(*names: str) -> set[Kind]:
    return {(False, name) for name in names}


# For each end what must have come from the server before, and of what at least one kind must have been lost.
TRUTHS: dict[Failure, tuple[set[str], set[Kind]]] = {
    Failure.NOBODY: (set(), _to("HELLO") | _from("OFFER", "RETRY")),
    Failure.NO_DATA: ({"OFFER"}, _to("REQUEST") | _from("DATA", "PING")),
    Failure.TOO_LARGE: (set(), _from("DATA")),
    Failure.SILENCE: (set(), _to("HELLO", "REQUEST") | _from("DATA", "PING")),
    Failure.CUT_OFF: ({"DATA", "OFFER"}, _to("REQUEST", "REPORT") | _from("DATA", "PING")),
    Failure.NOT_HEARD: ({"DATA"}, _to("HELLO", "REPORT", "PONG") | _from("OFFER", "RETRY", "PING")),
    Failure.STALLED: ({"DATA", "OFFER"}, _to("REQUEST", "REPORT", "PONG") | _from("DATA", "PING")),
    Failure.UNSTEADY: ({"DATA"}, _to("REPORT", "PONG", "REQUEST") | _from("DATA", "PING")),
}


if __name__ == "__main__":
    chosen = Drawn.drawn(int(sys.argv[1], 0))
    print(chosen)
    print(play(chosen, log=True))
