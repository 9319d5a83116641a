"""Recorded packets with an octet changed, in the name of the one who sent them: they take nothing true with them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fountain.limits import CONTROL_PORT_DEFAULT, DATAGRAM_SIZE_SAFE, NS
from fountain.net.address import Address
from fountain.testing import Client, Link, World, payload
from fountain.wire.control import MAGIC, TOKEN_SIZE, Hello, Retry, parse_handshake, parse_header
from fountain.wire.reject import Reject

SIZE = 400_000
RATE_BPS = 20_000_000
DELAY_NS = 5_000_000

Alteration = Callable[[bytes, random.Random], bytes]


def _with(packet: bytes, place: int, octets: bytes) -> bytes:
    return packet[:place] + octets + packet[place + len(octets) :]


def any_octet(packet: bytes, draw: random.Random) -> bytes:
    """One octet anywhere is another."""
    place = draw.randrange(len(packet))
    return _with(packet, place, bytes([packet[place] ^ draw.randrange(1, 256)]))


def another_session(packet: bytes, draw: random.Random) -> bytes:
    """One octet of a data packet's session id is another."""
    return _with(packet, 11, bytes([packet[11] ^ draw.randrange(1, 256)]))


def another_kind(packet: bytes, _: random.Random) -> bytes:
    """A data packet says that it is a part of one."""
    return _with(packet, 0, b"\x1e")


def a_control_packet(packet: bytes, _: random.Random) -> bytes:
    """A data packet begins as a control packet does."""
    return _with(packet, 0, MAGIC)


def a_tag(packet: bytes, draw: random.Random) -> bytes:
    """The last octet is another."""
    return _with(packet, len(packet) - 1, bytes([packet[-1] ^ draw.randrange(1, 256)]))


ALTERATIONS = [any_octet, another_session, another_kind, a_control_packet, a_tag]


def fetched_in(world: World, *, symbol_size: int = 1000, size_max: int = 0) -> tuple[Client, int]:
    """A fetch, and how long it took; what came is compared."""
    source = world.source(payload(SIZE, world.seed), symbol_size=symbol_size, block=50)
    world.serve(source, rate_bps=RATE_BPS)
    world.link("server", "client", Link(delay_ns=DELAY_NS, size_max=size_max))
    world.link("client", "server", Link(delay_ns=DELAY_NS))
    client = world.fetch()
    begun_ns = world.now_ns
    assert world.run(lambda: client.is_done, 60 * NS)
    assert client.sink is not None
    assert client.sink.result == source.content
    return client, world.now_ns - begun_ns


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_forged_packets_in_front_of_true_ones_take_none_of_them_with_them(alter: Alteration, seed: int) -> None:
    _, alone_ns = fetched_in(World(seed))
    world, draw = World(seed), random.Random(seed)
    forged_count = 0

    def put_in_front(datagram: bytes, source: Address, target: Address) -> None:
        nonlocal forged_count
        if source[0] == "server" and datagram[:4] != MAGIC and draw.random() < 0.2:
            forged_count += 1
            world.network.deliver(alter(datagram, draw), source, target)

    world.arrival_taps.append(put_in_front)
    client, time_ns = fetched_in(world)
    assert forged_count > 50
    assert client.feed.machine.received_count == client.feed.machine.expected_count, "true packets were lost"
    assert time_ns <= 1.2 * alone_ns


@pytest.mark.parametrize("alter", [any_octet, a_tag])
def test_altered_packets_of_the_fetcher_in_its_own_name_change_nothing(alter: Alteration, seed: int) -> None:
    _, alone_ns = fetched_in(World(seed))
    world, draw = World(seed), random.Random(seed)

    def play(datagram: bytes, source: Address, target: Address) -> None:
        for port in (source[1], draw.randrange(1, 1 << 16)):
            for _ in range(20):
                world.network.deliver(alter(datagram, draw), (source[0], port), target)

    def hear(datagram: bytes, source: Address, target: Address) -> None:
        if source[0] == "client":
            world.at(1_000, lambda: play(datagram, source, target))

    world.arrival_taps.append(hear)
    client, time_ns = fetched_in(world)
    assert client.feed.machine.received_count == client.feed.machine.expected_count
    assert time_ns <= 1.2 * alone_ns


def test_a_neighbour_with_the_tokens_of_an_address_leaves_it_answers(seed: int) -> None:
    """It asks 300 times a second with a token that was recorded, as often without, and another nonce each time."""
    world, draw = World(seed), random.Random(seed)
    neighbour: Address = ("client", 1)
    target = ("server", CONTROL_PORT_DEFAULT)
    world.serve(world.source(payload(SIZE, seed)), rate_bps=RATE_BPS)
    token = bytes(TOKEN_SIZE)

    def learn(datagram: bytes, _source: Address, _target: Address) -> None:
        nonlocal token
        header = parse_header(datagram)
        record = header if isinstance(header, Reject) else parse_handshake(datagram, *header)
        if isinstance(record, Retry):
            token = record.token

    def ask() -> None:
        for shown in (token, bytes(TOKEN_SIZE)):
            world.deliver(Hello(draw.randbytes(16), token=shown).encode(), neighbour, target)
        world.at(NS // 300, ask)

    world.taps.append(learn)
    ask()
    world.run(lambda: False, 8 * NS + 7_300_000)
    assert token != bytes(TOKEN_SIZE)
    client = world.fetch()
    assert world.run(lambda: client.is_done, NS), "no answer was left"


def test_the_parts_of_a_session_are_joined_though_forged_ones_stand_between_them(seed: int) -> None:
    world, draw = World(seed), random.Random(seed)
    forged_count = 0

    def put_in_front(datagram: bytes, source: Address, target: Address) -> None:
        nonlocal forged_count
        if source[0] == "server" and datagram[:1] == b"\x1e":
            forged_count += 1
            world.network.deliver(another_session(datagram, draw), source, target)
            world.network.deliver(_with(datagram, 2, b"\x07"), source, target)

    world.arrival_taps.append(put_in_front)
    client, _ = fetched_in(world, symbol_size=1408, size_max=DATAGRAM_SIZE_SAFE)
    assert forged_count > 50
    session = client.feed.machine.session
    assert session is not None
    counter = session.counter
    assert counter.received_count == counter.expected, "true parts were lost"
