"""Groups in which everything arrives but nothing advances: some kinds of packets are dropped for ever from a moment on.

All is drawn from one seed. The oracle: each receiver that gives up at all ends within three time-outs, with a word that
is true, and a receiver that nothing is dropped for gets the object.
`python -m tests.world.stuck_group SEED` plays one again, with a log.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.standstill import Standstill
from fountain.protocol.session.client_events import Failure, FetchFailed
from fountain.testing import GroupOptions, Listener, World, payload
from fountain.wire.control import MAGIC
from tests.world import stuck
from tests.world.groups import packet_type
from tests.world.scene import ChaosError

__all__ = ["DrawnGroup", "play"]

Kind = stuck.Kind
GROUP_KINDS: tuple[Kind, ...] = ((True, "ANNOUNCE"), (True, "PLAN"), (True, "GROUP DATA"), (False, "GROUP REPORT"))


def kind_of(datagram: bytes, source: Address, *, is_to_group: bool) -> Kind:
    """What a datagram of a group, or of a session with one peer, is."""
    if datagram[:4] != MAGIC:
        return True, "GROUP DATA" if is_to_group else "DATA"
    found = packet_type(datagram)
    if found is None:
        return stuck.kind_of(datagram, source)
    return source[0] == "server", "GROUP REPORT" if found.name == "REPORT" else found.name


@dataclass
class DrawnGroup:
    """All that is drawn from a seed."""

    seed: int
    timeout_ns: int = 0
    size: int = 0
    rate_bps: int = 0
    cc: str = "fixed"
    delay_ns: int = 0
    others_count: int = 0
    stuck_ns: int = 0
    dropped: set[Kind] = field(default_factory=set)

    @classmethod
    def drawn(cls, seed: int) -> DrawnGroup:
        """The options of a seed: single kinds of the group's packets, or any subset, and of the others' as well."""
        draw = random.Random(f"stuck group {seed}")
        drawn = cls(seed)
        drawn.timeout_ns = draw.choice([8, 10, 10, 20]) * NS
        drawn.size = draw.choice([1, 3_000, 40_000, 40_000])
        drawn.rate_bps = draw.choice([300_000, 1_000_000, 3_000_000])
        drawn.cc = draw.choice(["fixed", "fixed", "tfmcc"])
        drawn.delay_ns = draw.choice([0, 1, 20, 100]) * stuck.MS
        drawn.others_count = draw.choice([0, 1, 2])
        whole_ns = drawn.size * 16 * 8 * NS // (6 * drawn.rate_bps)
        drawn.stuck_ns = draw.choice([0, draw.randrange(6) * drawn.delay_ns, draw.randrange(max(1, whole_ns))])
        kind = draw.random()
        if kind < 0.4:
            drawn.dropped = set(draw.sample(GROUP_KINDS, draw.choice([1, 1, 2])))
        elif kind < 0.6:
            drawn.dropped = {entry for entry in GROUP_KINDS if draw.random() < 0.5}
        else:
            drawn.dropped = {entry for entry in (*GROUP_KINDS, *stuck.KINDS) if draw.random() < 0.4}
        return drawn


class StuckInGroup(stuck.Stuck):
    """The same between a group's server and a receiver, which hears the group at a port of its own."""

    def kind(self, datagram: bytes) -> Kind:
        """What it carries."""
        return kind_of(datagram, self._origin, is_to_group=self.target[1] == GroupOptions().address[1])


def play(drawn: DrawnGroup, *, log: bool = False) -> Failure | Standstill | None:
    """How the receiver ends that this happens to.

    Raises:
        ChaosError: it does not end in time, or with a word that is not true, or another one does not get the object.
    """
    world = World(drawn.seed)
    source = world.source(payload(drawn.size, drawn.seed))
    group = GroupOptions(GroupSettings(), drawn.cc)
    world.serve(source, rate_bps=drawn.rate_bps, group=group)
    since_ns = world.now_ns + drawn.stuck_ns
    for way in ("server", "x"), ("x", "server"):
        world.link(*way, StuckInGroup(drawn.delay_ns, drawn.dropped, way[0], since_ns))
    kinds: list[tuple[int, Kind]] = []

    def look(datagram: bytes, origin: Address, target: Address) -> None:
        if "x" in (origin[0], target[0]):
            kinds.append((world.now_ns, kind_of(datagram, origin, is_to_group=target[1] == group.address[1])))

    world.arrival_taps.append(look)
    receiver = world.listen(name="x", timeout_ns=drawn.timeout_ns, gives_up=True)
    others = [world.listen(name=f"other {index}", timeout_ns=drawn.timeout_ns) for index in range(drawn.others_count)]
    limit_ns = drawn.stuck_ns + 3 * drawn.timeout_ns
    has_ended = world.run(lambda: receiver.has_given_up or receiver.has_ended, limit_ns)
    if log:
        for at_ns, kind in kinds:
            print(f"{(at_ns - since_ns) / NS:10.4f} {'server' if kind[0] else 'x'} {kind[1]}")
        for event in receiver.events:
            print(event)
        print(f"at {(world.now_ns - since_ns) / NS:.4f} s")
    if not has_ended:
        raise ChaosError(f"it has not ended within three time-outs: {drawn}")
    end = _check(drawn, receiver, source.content)
    if not world.run(lambda: all(other.is_done for other in others), 60 * NS):
        raise ChaosError(f"one to whom nothing happens has not got the object: {drawn}")
    return end


def _check(drawn: DrawnGroup, receiver: Listener, content: bytes) -> Failure | Standstill | None:
    if receiver.is_done:
        if receiver.results != [content]:
            raise ChaosError(f"what it got is something else: {drawn}")
        return None
    if not receiver.feeds:
        return Failure.NOBODY
    (feed,) = receiver.feeds
    failure = next((event.failure for event in receiver.events if isinstance(event, FetchFailed)), None)
    cause = feed.standstill
    if cause is Standstill.DEAF and (True, "GROUP DATA") not in drawn.dropped:
        raise ChaosError(f"it is taken to be deaf, and is not: {drawn}")
    to_blame = {(False, "GROUP REPORT"), (True, "PLAN")}
    if cause is Standstill.UNHEARD and not to_blame & drawn.dropped:
        raise ChaosError(f"it is taken to be unheard, and is not: {drawn}")
    if cause is None and feed.silent_ns is None and not feed.leave_reason:
        raise ChaosError(f"nothing was wrong with the group, and it ended: {failure}, {drawn}")
    return cause if failure is not None or cause is not None else Failure.SILENCE


if __name__ == "__main__":
    chosen = DrawnGroup.drawn(int(sys.argv[1], 0))
    print(chosen)
    print(play(chosen, log=True))
