"""What a stranger's packets, and copies of old ones, can do: nothing."""

from __future__ import annotations

import tracemalloc
from collections import Counter

from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, HELLO_SIZE, NS
from fountain.net.address import Address
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.server import ServerMachine
from fountain.protocol.session.server_events import SessionOpened
from fountain.testing import Client, Link, Server, World, payload
from fountain.wire.control import HEADER_SIZE, MAGIC, Hello, PacketType
from fountain.wire.reject import Reject
from fountain.wire.session import SessionHeader

MS = NS // 1000
CONTROL: Address = ("server", CONTROL_PORT_DEFAULT)
DATA: Address = ("server", DATA_PORT_DEFAULT)
STRANGER: Address = ("stranger", 666)


class Recorder:
    """Every datagram that is sent, by its sender's name."""

    def __init__(self, world: World) -> None:
        self.datagrams: list[tuple[bytes, Address, Address]] = []
        world.taps.append(lambda *datagram: self.datagrams.append(datagram))

    def control(self, sender: str, packet_type: PacketType) -> list[tuple[bytes, Address, Address]]:
        """The control packets of one type that a host sent."""
        return [
            entry
            for entry in self.datagrams
            if entry[1][0] == sender and entry[0][:4] == MAGIC and entry[0][5] == packet_type
        ]

    def data(self, sender: str) -> list[tuple[bytes, Address, Address]]:
        """The data packets that a host sent."""
        return [entry for entry in self.datagrams if entry[1][0] == sender and entry[0][:4] != MAGIC]


def stage(seed: int, size: int = 100_000) -> tuple[World, Server, Client, Recorder]:
    world = World(seed)
    recorder = Recorder(world)
    server = world.serve(world.source(payload(size, seed)), rate_bps=2_000_000)
    return world, server, world.fetch(), recorder


def finish(world: World, client: Client) -> None:
    assert world.run(lambda: client.is_done)
    assert client.sink is not None
    assert client.sink.result is not None


def test_a_stop_under_a_wrong_key_stops_nothing(seed: int) -> None:
    world, server, client, _ = stage(seed)
    assert world.run(lambda: client.fetch.counters.received_count > 50)
    (session,) = server.sender.machine.sessions
    for sequence in (1, 2, 1 << 40):
        forged = SessionHeader(PacketType.STOP, session, sequence).encode() + world.draw_bytes(12 + 16)
        world.deliver(forged, client.endpoint.local_address, CONTROL)
        world.deliver(forged, STRANGER, DATA)
    world.run(lambda: False, 10 * MS)
    assert session in server.sender.machine.sessions
    assert server.sender.machine.rejects.count(Reject.BAD_SEAL) == 6
    finish(world, client)
    assert len([event for event in server.events if isinstance(event, SessionOpened)]) == 1


def test_the_stop_of_another_session_stops_nothing(seed: int) -> None:
    world, server, first, recorder = stage(seed, 2_000)
    finish(world, first)
    world.run(lambda: first.has_ended)
    second = world.fetch(name="second")
    world.link("server", "second", Link(delay_ns=50 * MS))
    assert world.run(lambda: bool(server.sender.machine.sessions))
    (session,) = server.sender.machine.sessions
    for stop, source, target in recorder.control("client", PacketType.STOP):
        world.deliver(stop, source, target)
        world.deliver(stop[:8] + session.to_bytes(8, "big") + stop[16:], second.endpoint.local_address, target)
    world.run(lambda: False, MS)
    assert list(server.sender.machine.sessions) == [session]
    finish(world, second)


def test_a_replayed_report_changes_nothing(seed: int) -> None:
    world, server, client, recorder = stage(seed)
    assert world.run(lambda: client.fetch.counters.received_count > 50)
    (session,) = server.sender.machine.sessions.values()
    world.kill(client)
    world.run(lambda: False, NS)
    heard_ns = session.heard_ns
    for report, source, target in recorder.control("client", PacketType.REPORT):
        world.deliver(report, source, target)
        world.run(lambda: False, MS)
    assert session.heard_ns == heard_ns
    assert server.sender.machine.rejects.count(Reject.REPLAYED) >= 1


def test_a_replayed_request_opens_nothing_while_its_cookie_lives_nor_afterwards(seed: int) -> None:
    world, server, client, recorder = stage(seed, 2_000)
    finish(world, client)
    assert world.run(lambda: not server.sender.machine.sessions)
    ((request, source, target),) = recorder.control("client", PacketType.REQUEST)
    for _ in range(50):
        world.deliver(request, source, target)
        world.deliver(request, STRANGER, target)
        world.run(lambda: False, NS)
        assert not server.sender.machine.sessions
    assert len([event for event in server.events if isinstance(event, SessionOpened)]) == 1


def test_an_offer_that_answers_no_hello_of_ours_is_ignored(seed: int) -> None:
    world = World(seed)
    recorder = Recorder(world)
    evil = world.serve(world.source(payload(5_000, 666), name="evil"), name="evil")
    victim = world.fetch(name="victim", server="evil")
    assert world.run(lambda: victim.is_done)
    ((offer, _, _),) = recorder.control("evil", PacketType.OFFER)
    world.kill(evil)
    server = world.serve(source := world.source(payload(5_000, 1)))
    client = world.fetch()
    for _ in range(100):
        nonce = world.draw_bytes(16)
        world.deliver(offer[:HEADER_SIZE] + nonce + offer[HEADER_SIZE + 16 :], CONTROL, client.endpoint.local_address)
    finish(world, client)
    assert client.sink is not None
    assert client.sink.result == source.content
    assert client.feed.machine.rejects.count(Reject.OUT_OF_PLACE) == 100
    assert not server.sender.failures


def test_an_offer_that_fits_but_comes_from_elsewhere_is_ignored(seed: int) -> None:
    world = World(seed)
    recorder = Recorder(world)
    world.link("server", "client", Link(delay_ns=50 * MS))
    world.serve(world.source(payload(5_000, 1)))
    client = world.fetch()
    assert world.run(lambda: bool(recorder.control("server", PacketType.OFFER)))
    ((offer, _, target),) = recorder.control("server", PacketType.OFFER)
    world.deliver(offer, STRANGER, target)
    world.run(lambda: False, 10 * MS)
    assert not client.events
    finish(world, client)


def test_data_from_a_foreign_address_is_ignored_and_the_same_packet_from_the_server_is_taken(seed: int) -> None:
    world, _, client, recorder = stage(seed)
    assert world.run(lambda: client.fetch.counters.received_count > 50)
    gate = world.link("server", "client", Link(loss=1.0))
    assert world.run(lambda: gate.lost_count > 5)
    world.run(lambda: False, 10 * MS)
    datagram, source, target = recorder.data("server")[-1]
    before = client.fetch.counters.received_count
    world.deliver(datagram, STRANGER, target)
    world.deliver(datagram, ("server", 1234), target)
    world.run(lambda: False, MS)
    assert client.fetch.counters.received_count == before
    world.deliver(datagram, source, target)
    world.deliver(datagram, source, target)  # a copy counts once
    world.run(lambda: False, MS)
    assert client.fetch.counters.received_count == before + 1


def test_a_flood_of_hellos_from_10_000_sources_costs_little_and_repays_less(seed: int) -> None:
    """In the machine alone: 100,000 Hellos over two seconds."""
    _, server, _, _ = stage(seed)
    served = server.sender.objects[0].served
    machine = ServerMachine(secret=bytes(32), objects=[served], rate_bps=10**9, peer_count_max=64, now_ns=0)
    sources: list[Address] = [(f"10.{index >> 8}.{index & 255}.1", index + 1) for index in range(10_000)]
    received = Counter(dict.fromkeys(sources, 0))
    sent = Counter(received)
    hello = Hello(bytes(16)).encode()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for index in range(100_000):
        source = sources[index % len(sources)]
        machine.handle_datagram(hello, source, index * 20_000, port=Port.CONTROL)
        received[source] += HELLO_SIZE
        while (waiting := machine.poll_datagram()) is not None:
            sent[waiting.destination] += len(waiting.datagram)
            assert waiting.source is Port.CONTROL
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not machine.sessions
    assert machine.poll_order(2 * NS) is None
    assert after - before < 8 << 20
    assert sum(sent.values()) < sum(received.values()) / 4
    assert all(size <= received[source] for source, size in sent.items())
    assert machine.rejects.count(Reject.TOO_MANY) > 50_000


def test_no_answer_to_a_hello_is_longer_than_the_hello(seed: int) -> None:
    world = World(seed)
    recorder = Recorder(world)
    longest = "\N{SNOWMAN}" * 85  # 255 octets
    world.serve(*[world.source(b"x", name=f"{longest[:-1]}{index:03}"[-85:]) for index in range(30)])
    client = world.fetch()
    assert world.run(lambda: client.has_ended)
    answers = recorder.control("server", PacketType.LISTING)
    assert len(answers) > 4
    assert max(len(datagram) for datagram, _, _ in answers) <= HELLO_SIZE
