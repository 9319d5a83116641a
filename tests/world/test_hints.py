"""Answers that nothing vouches for end no fetch that a true one can still save, and no wait goes on without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from fountain.errors import StorageError
from fountain.integrity import digest, key_pair
from fountain.limits import CONTROL_PORT_DEFAULT, NS
from fountain.net.address import Address
from fountain.protocol.session.client_events import Failure, FetchFailed, FetchHindered
from fountain.protocol.session.server_events import SessionOpened
from fountain.testing import Client, Link, World, payload
from fountain.wire.control import (
    MAGIC,
    Listing,
    Offer,
    PacketType,
    Refusal,
    RefusalReason,
    Want,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject

MS = NS // 1000
CONTROL: Address = ("server", CONTROL_PORT_DEFAULT)
Forge = Callable[[bytes], bytes | None]


def failures(client: Client) -> list[tuple[Failure | None, RefusalReason | None]]:
    return [(event.failure, event.refusal) for event in client.events if isinstance(event, FetchFailed)]


def hindrances(client: Client) -> list[FetchHindered]:
    return [event for event in client.events if isinstance(event, FetchHindered)]


def named(name: str) -> tuple[Want, bytes]:
    return Want.NAME, digest(name.encode())


def answer_first(world: World, forge: Forge, *, to: PacketType = PacketType.HELLO) -> None:
    """Somebody near the client sees each Hello (or Request) and answers it in the server's name before the server."""

    def look(datagram: bytes, source: Address, target: Address) -> None:
        if source[0] == "client" and datagram[:4] == MAGIC and datagram[5] == to:
            forged = forge(datagram)
            if forged is not None:
                world.at(MS // 10, lambda: world.deliver(forged, CONTROL, source))

    world.taps.append(look)


def nonce(datagram: bytes) -> bytes:
    return datagram[8:24] if datagram[5] == PacketType.HELLO else datagram[16:32]


def true_offer(seed: int, content: bytes, **options: object) -> Offer:
    """An Offer of `content`, as its server makes it."""
    world = World(seed)
    offers: list[Offer] = []

    def look(datagram: bytes, source: Address, target: Address) -> None:
        header = parse_header(datagram)
        if not isinstance(header, Reject) and header[0] is PacketType.OFFER:
            record = parse_handshake(datagram, *header)
            assert isinstance(record, Offer)
            offers.append(record)

    world.taps.append(look)
    world.serve(world.source(content, **options))  # type: ignore[arg-type]
    world.fetch()
    assert world.run(lambda: bool(offers))
    return offers[0]


# --- Forged answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", RefusalReason)
@pytest.mark.parametrize("to", [PacketType.HELLO, PacketType.REQUEST])
@pytest.mark.parametrize("wait", [False, True])
def test_a_forged_refusal_ends_no_fetch(reason: RefusalReason, to: PacketType, wait: bool, seed: int) -> None:
    world = World(seed)
    source = world.source(payload(30_000, seed))
    world.serve(source)
    for way in ("client", "server"), ("server", "client"):
        world.link(*way, Link(delay_ns=150 * MS))
    answer_first(world, lambda datagram: Refusal(nonce(datagram), reason).encode(), to=to)
    client = world.fetch(wait=wait)
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.sink is not None
    assert client.sink.result == source.content


def test_a_forged_listing_ends_no_fetch(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(30_000, seed)))
    answer_first(world, lambda datagram: Listing(nonce(datagram), 0, 1, (("other", 5),)).encode())
    client = world.fetch()
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.is_done


@pytest.mark.parametrize("kind", ["another object", "another key", "the other seal", "another port"])
def test_a_forged_offer_ends_no_fetch(kind: str, seed: int) -> None:
    world = World(seed)
    source = world.source(payload(30_000, seed))
    world.serve(source)
    for way in ("client", "server"), ("server", "client"):
        world.link(*way, Link(delay_ns=20 * MS))
    offer = true_offer(seed, source.content)
    body = {
        "another object": replace(offer.body, object_id=bytes(32), object_size=5),
        "another key": replace(offer.body, server_public=key_pair(bytes(32))[1]),
        "the other seal": replace(offer.body, open=True),
        "another port": replace(offer.body, data_port=9),
    }[kind]
    answer_first(world, lambda datagram: Offer(nonce(datagram), bytes(20), body).encode())
    client = world.fetch()
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.is_done, failures(client)
    assert client.sink is not None
    assert client.sink.result == source.content


def test_a_forged_offer_of_what_cannot_be_put_here_ends_no_fetch(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(30_000, seed))
    world.serve(source)
    offer = true_offer(seed, b"another", name="taken")
    answer_first(world, lambda datagram: Offer(nonce(datagram), bytes(20), offer.body).encode())
    client = world.fetch()
    open_sink = client.open_sink

    def refuse(offered: object) -> object:
        if getattr(offered, "name", "") == "taken":
            raise StorageError("It is taken.")
        return open_sink(offered)  # type: ignore[arg-type]

    client.open_sink = refuse  # type: ignore[method-assign, assignment]
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.fetch.error is None
    assert client.is_done


@pytest.mark.parametrize("has_server", [True, False])
def test_offers_that_contradict_each_other_end_a_fetch_with_its_patience_and_not_before(
    has_server: bool, seed: int
) -> None:
    """Each Hello is answered by Offers of ever other objects, none of which can be put anywhere here."""
    world = World(seed)
    source = world.source(payload(30_000, seed))
    if has_server:
        world.serve(source)
    offer = true_offer(seed, source.content)

    def look(hello: bytes, source: Address, target: Address) -> None:
        if source[0] != "client" or hello[5] != PacketType.HELLO:
            return
        for number in range(6):
            body = replace(offer.body, name=f"false {number} at {world.now_ns}")
            forged = Offer(nonce(hello), bytes(20), body).encode()
            world.at(MS // 20 + number, partial(world.deliver, forged, CONTROL, source))

    world.taps.append(look)
    client, start_ns = world.fetch(timeout_ns=5 * NS), world.now_ns
    open_sink = client.open_sink

    def refuse(offered: object) -> object:
        if getattr(offered, "name", "").startswith("false"):
            raise StorageError("It is taken.")
        return open_sink(offered)  # type: ignore[arg-type]

    client.open_sink = refuse  # type: ignore[method-assign, assignment]
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.is_done == has_server
    if not has_server:
        assert 5 * NS <= world.now_ns - start_ns < 7 * NS
        assert str(client.fetch.error) == "It is taken."


def test_one_false_offer_leaves_the_part_to_the_true_one(seed: int) -> None:
    """Each sink that was opened for an Offer that contradicts it is closed: a part would stay locked."""
    world = World(seed)
    source = world.source(payload(30_000, seed))
    world.serve(source)
    first = world.fetch(name="first")
    assert world.run(lambda: first.is_done)
    sink = first.sink
    assert sink is not None
    sink._verified[:] = False
    closed: list[bool] = []
    sink.close = lambda: closed.append(True)  # type: ignore[method-assign]
    offer = true_offer(seed, source.content)
    false = replace(offer.body, block_symbol_limit=offer.body.block_symbol_limit + 1)
    answer_first(world, lambda datagram: Offer(nonce(datagram), bytes(20), false).encode())
    client = world.fetch(sink=sink)
    assert world.run(lambda: client.has_ended, 20 * NS)
    assert client.is_done
    assert closed == [True]


def test_an_offer_of_another_object_than_the_one_asked_for_is_not_taken(seed: int) -> None:
    world = World(seed)
    server = world.serve(world.source(payload(2_000, seed)))
    server.sender.machine.catalogue.find = lambda hello: 0  # type: ignore[method-assign]  # A server that offers what it likes.
    client = world.fetch(want=(Want.OBJECT, digest(b"another")), timeout_ns=3 * NS)
    assert world.run(lambda: client.has_ended)
    assert failures(client) == [(Failure.NOBODY, None)]
    assert client.sink is None


# --- True answers -------------------------------------------------------------------------------------------


def test_a_true_refusal_ends_a_fetch_soon(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(b"x", name="here"))
    client = world.fetch(want=named("elsewhere"))
    assert world.run(lambda: client.has_ended, 1_100 * MS)
    assert failures(client) == [(Failure.REFUSED, RefusalReason.NO_SUCH_OBJECT)]


def test_a_client_that_waits_for_a_name_is_notified_once_that_it_is_not_there_and_gets_it_when_it_is(seed: int) -> None:
    world = World(seed)
    server = world.serve(world.source(b"x", name="here"))
    client = world.fetch(want=named("elsewhere"), wait=True)
    assert not world.run(lambda: client.has_ended, 60 * NS)
    assert [event.refusal for event in hindrances(client)] == [RefusalReason.NO_SUCH_OBJECT]
    world.kill(server)
    world.serve(world.source(b"y", name="elsewhere"))
    assert world.run(lambda: client.is_done, 5 * NS)


def test_a_client_that_waits_gets_a_free_place_at_a_full_server_and_is_notified_meanwhile(
    seed: int,
) -> None:
    world = World(seed)
    world.serve(world.source(payload(500_000, seed)), rate_bps=1_000_000, peer_count_max=1)
    first = world.fetch(name="first")
    assert world.run(lambda: first.fetch.counters.received_count > 0)
    second = world.fetch(name="second", wait=True)
    assert world.run(lambda: first.is_done, 30 * NS)
    assert [event.refusal for event in hindrances(second)] == [RefusalReason.SERVER_FULL]
    assert world.run(lambda: second.is_done, 30 * NS)


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("has_name", [True, False], ids=["another of that name", "none of that name"])
def test_a_server_that_comes_back_with_another_object_is_reported(has_name: bool, wait: bool, seed: int) -> None:
    world = World(seed)
    server = world.serve(world.source(payload(200_000, seed), name="f"), rate_bps=1_000_000)
    client = world.fetch(wait=wait)
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    world.kill(server)
    world.serve(world.source(payload(50_000, 1), name="f" if has_name else "g"))
    assert world.run(lambda: client.has_ended, 40 * NS) is not wait
    (event,) = hindrances(client) if wait else [event for event in client.events if isinstance(event, FetchFailed)]
    assert event.failure is Failure.REPLACED
    assert (event.offer is not None) is has_name
    assert not has_name or event.offer.object_size == 50_000  # type: ignore[union-attr]


# --- Streams that stand still -------------------------------------------------------------------------------


class Deaf(Link):
    """Drops these types of packets; None stands for data."""

    def __init__(self, *types: PacketType | None) -> None:
        super().__init__()
        self.types = types

    def carry(self, datagram: bytes, now_ns: int, draw: object) -> list[tuple[int, bytes]]:
        kind = PacketType(datagram[5]) if datagram[:4] == MAGIC else None
        return [] if kind in self.types else super().carry(datagram, now_ns, draw)  # type: ignore[arg-type]


def stuck(seed: int, to_server: tuple[PacketType | None, ...], to_client: tuple[PacketType | None, ...]) -> Client:
    """A fetch to which this happens in the middle, at most 14 s later: two for which the server streams on, and ten."""
    world = World(seed)
    world.serve(world.source(payload(500_000, seed)), rate_bps=1_000_000)
    client = world.fetch()
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    world.link("client", "server", Deaf(*to_server))
    world.link("server", "client", Deaf(*to_client))
    world.run(lambda: client.has_ended, 14 * NS)
    return client


def test_dropped_reports_end_a_fetch_with_the_words_for_a_control_port_that_hears_nothing(seed: int) -> None:
    client = stuck(seed, (PacketType.HELLO, PacketType.REPORT, PacketType.STOP, PacketType.PONG), ())
    assert failures(client) == [(Failure.NOT_HEARD, None)]


def test_dropped_data_in_mid_transfer_ends_a_fetch_with_the_words_for_that(seed: int) -> None:
    assert failures(stuck(seed, (), (None,))) == [(Failure.STALLED, None)]


def test_a_data_port_that_falls_silent_is_distinguished_from_a_server_that_does(seed: int) -> None:
    from_data_port = (None, PacketType.PING, PacketType.PONG, PacketType.BYE)
    assert failures(stuck(seed, (), from_data_port)) == [(Failure.CUT_OFF, None)]
    assert failures(stuck(seed, (), (*from_data_port, *PacketType))) == [(Failure.SILENCE, None)]


def test_pings_without_any_data_end_a_fetch_with_the_words_for_packets_that_are_too_large(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(100_000, seed)))
    world.link("server", "client", Deaf(None))
    client = world.fetch()
    assert world.run(lambda: client.has_ended, 14 * NS)
    assert failures(client) == [(Failure.TOO_LARGE, None)]


def test_a_server_that_ends_each_stream_after_its_first_packet_keeps_nobody(seed: int) -> None:
    world = World(seed)
    server = world.serve(world.source(payload(2_000_000, seed), block=1_000), rate_bps=1_000_000)
    client = world.fetch()

    def end() -> None:
        machine = server.sender.machine
        for session in list(machine.sessions.values()):
            if session.sent_count:
                machine.close(world.now_ns)
                server.due_ns = world.now_ns
        if not client.has_ended:
            world.at(2 * MS, end)

    end()
    assert world.run(lambda: client.has_ended, 60 * NS)
    assert failures(client) == [(Failure.UNSTEADY, None)]
    assert len([event for event in server.events if isinstance(event, SessionOpened)]) < 20


def test_a_client_that_waits_is_notified_once_what_is_wrong_and_goes_on_when_it_is_mended(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(500_000, seed))
    world.serve(source, rate_bps=1_000_000)
    client = world.fetch(wait=True)
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    world.link("client", "server", Deaf(PacketType.HELLO, PacketType.REPORT, PacketType.PONG))
    assert not world.run(lambda: client.has_ended, 120 * NS)
    assert [event.failure for event in hindrances(client)] == [Failure.NOT_HEARD]
    world.link("client", "server", Link())
    assert world.run(lambda: client.is_done, 30 * NS)
    assert client.sink is not None
    assert client.sink.result == source.content
