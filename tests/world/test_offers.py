"""Which Offers a fetch takes."""

from __future__ import annotations

import random

from fountain.integrity import digest
from fountain.limits import NS
from fountain.protocol.session.client_events import Failure, FetchFailed
from fountain.testing import Link, World, payload
from fountain.wire.control import MAGIC, PacketType, Want
from fountain.wire.reject import Reject

OBJECT_SIZE_AT = 8 + 16 + 20 + 32 + 32 + 4 + 8  # in an Offer


def is_offer(datagram: bytes) -> bool:
    """Whether a datagram is an Offer."""
    return datagram[:4] == MAGIC and datagram[5] == PacketType.OFFER


def with_another_size(offer: bytes) -> bytes:
    """An Offer with another object size, which no checksum finds."""
    octets = bytearray(offer)
    octets[OBJECT_SIZE_AT + 7] ^= 1
    return bytes(octets)


class OtherSizes(Link):
    """Damages the announced size in the first `count` Offers, in a way that no checksum finds."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        if is_offer(datagram) and self.count:
            self.count -= 1
            datagram = with_another_size(datagram)
        return super().carry(datagram, now_ns, draw)


def test_an_offer_of_another_name_than_the_one_asked_for_is_not_taken(seed: int) -> None:
    world = World(seed)
    server = world.serve(world.source(payload(2_000, seed), name="profile"))
    server.sender.machine.catalogue.find = lambda hello: 0  # type: ignore[method-assign]  # A server that offers what it likes.
    client = world.fetch(want=(Want.NAME, digest(b"image")), timeout_ns=3 * NS)
    assert world.run(lambda: client.has_ended)
    assert client.events == [FetchFailed(Failure.NOBODY)]
    assert client.sink is None
    assert client.feed.machine.rejects.count(Reject.OUT_OF_PLACE) > 1


def test_an_offer_that_contradicts_the_part_is_asked_for_again(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(40_000, seed))
    world.serve(source, rate_bps=1_000_000)
    first = world.fetch(name="first")
    assert world.run(lambda: first.sink is not None and first.sink.written_block_count > 3)
    world.kill(first)
    link = OtherSizes(count=2)
    world.link("server", "second", link)
    second = world.fetch(name="second", sink=first.sink)
    assert world.run(lambda: second.has_ended)
    assert not link.count
    assert second.is_done
    assert second.sink is not None
    assert second.sink.result == source.content


def test_one_address_of_a_name_that_refuses_keeps_nobody_from_another_that_serves(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(2_000, seed)))
    world.link("server", "client", Link(delay_ns=NS // 5))
    client = world.fetch()
    client.feed._targets.insert(0, ("nobody", 6330))
    assert world.run(lambda: client.has_ended)
    assert client.is_done


def test_one_address_that_refuses_does_not_end_the_search_for_another_that_is_silent(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(b"x"))
    world.link("client", "server", Link(loss=1.0))
    client = world.fetch(timeout_ns=8 * NS)
    client.feed._targets.insert(0, ("nobody", 6330))
    assert not world.run(lambda: client.has_ended, 8 * NS - NS // 100)
    assert world.run(lambda: client.has_ended, NS)
    assert client.events[-1].failure is Failure.NOBODY


def test_addresses_that_all_refuse_end_the_search_before_the_timeout(seed: int) -> None:
    world = World(seed)
    client = world.fetch(server="nobody")
    client.feed._targets.append(("nobody either", 6330))
    assert world.run(lambda: client.has_ended, 4 * NS)
    assert client.events[-1].failure is Failure.UNREACHABLE
