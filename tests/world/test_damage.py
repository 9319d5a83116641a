"""Damage that nothing on the way catches: of the handshake, of the manifest, of a block."""

from __future__ import annotations

import random

import pytest

from fountain.errors import IntegrityError, RefusedError
from fountain.geometry import Geometry
from fountain.limits import NS
from fountain.protocol.session.client_events import Failure, FetchFailed
from fountain.protocol.session.server_events import SessionEnded
from fountain.testing import Client, Link, Server, World, payload
from fountain.wire.control import MAGIC, PacketType
from fountain.wire.session import StopReason

OFFER_SIZE = 150  # or less: beyond the end, the packet is damaged from its beginning again
MAY_BE_REFUSED = {Failure.REFUSED, Failure.SEAL}


class Damage(Link):
    """Flips one bit of the first packet of one type."""

    def __init__(self, packet_type: PacketType, offset: int) -> None:
        super().__init__()
        self._type, self._offset = packet_type, offset
        self.damaged = False

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        if datagram[:4] == MAGIC and datagram[5] == self._type and not self.damaged:
            self.damaged = True
            octets = bytearray(datagram)
            octets[self._offset % len(octets)] ^= 1 << draw.randrange(8)
            datagram = bytes(octets)
        return super().carry(datagram, now_ns, draw)


def play(seed: int, from_server: bool, packet_type: PacketType, offset: int) -> Client:
    """A fetch in which one packet is damaged; it ended, and not with wrong octets."""
    world = World(seed)
    source = world.source(payload(3_000, seed))
    world.serve(source)
    link = Damage(packet_type, offset)
    world.link("server" if from_server else "client", "client" if from_server else "server", link)
    client = world.fetch(timeout_ns=20 * NS)
    assert world.run(lambda: client.has_ended, 30 * NS), f"octet {offset} of {packet_type!r} makes the fetch hang"
    assert link.damaged
    if client.is_done:
        assert client.sink is not None
        assert client.sink.result == source.content
    else:
        failures = {event.failure for event in client.events if isinstance(event, FetchFailed)}
        assert failures <= MAY_BE_REFUSED
        assert failures or isinstance(client.fetch.error, RefusedError)
    return client


def test_an_offer_damaged_anywhere_delays_a_fetch_or_ends_it_with_a_reason(seed: int) -> None:
    done = [play(seed, True, PacketType.OFFER, offset).is_done for offset in range(OFFER_SIZE)]
    assert sum(done) > OFFER_SIZE * 0.9


def test_a_hello_damaged_anywhere_delays_a_fetch_or_is_refused(seed: int) -> None:
    done = [play(seed, False, PacketType.HELLO, offset).is_done for offset in [*range(70), 1199]]
    assert sum(done) > 30


def test_a_request_damaged_anywhere_delays_a_fetch_at_most(seed: int) -> None:
    flag_octet = 7  # A Request for open data is refused.
    offsets = [offset for offset in range(120) if offset != flag_octet]
    assert all(play(seed, False, PacketType.REQUEST, offset).is_done for offset in offsets)


def fetch_from(server: Server, world: World) -> Client:
    client = world.fetch()
    assert world.run(lambda: client.has_ended)
    assert client.sink is not None
    assert client.sink.result is None
    assert isinstance(client.fetch.error, IntegrityError)
    (*_, ended) = [event.session for event in server.events if isinstance(event, SessionEnded)]
    assert ended is not None
    assert ended.end.reason is StopReason.INTEGRITY
    return client


def test_a_manifest_that_is_not_the_one_announced_ends_the_fetch(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(3_000, seed))
    source.manifest_bytes = source.manifest_bytes[:-1] + bytes([source.manifest_bytes[-1] ^ 1])
    client = fetch_from(world.serve(source), world)
    assert client.fetch.assembly is not None
    assert client.fetch.assembly.collector.bad_block_count > 1  # It asked again first.
    assert client.fetch.error is not None
    assert "Start the server again" in client.fetch.error.hint


@pytest.mark.parametrize("limit", [4, 5, 64])
def test_a_manifest_that_contradicts_the_offer_ends_the_fetch(limit: int, seed: int) -> None:
    world = World(seed)
    source = world.source(payload(3_000, seed), block=16)
    source.geometry = Geometry(3_000, 64, limit)
    fetch_from(world.serve(source), world)


def test_blocks_that_are_never_right_end_the_fetch_and_keep_those_that_are(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(30_000, seed), block=16)
    source.content = source.content[:2_000] + b"?" + source.content[2_001:]
    client = fetch_from(world.serve(source), world)
    assert client.sink is not None
    assert not client.sink.verified[1]
    assert client.sink.verified.sum() > 10


@pytest.mark.parametrize("is_open", [True, False])
def test_data_damaged_on_the_way_is_counted_and_collected_again(is_open: bool, seed: int) -> None:
    world = World(seed)
    source = world.source(payload(50_000, seed), block=64)
    world.serve(source, open=is_open)
    world.link("server", "client", Link(corrupt=0.3))
    client = world.fetch(open=is_open, wait=True)
    assert world.run(lambda: client.is_done)
    assert client.sink is not None
    assert client.sink.result == source.content
    assert client.fetch.assembly is not None
    assert client.fetch.assembly.unpacker.damaged_count > 100
    assert client.fetch.assembly is not None
    assert client.fetch.assembly.collector.bad_block_count == 0
