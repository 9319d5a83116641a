"""Ways that do not take data packets whole: nothing says so, and yet the object comes, and soon."""

from __future__ import annotations

import pytest

from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, DATAGRAM_SIZE_SAFE, NS
from fountain.net.address import Address
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.schedule.oneway import OnewayBudget
from fountain.protocol.session.client_events import (
    OfferReceived,
    PacketsTooLarge,
    PartsRequested,
    StreamLost,
    StreamOpened,
)
from fountain.testing import Client, GroupOptions, Link, Listener, Server, World, payload
from fountain.wire.control import MAGIC
from fountain.wire.group import MemberState
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


def kinds(client: Client) -> list[type]:
    return [type(event) for event in client.events]


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
    assert world.run(lambda: client.fetch.counters.received_count > 0, 2 * NS)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert client.sink is not None
    assert client.sink.content == payload(400_000, seed)
    assert kinds(client).count(PartsRequested) == 1


def test_who_knows_that_whole_packets_do_not_fit_never_asks_for_them(seed: int) -> None:
    world, client = stage(seed, known_size=DATAGRAM_SIZE_SAFE)
    counts = count_data(world)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert counts[False] == 0
    assert StreamLost not in kinds(client)


def test_a_way_that_narrows_in_mid_transfer_is_noticed(seed: int) -> None:
    world, client = stage(seed)
    world.link("server", "client", Link(delay_ns=5_000_000))
    assert world.run(lambda: client.fetch.counters.received_count > 50)
    world.link("server", "client", Link(size_max=DATAGRAM_SIZE_SAFE, delay_ns=5_000_000))
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.is_done


def test_parts_that_cannot_be_are_counted_with_what_was_rejected(seed: int) -> None:
    world, client = stage(seed)
    part: list[bytes] = []
    world.taps.append(lambda datagram, *_: part.append(datagram) if datagram[0] == PART_FIRST_OCTET else None)
    assert world.run(lambda: len(part) > 0 and client.fetch.counters.received_count > 0)
    before = client.fetch.counters.rejected_count
    forged = part[-1][:1] + b"\xff" + part[-1][2:]  # There is no part of such a number.
    for _ in range(3):
        world.deliver(forged, ("server", DATA_PORT_DEFAULT), client.endpoint.local_address)
        world.run(lambda: False, NS // 1000)
    assert client.fetch.counters.rejected_count == before + 3


@pytest.mark.parametrize("rate_bps", [1_000_000, 20_000])
def test_where_all_arrives_nothing_is_cut_however_slowly_it_comes(seed: int, rate_bps: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(20_000, seed), symbol_size=SYMBOL_SIZE, block=100), rate_bps=rate_bps)
    counts = count_data(world)
    client = world.fetch()
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert counts[True] == 0


# --- Groups --------------------------------------------------------------------------------------------------


def group_stage(seed: int, *, known_size: int = 0, oneway: bool = False) -> tuple[World, Server, list[Listener]]:
    """Two receivers of a group; the way to the first one drops what is too large."""
    world = World(seed)
    source = world.source(payload(400_000, seed), symbol_size=SYMBOL_SIZE, block=100)
    settings = GroupSettings(wait_count=2) if not oneway else GroupSettings(oneway=OnewayBudget())
    listeners = [world.listen(name="narrow"), world.listen(name="wide")]
    world.link("server", "narrow", Link(size_max=DATAGRAM_SIZE_SAFE, delay_ns=5_000_000))
    if known_size:
        listeners[0].answer.known_sizes["server", CONTROL_PORT_DEFAULT] = known_size
    server = world.serve(source, rate_bps=10_000_000, group=GroupOptions(settings=settings))
    return world, server, listeners


@pytest.mark.parametrize("known_size", [0, DATAGRAM_SIZE_SAFE])
def test_a_receiver_that_gets_no_data_of_a_group_has_some_within_three_seconds_by_itself(
    seed: int, known_size: int
) -> None:
    world, server, listeners = group_stage(seed, known_size=known_size)
    narrow, wide = listeners
    assert world.run(lambda: narrow.received_count > 0, 3 * NS)
    assert world.run(lambda: narrow.has_ended and wide.has_ended)
    assert narrow.results == wide.results == [payload(400_000, seed)]
    assert narrow.feeds[0].fallback is not None
    assert wide.feeds[0].fallback is None
    (machine,) = server.groups.machines.values()
    assert {member.state for member in machine.members.values()} == {MemberState.FALLBACK, MemberState.DONE}


def test_one_way_it_is_said_that_nothing_can_come(seed: int) -> None:
    world, _, listeners = group_stage(seed, known_size=DATAGRAM_SIZE_SAFE, oneway=True)
    world.run(lambda: listeners[1].has_ended, 5 * NS)
    assert len([event for event in listeners[0].events if isinstance(event, PacketsTooLarge)]) == 1
    assert listeners[0].feeds[0].fallback is None


def test_who_waits_long_for_a_turn_at_a_slow_server_does_not_take_the_way_for_narrow(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(200_000, seed), symbol_size=SYMBOL_SIZE, block=100), rate_bps=20_000)
    counts = count_data(world)
    clients = [world.fetch(name=f"client-{index}") for index in range(5)]
    assert world.run(lambda: all(client.fetch.counters.received_count > 1 for client in clients))
    assert counts[True] == 0
    assert {tuple(kinds(client)) for client in clients} == {(OfferReceived, StreamOpened)}


def test_a_stream_of_a_packet_in_a_second_and_a_half_is_not_taken_for_a_narrow_way(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(30_000, seed), symbol_size=SYMBOL_SIZE, block=100), rate_bps=8_000)
    client = world.fetch()
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert kinds(client) == [OfferReceived, StreamOpened]
