"""Groups of many small objects, and on ways that reorder and double packets: neither takes longer than it must."""

from __future__ import annotations

import random

import pytest

from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.testing import GroupOptions, Link, World, payload

MS = NS // 1000


class ReorderingLink(Link):
    """Half of all packets come `late_ns` later, and half come twice."""

    def __init__(self, delay_ns: int, late_ns: int) -> None:
        super().__init__(delay_ns=delay_ns, duplicate=0.5 if late_ns else 0.0)
        self.late_ns = late_ns

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        arrivals = super().carry(datagram, now_ns, draw)
        return [(at_ns + (self.late_ns if draw.random() < 0.5 else 0), octets) for at_ns, octets in arrivals]


def duration_ns(seed: int, delay_ns: int, late_ns: int) -> int:
    """How long an object of 1 MB takes to two receivers at 20 Mbit/s at most."""
    world = World(seed)
    source = world.source(payload(1_000_000, seed), symbol_size=1408, block=200)
    world.serve(source, rate_bps=20_000_000, group=GroupOptions(GroupSettings(wait_count=2), "tfmcc"))
    listeners = [world.listen(name=f"listener {index}") for index in range(2)]
    for listener in listeners:
        world.link("server", listener.name, ReorderingLink(delay_ns, late_ns))
        world.link(listener.name, "server", ReorderingLink(delay_ns, late_ns))
    begun_ns = world.now_ns
    assert world.run(lambda: all(listener.is_done for listener in listeners), 60 * NS)
    assert all(listener.results == [source.content] for listener in listeners)
    return world.now_ns - begun_ns


@pytest.mark.parametrize(("delay_ns", "late_ns"), [(20 * MS, 5 * MS), (MS, 20 * MS)])
def test_packets_that_come_late_or_twice_are_no_losses(seed: int, delay_ns: int, late_ns: int) -> None:
    assert duration_ns(seed, delay_ns, late_ns) <= 3 * duration_ns(seed, delay_ns, 0)


@pytest.mark.parametrize("cc", ["tfmcc", "fixed"])
def test_many_small_objects_do_not_wait_for_each_others_announces(seed: int, cc: str) -> None:
    world, count = World(seed), 20
    sources = [world.source(payload(1_000, seed + i), name=f"object {i}") for i in range(count)]
    world.serve(*sources, rate_bps=40_000_000, group=GroupOptions(GroupSettings(), cc))
    listeners = [world.listen(name=f"listener {index}", once=False) for index in range(2)]
    assert world.run(lambda: all(len(listener.results) == count for listener in listeners), NS)
    for listener in listeners:
        assert sorted(listener.results) == sorted(source.content for source in sources)
