"""Ways that do not take data packets whole: nothing says so, and yet the object comes, and soon."""

from __future__ import annotations

import pytest

from fountain.limits import DATA_PORT_DEFAULT, DATAGRAM_SIZE_SAFE, NS
from fountain.net.address import Address
from fountain.testing import Client, Link, World, payload
from fountain.wire.control import MAGIC
from fountain.wire.parts import PART_FIRST_OCTET

SYMBOL_SIZE = 1408  # of the default MTU


def stage(seed: int, *, cc: str = "cubic", size: int = 400_000, known_size: int = 0) -> tuple[World, Client]:
    """A server, and a client behind a link that drops what is too large; its own system may know."""
    world = World(seed)
    source = world.source(payload(size, seed), symbol_size=SYMBOL_SIZE, block=100)
    world.serve(source, rate_bps=10_000_000, cc=cc)
    world.link("server", "client", Link(size_max=DATAGRAM_SIZE_SAFE, delay_ns=5_000_000))
    client = world.fetch()
    if known_size:
        client.endpoint.known_sizes["server", DATA_PORT_DEFAULT] = known_size
    return world, client


def kinds(client: Client) -> list[str]:
    return [event.kind for event in client.events]


def count_data(world: World) -> dict[bool, int]:
    """Data packets that are sent from now on: whether they are parts, and how many."""
    counts = {True: 0, False: 0}

    def look(datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] != MAGIC:
            counts[datagram[0] == PART_FIRST_OCTET] += 1

    world.taps.append(look)
    return counts


@pytest.mark.parametrize("cc", ["cubic", "fixed"])
def test_where_only_small_packets_arrive_data_comes_in_parts_within_two_seconds(seed: int, cc: str) -> None:
    world, client = stage(seed, cc=cc)
    assert world.run(lambda: client.receiver.received_count > 0, 2 * NS)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert client.sink is not None
    assert client.sink.content == payload(400_000, seed)
    assert kinds(client).count("parts") == 1


def test_who_knows_that_whole_packets_do_not_fit_never_asks_for_them(seed: int) -> None:
    world, client = stage(seed, known_size=DATAGRAM_SIZE_SAFE)
    counts = count_data(world)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert counts[False] == 0
    assert "reconnecting" not in kinds(client)


def test_a_way_that_narrows_in_mid_transfer_is_noticed(seed: int) -> None:
    world, client = stage(seed)
    world.link("server", "client", Link(delay_ns=5_000_000))
    assert world.run(lambda: client.receiver.received_count > 50)
    world.link("server", "client", Link(size_max=DATAGRAM_SIZE_SAFE, delay_ns=5_000_000))
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.is_done


@pytest.mark.parametrize("rate_bps", [1_000_000, 20_000])
def test_where_all_arrives_nothing_is_cut_however_slowly_it_comes(seed: int, rate_bps: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(20_000, seed), symbol_size=SYMBOL_SIZE, block=100), rate_bps=rate_bps)
    counts = count_data(world)
    client = world.fetch()
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert counts[True] == 0
