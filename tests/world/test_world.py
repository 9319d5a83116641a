"""The world itself: a run is a function of its seed, and it carries many hosts."""

from __future__ import annotations

import hashlib

import pytest

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.session.server_events import SessionOpened
from fountain.testing import Link, World, payload

MS = NS // 1000
ROUGH = {"loss": 0.1, "delay_ns": 5 * MS, "jitter_ns": 9 * MS, "duplicate": 0.1, "corrupt": 0.1, "burst": 0.01}


def trace_of(seed: int) -> str:
    """Digest of every datagram of a rough run: what, when, from where to where."""
    world = World(seed)
    state = hashlib.blake2b()

    def record(datagram: bytes, source: Address, target: Address) -> None:
        state.update(f"{world.now_ns} {source} {target} {len(datagram)} ".encode() + datagram)

    world.taps.append(record)
    world.serve(world.source(payload(20_000, 1)))
    clients = [world.fetch(name=f"client {index}") for index in range(3)]
    for client in clients:
        world.link("server", client.name, Link(**ROUGH))
        world.link(client.name, "server", Link(**ROUGH))
    world.run(lambda: all(client.has_ended for client in clients))
    return state.hexdigest()


def test_the_same_seed_gives_the_same_datagrams_at_the_same_times(seed: int) -> None:
    assert trace_of(seed) == trace_of(seed)
    assert trace_of(seed) != trace_of(seed + 1)


def test_64_clients_are_served_at_once(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(8_000, seed))
    server = world.serve(source)
    clients = [world.fetch(name=f"client {index}") for index in range(64)]
    for client in clients:
        world.link("server", client.name, Link(loss=0.05))
    most = 0

    def all_done() -> bool:
        nonlocal most
        most = max(most, len(server.sender.machine.sessions))
        return all(client.is_done for client in clients)

    assert world.run(all_done)
    assert most > 32  # at the same time
    for client in clients:
        assert client.sink is not None
        assert client.sink.result == source.content
    assert world.run(lambda: not server.sender.machine.sessions, NS)
    assert len([event for event in server.events if isinstance(event, SessionOpened)]) == 64


def test_a_world_in_which_time_stands_still_says_so() -> None:
    world = World(1)

    def again() -> None:
        world.at(0, again)

    again()
    with pytest.raises(RuntimeError, match=r"seed=1.* is stuck"):
        world.run(lambda: False)


class TestLink:
    def test_loses_the_share_that_it_is_given(self, seed: int) -> None:
        world = World(seed)
        link = Link(loss=0.25)
        arrived = sum(bool(link.carry(b"x", 0, world.draw)) for _ in range(10_000))
        assert 7_200 < arrived < 7_800

    def test_bursts_have_the_mean_length_that_they_are_given(self, seed: int) -> None:
        world = World(seed)
        link = Link(burst=0.01, burst_length=8)
        pattern = "".join("." if link.carry(b"x", 0, world.draw) else "L" for _ in range(100_000))
        bursts = [len(run) for run in pattern.split(".") if run]
        assert 6.5 < sum(bursts) / len(bursts) < 9.5

    def test_a_rate_makes_datagrams_wait_and_a_full_queue_drops_them(self) -> None:
        world = World(1)
        link = Link(delay_ns=0, rate_bps=8_000_000, queue_size=3_000)  # an octet a microsecond
        arrivals = [link.carry(bytes(1_000), 0, world.draw) for _ in range(4)]
        assert [at_ns for arrival in arrivals for at_ns, _ in arrival] == [MS, 2 * MS, 3 * MS]
        assert link.lost_count == 1
        assert link.carry(bytes(1_000), MS, world.draw)[0][0] == 4 * MS

    def test_a_partition_lasts_from_its_start_to_before_its_end(self) -> None:
        world = World(1)
        link = Link(partitions=[(10, 20)])
        assert [bool(link.carry(b"x", now_ns, world.draw)) for now_ns in (9, 10, 19, 20)] == [True, False, False, True]

    def test_damage_changes_every_datagram(self, seed: int) -> None:
        world = World(seed)
        link = Link(corrupt=1.0)
        original = bytes(range(100))
        assert all(link.carry(original, 0, world.draw)[0][1] != original for _ in range(1_000))
