"""Who falls silent, for how long, and what is kept: pairs of tests on both sides of each boundary."""

from __future__ import annotations

import random

import pytest

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.session.client_events import (
    ClientState,
    Failure,
    FetchFailed,
    Interruption,
    OfferReceived,
    StreamLost,
    StreamOpened,
)
from fountain.protocol.session.server_session import CLIENT_SILENT_NS, GONE_NS, SessionState
from fountain.testing import Client, Link, Server, World, payload
from fountain.wire.control import MAGIC, PacketType

MS = NS // 1000
TIMEOUT_NS = 10 * NS
FLAG_MANIFEST = 2


class Gate(Link):
    """Lets so many data packets of the object pass, and everything else."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        if datagram[:4] != MAGIC and not datagram[1] & FLAG_MANIFEST:
            if self.left <= 0:
                return []
            self.left -= 1
        return super().carry(datagram, now_ns, draw)


def stage(seed: int, size: int = 200_000) -> tuple[World, Server, Client]:
    world = World(seed)
    server = world.serve(world.source(payload(size, seed)), rate_bps=1_000_000)
    return world, server, world.fetch(timeout_ns=TIMEOUT_NS)


def failures(client: Client) -> list[Failure | None]:
    return [event.failure for event in client.events if isinstance(event, FetchFailed)]


def count_data(world: World) -> list[int]:
    """When data packets are sent, from now on."""
    times: list[int] = []

    def look(datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] != MAGIC:
            times.append(world.now_ns)

    world.taps.append(look)
    return times


@pytest.mark.parametrize("symbol_count", [1, 2, 16, 101])
def test_K_symbols_are_enough(symbol_count: int, seed: int) -> None:
    world = World(seed)
    source = world.source(payload(symbol_count * 64, seed), block=symbol_count)
    world.serve(source)
    world.link("server", "client", Gate(symbol_count))
    client = world.fetch()
    assert world.run(lambda: client.is_done, 5 * NS)
    assert client.sink is not None
    assert client.sink.result == source.content


@pytest.mark.parametrize("symbol_count", [1, 2, 16, 101])
def test_one_symbol_less_than_K_is_not_enough(symbol_count: int, seed: int) -> None:
    world = World(seed)
    world.serve(world.source(payload(symbol_count * 64, seed), block=symbol_count))
    gate = world.link("server", "client", Gate(symbol_count - 1))
    client = world.fetch()
    assert not world.run(lambda: client.is_done, 4 * NS)
    assert client.sink is not None
    assert client.sink.result is None
    assert client.fetch.phase.value == "receiving"
    gate.left = 1  # type: ignore[attr-defined]
    assert world.run(lambda: client.is_done, 5 * NS)


def late_word(seed: int, lateness_ns: int, *, is_data: bool = True) -> Client:
    """A fetch that hears nothing but one authentic packet, `lateness_ns` after the last moment."""
    world, _, client = stage(seed)
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    words: list[tuple[bytes, Address, Address]] = []

    def look(datagram: bytes, source: Address, target: Address) -> None:
        is_ping = datagram[:4] == MAGIC and datagram[5] == PacketType.PING
        if source[0] == "server" and (datagram[:4] != MAGIC if is_data else is_ping):
            words.append((datagram, source, target))

    world.run(lambda: False, 2 * MS)
    world.link("server", "client", Link(loss=1.0))
    world.taps.append(look)
    world.run(lambda: False, 2 * MS)  # What was under way arrives.
    end_ns = client.feed.machine.patience.advanced_ns + TIMEOUT_NS
    world.at(end_ns + lateness_ns - world.now_ns, lambda: world.deliver(*words[-1]))
    world.run(lambda: False, TIMEOUT_NS + 100 * MS)
    return client


def test_a_symbol_from_the_server_1_ms_before_the_timeout_keeps_the_fetch(seed: int) -> None:
    client = late_word(seed, -MS)
    assert not client.has_ended
    assert client.feed.machine.state is ClientState.RECEIVING


def test_a_ping_from_the_server_1_ms_before_the_timeout_is_no_progress(seed: int) -> None:
    client = late_word(seed, -MS, is_data=False)
    assert client.has_ended


def test_a_symbol_from_the_server_1_ms_after_the_timeout_comes_too_late(seed: int) -> None:
    client = late_word(seed, MS)
    assert client.has_ended
    assert failures(client) == [Failure.SILENCE]
    assert client.sink is not None
    assert client.sink.written_block_count > 0
    assert client.sink.result is None


def test_a_server_that_comes_back_before_the_timeout_is_used(seed: int) -> None:
    world, server, client = stage(seed)
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    world.kill(server)
    # Hellos go out every two seconds by then.
    source = server.sender.objects[0].source
    world.at(TIMEOUT_NS - 2_100 * MS, lambda: world.serve(source) and None)  # type: ignore[arg-type]
    assert world.run(lambda: client.is_done)
    assert [type(event) for event in client.events] == [OfferReceived, StreamOpened, StreamLost, StreamOpened]


def test_a_server_that_comes_back_after_the_timeout_is_not_and_the_next_fetch_goes_on(seed: int) -> None:
    world, server, client = stage(seed)
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    world.kill(server)
    assert world.run(lambda: client.has_ended, TIMEOUT_NS + MS)
    assert failures(client) == [Failure.SILENCE]
    assert client.sink is not None
    kept = int(client.sink.verified.sum())
    assert kept > 10
    world.kill(client)
    world.serve(server.sender.objects[0].source)  # type: ignore[arg-type]
    sent = count_data(world)
    second = world.fetch(sink=client.sink)
    assert world.run(lambda: second.is_done)
    total = -(-200_000 // 64)
    assert len(sent) <= total - 16 * kept + 16


def test_a_client_that_vanishes_gets_probes_after_two_seconds_and_nothing_after_thirty(seed: int) -> None:
    world, server, client = stage(seed, 10_000_000)
    assert world.run(lambda: client.fetch.counters.received_count > 100)
    world.kill(client)
    start_ns = world.now_ns
    all_sent: list[int] = []
    world.taps.append(lambda _datagram, _source, _target: all_sent.append(world.now_ns))
    data = count_data(world)
    world.run(lambda: False, 60 * NS)
    slack_ns = 130 * MS  # Sessions are looked at eight times a second.
    assert len([at_ns for at_ns in data if at_ns > start_ns + CLIENT_SILENT_NS + slack_ns]) <= 29
    assert not [at_ns for at_ns in all_sent if at_ns > start_ns + GONE_NS + slack_ns]
    assert not server.sender.machine.sessions


@pytest.mark.parametrize(("silence_ns", "state"), [(1_900 * MS, "streaming"), (2_200 * MS, "silent")])
def test_two_seconds_without_a_report_pause_a_stream(silence_ns: int, state: str, seed: int) -> None:
    world, server, client = stage(seed, 10_000_000)
    assert world.run(lambda: client.fetch.counters.received_count > 100)
    world.link("client", "server", Link(loss=1.0))
    (session,) = server.sender.machine.sessions.values()
    world.run(lambda: False, 2 * MS)  # What was under way arrives.
    world.run(lambda: False, session.heard_ns + silence_ns - world.now_ns)
    assert session.state is SessionState(state)
    world.link("client", "server", Link())
    world.run(lambda: False, 2 * NS)
    assert session.state is SessionState.STREAMING


def test_symbols_in_memory_survive_a_reconnect(seed: int) -> None:
    """One large block: what has arrived of it before the silence is not sent again."""
    world = World(seed)
    symbol_count = 400
    source = world.source(payload(symbol_count * 64, seed), block=symbol_count)
    server = world.serve(source, rate_bps=500_000)
    client = world.fetch()
    sent = count_data(world)
    assert world.run(lambda: client.fetch.counters.received_count > 300)
    held = client.fetch.counters.received_count
    world.kill(server)
    world.run(lambda: client.feed.machine.state is ClientState.SEARCHING)
    sent.clear()
    world.serve(source, rate_bps=500_000)
    assert world.run(lambda: client.is_done)
    assert client.sink is not None
    assert client.sink.result == source.content
    assert len(sent) <= symbol_count - held + 25  # the first report takes a round trip


def test_a_silent_server_port_ends_the_search_at_the_timeout(seed: int) -> None:
    world = World(seed)
    world.serve(world.source(b"x"))
    world.link("client", "server", Link(loss=1.0))
    client = world.fetch(timeout_ns=TIMEOUT_NS)
    assert not world.run(lambda: client.has_ended, TIMEOUT_NS - MS)
    assert world.run(lambda: client.has_ended, 2 * MS)
    assert failures(client) == [Failure.NOBODY]


def test_a_closed_port_ends_the_search_at_once(seed: int) -> None:
    world = World(seed)
    client = world.fetch()
    assert world.run(lambda: client.has_ended, 5 * MS)
    assert failures(client) == [Failure.UNREACHABLE]


def test_a_client_that_waits_outlasts_a_closed_port(seed: int) -> None:
    world = World(seed)
    client = world.fetch(wait=True)
    assert not world.run(lambda: client.has_ended, 100 * NS)
    world.serve(world.source(b"x"))
    assert world.run(lambda: client.is_done, 3 * NS)


def test_a_client_that_waits_outlasts_the_server_in_the_middle(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(100_000, seed))
    server = world.serve(source, rate_bps=1_000_000)
    client = world.fetch(wait=True, timeout_ns=TIMEOUT_NS)
    assert world.run(lambda: client.fetch.counters.received_count > 200)
    world.kill(server)
    assert not world.run(lambda: client.has_ended, 10 * TIMEOUT_NS)
    world.serve(source)
    assert world.run(lambda: client.is_done, 3 * NS)


def test_a_server_that_said_that_it_stops_is_distinguished_from_a_silent_one(seed: int) -> None:
    world = World(seed)
    server = world.serve(world.source(payload(100_000, seed)), rate_bps=1_000_000)
    client = world.fetch(timeout_ns=TIMEOUT_NS)
    assert world.run(lambda: client.fetch.counters.received_count > 200)
    server.sender.machine.close(world.now_ns)
    server.sender.flush()
    world.kill(server)
    assert world.run(lambda: client.has_ended, TIMEOUT_NS + 10 * MS)
    assert failures(client) == [Failure.STOPPED]
    assert [event.reason for event in client.events if isinstance(event, StreamLost)] == [Interruption.STOPPING]


def test_a_closed_data_port_is_distinguished_from_a_silent_server(seed: int) -> None:
    world = World(seed)

    class ControlOnly(Link):
        def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
            is_request = datagram[:4] == MAGIC and datagram[5] == PacketType.REQUEST
            return [] if is_request else super().carry(datagram, now_ns, draw)

    world.serve(world.source(b"x"))
    world.link("client", "server", ControlOnly())
    client = world.fetch(timeout_ns=TIMEOUT_NS)
    assert world.run(lambda: client.has_ended, TIMEOUT_NS + 10 * MS)
    assert failures(client) == [Failure.NO_DATA]


def test_a_client_that_is_killed_20_times_is_sent_little_twice(seed: int) -> None:
    world = World(seed)
    source = world.source(payload(400_000, seed))
    world.serve(source, rate_bps=2_000_000)
    clients = [world.fetch()]
    sent = count_data(world)

    def kill_and_start() -> None:
        (client,) = clients
        if not client.is_done:
            world.kill(client)
            clients[0] = world.fetch(sink=client.sink)

    assert world.run(lambda: clients[0].sink is not None and clients[0].sink.manifest is not None)
    for _ in range(20):
        world.at(world.draw.randrange(2 * NS), kill_and_start)
    assert world.run(lambda: clients[0].is_done)
    assert clients[0].sink is not None
    assert clients[0].sink.result == source.content
    assert clients[0].sink.written_block_count == source.geometry.block_count
    manifest_count = -(-len(source.manifest_bytes) // 64)
    gone_count = 2_000_000 * 4 * MS // NS // (8 * 150)  # packets to a client that is gone: two round trips
    assert len(sent) <= source.geometry.symbol_count + manifest_count + 20 * (gone_count + 16)
