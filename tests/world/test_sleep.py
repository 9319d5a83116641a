"""Hosts that are stopped for a while and go on, as if a lid was closed: the object comes all the same."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.testing import Client, Link, Server, World, payload
from tests.world.groups import Stage

PAUSES_NS = [pytest.param(5 * NS, marks=pytest.mark.slow), 60 * NS]
SIZE = 200_000
RATE_BPS = 500_000  # 4 s


def stage(seed: int, *, wait: bool) -> tuple[World, Server, Client]:
    world = World(seed)
    server = world.serve(world.source(payload(SIZE, seed), symbol_size=512, block=100), rate_bps=RATE_BPS)
    for way in (("server", "client"), ("client", "server")):
        world.link(*way, Link(delay_ns=10_000_000))
    return world, server, world.fetch(wait=wait)


@pytest.mark.parametrize("pause_ns", PAUSES_NS)
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_fetch_goes_on_when_somebody_wakes_up(seed: int, who: str, pause_ns: int) -> None:
    world, server, client = stage(seed, wait=who == "server")  # Whoever fetches is patient with itself alone.
    assert world.run(lambda: client.fetch.counters.received_count > 100)
    world.pause(server if who == "server" else client, pause_ns)
    assert world.run(lambda: client.has_ended, pause_ns + 10 * NS)
    assert client.is_done


@pytest.mark.parametrize("pause_ns", PAUSES_NS)
@pytest.mark.parametrize("who", ["receiver", "server"])
def test_a_group_goes_on_when_somebody_wakes_up(seed: int, who: str, pause_ns: int) -> None:
    staged = Stage(seed, size=SIZE, symbol_size=512, block=100, rate_bps=RATE_BPS)
    sleeper, other = staged.listen(wait=True), staged.listen(wait=True)
    assert staged.world.run(lambda: other.received_count > 100)
    staged.world.pause(sleeper if who == "receiver" else staged.server, pause_ns)
    assert staged.world.run(staged.all_ended, pause_ns + 25 * NS)
    assert staged.all_exact()
