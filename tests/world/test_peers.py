"""Several peers, several objects, and the ways in which a fetch is refused or ends early."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from fountain.engine.receiving.object_fetch import Phase
from fountain.integrity import digest
from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.session.admission import KEY_PERIOD_NS
from fountain.protocol.session.client_events import (
    Failure,
    FetchFailed,
    ListingReceived,
    OfferReceived,
    StreamLost,
    StreamOpened,
)
from fountain.protocol.session.server_events import HandshakeRefused, SessionEnded, SessionOpened
from fountain.testing import Client, Link, MemorySink, World, payload
from fountain.wire.control import MAGIC, PacketType, RefusalReason, Want
from fountain.wire.reject import Reject
from fountain.wire.session import StopReason

MS = NS // 1000


def sent_symbols(world: World) -> dict[bytes, list[tuple[int, int]]]:
    """(block, ESI) of each data packet of the object, by session, as they are sent."""
    symbols: dict[bytes, list[tuple[int, int]]] = defaultdict(list)

    def look(datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] != MAGIC and not datagram[1] & 2:
            symbols[datagram[4:12]].append(
                (int.from_bytes(datagram[20:24], "big"), int.from_bytes(datagram[24:27], "big"))
            )

    world.taps.append(look)
    return symbols


class NoRequests(Link):
    """Lets everything pass but Requests."""

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        return [] if datagram[5] == PacketType.REQUEST else super().carry(datagram, now_ns, draw)


def sent_requests(world: World) -> list[tuple[bytes, Address, Address]]:
    """The Requests, as they are sent."""
    requests: list[tuple[bytes, Address, Address]] = []

    def look(datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] == MAGIC and datagram[5] == PacketType.REQUEST:
            requests.append((datagram, source, target))

    world.taps.append(look)
    return requests


def named(name: str) -> tuple[Want, bytes]:
    return Want.NAME, digest(name.encode())


def the_failure(client: Client) -> tuple[Failure | None, RefusalReason | None]:
    (event,) = [event for event in client.events if isinstance(event, FetchFailed)]
    return event.failure, event.refusal


class TestSeveralPeers:
    def test_four_clients_at_random_moments_with_a_tenth_of_loss_are_all_exact(self, seed: int) -> None:
        world = World(seed)
        source = world.source(payload(100_000, seed), block=64)
        world.serve(source, rate_bps=5_000_000)
        clients: list[Client] = []
        for index in range(4):
            world.link("server", f"client {index}", Link(loss=0.1, delay_ns=5 * MS))
            join_ns = world.draw.randrange(NS)
            world.at(join_ns, lambda index=index: clients.append(world.fetch(name=f"client {index}", loss=0.1)))
        assert world.run(lambda: len(clients) == 4 and all(client.is_done for client in clients))
        assert all(client.sink is not None and client.sink.result == source.content for client in clients)

    def test_peers_get_different_symbols(self, seed: int) -> None:
        world = World(seed)
        symbols = sent_symbols(world)
        world.serve(world.source(payload(64 * 64 * 4, seed), block=64))
        clients = [world.fetch(name=name) for name in ("left", "right", "third")]
        for client in clients:
            world.link("server", client.name, Link(loss=0.3))
        assert world.run(lambda: all(client.is_done for client in clients))
        assert len(symbols) == 3
        starts = [[next(esi for at, esi in sent if at == block) for block in range(4)] for sent in symbols.values()]
        assert all(len(set(places)) == 3 for places in zip(*starts))
        repairs = [{symbol for symbol in sent if symbol[1] >= 64} for sent in symbols.values()]
        assert all(repairs)
        assert not repairs[0] & repairs[1]
        assert not repairs[1] & repairs[2]
        assert not repairs[0] & repairs[2]

    def test_no_session_sends_a_symbol_twice(self, seed: int) -> None:
        world = World(seed)
        symbols = sent_symbols(world)
        world.serve(world.source(payload(100_000, seed), block=64))
        client = world.fetch()
        world.link("server", "client", Link(loss=0.3, jitter_ns=30 * MS))
        assert world.run(lambda: client.is_done)
        (sent,) = symbols.values()
        assert len(set(sent)) == len(sent)

    def test_a_peer_that_asks_in_the_middle_is_served_at_once(self, seed: int) -> None:
        world = World(seed)
        world.serve(world.source(payload(500_000, seed)), rate_bps=2_000_000)
        first = world.fetch(name="first")
        assert world.run(lambda: first.fetch.counters.received_count > 2_000)
        second = world.fetch(name="second")
        start_ns = world.now_ns
        assert world.run(lambda: second.fetch.counters.received_count > 0)
        assert world.now_ns - start_ns < 10 * MS  # two round trips of 2 ms, and its turn
        before = first.fetch.counters.received_count
        world.run(lambda: False, NS)
        assert first.fetch.counters.received_count - before == pytest.approx(
            second.fetch.counters.received_count, rel=0.1
        )
        assert world.run(lambda: first.is_done and second.is_done)

    def test_the_same_fetch_again_supersedes_its_old_stream(self, seed: int) -> None:
        world = World(seed)
        server = world.serve(world.source(payload(500_000, seed)), rate_bps=1_000_000)
        client = world.fetch()
        assert world.run(lambda: client.fetch.counters.received_count > 700)
        world.kill(client)
        again = world.fetch(sink=client.sink)
        assert world.run(lambda: again.fetch.counters.received_count > 10)
        assert len(server.sender.machine.sessions) == 1
        ended = [event.session for event in server.events if isinstance(event, SessionEnded)]
        assert [session.end and session.end.reason for session in ended] == [StopReason.SUPERSEDED]


class TestRefusals:
    def test_a_full_server_says_so(self, seed: int) -> None:
        world = World(seed)
        server = world.serve(world.source(payload(100_000)), peer_count_max=2, rate_bps=1_000_000)
        clients = [world.fetch(name=f"client {index}") for index in range(3)]
        assert world.run(lambda: any(client.has_ended for client in clients))
        (refused,) = [client for client in clients if client.has_ended]
        assert the_failure(refused) == (Failure.REFUSED, RefusalReason.SERVER_FULL)
        refusals = {event.reason for event in server.events if isinstance(event, HandshakeRefused)}
        assert refusals == {RefusalReason.SERVER_FULL}
        clients.remove(refused)
        assert world.run(lambda: all(client.is_done for client in clients))

    def test_an_unknown_name_is_refused(self, seed: int) -> None:
        world = World(seed)
        world.serve(world.source(b"x", name="here"))
        client = world.fetch(want=named("elsewhere"))
        assert world.run(lambda: client.has_ended)
        assert the_failure(client) == (Failure.REFUSED, RefusalReason.NO_SUCH_OBJECT)

    @pytest.mark.parametrize("server_is_open", [True, False])
    def test_both_sides_must_agree_on_open(self, server_is_open: bool, seed: int) -> None:
        world = World(seed)
        server = world.serve(world.source(b"x"), open=server_is_open)
        client = world.fetch(open=not server_is_open)
        assert world.run(lambda: client.has_ended, 2 * NS)
        assert the_failure(client) == (Failure.SEAL, None)
        assert client.sink is None
        assert not server.events

    def test_a_request_for_open_data_that_was_never_offered_is_refused(self, seed: int) -> None:
        """As a client would send it that does not look at the Offer."""
        world = World(seed)
        server = world.serve(world.source(b"x"))
        world.link("client", "server", NoRequests())
        requests = sent_requests(world)
        client = world.fetch()
        assert world.run(lambda: bool(requests))
        datagram, source, target = requests[0]
        world.deliver(datagram[:7] + b"\1" + datagram[8:], source, target)
        assert world.run(lambda: client.has_ended, 2 * NS)
        assert the_failure(client) == (Failure.REFUSED, RefusalReason.SEAL_MISMATCH)
        assert not server.sender.machine.sessions


class TestListings:
    def test_several_objects_are_listed_over_as_many_pages_as_it_takes(self, seed: int) -> None:
        world = World(seed)
        names = [f"an object with a rather long name, number {index:04}" for index in range(500)]
        world.serve(*[world.source(name.encode(), name=name) for name in names])
        world.link("server", "client", Link(loss=0.2))
        pages = 0

        def count(datagram: bytes, source: Address, target: Address) -> None:
            nonlocal pages
            pages += datagram[:4] == MAGIC and datagram[5] == PacketType.LISTING

        world.taps.append(count)
        client = world.fetch(timeout_ns=30 * NS)
        assert world.run(lambda: client.has_ended)
        (event,) = [event for event in client.events if isinstance(event, ListingReceived)]
        assert event.entries == tuple((name, len(name)) for name in names)
        assert pages > 20  # more than one burst of Hellos is granted

    def test_one_of_several_objects_is_fetched_by_name(self, seed: int) -> None:
        world = World(seed)
        sources = [world.source(payload(5_000, index), name=f"object {index}") for index in range(5)]
        world.serve(*sources)
        client = world.fetch(want=named("object 3"))
        assert world.run(lambda: client.is_done)
        assert client.sink is not None
        assert client.sink.result == sources[3].content


class TestEarlyEnds:
    def test_a_source_that_changes_ends_every_stream_with_the_reason(self, seed: int) -> None:
        world = World(seed)
        source = world.source(payload(200_000, seed))
        server = world.serve(source, rate_bps=1_000_000)
        clients = [world.fetch(name=name) for name in ("left", "right")]
        assert world.run(lambda: clients[1].fetch.counters.received_count > 400)
        source.changed = True
        assert world.run(lambda: all(client.has_ended for client in clients), 5 * NS)
        assert [the_failure(client)[0] for client in clients] == [Failure.SOURCE_CHANGED] * 2
        assert len(server.sender.failures) == 1
        assert all(client.sink is not None and client.sink.written_block_count for client in clients)

    def test_an_object_whose_source_changed_is_refused_and_the_others_are_served(self, seed: int) -> None:
        world = World(seed)
        changing, steady = world.source(payload(200_000, seed), name="changing"), world.source(b"s", name="steady")
        server = world.serve(changing, steady, rate_bps=1_000_000)
        client = world.fetch(name="early", want=named("changing"))
        assert world.run(lambda: client.fetch.counters.received_count > 100)
        changing.changed = True
        assert world.run(lambda: client.has_ended, 5 * NS)
        late = world.fetch(name="late", want=named("changing"))
        other = world.fetch(name="other", want=named("steady"))
        assert world.run(lambda: late.has_ended and other.has_ended)
        assert the_failure(late) == (Failure.REFUSED, RefusalReason.SOURCE_CHANGED)
        assert other.is_done
        assert len(server.sender.failures) == 1

    def test_an_interrupt_notifies_the_server_within_a_second(self, seed: int) -> None:
        world = World(seed)
        server = world.serve(world.source(payload(200_000)), rate_bps=1_000_000)
        client = world.fetch()
        assert world.run(lambda: client.fetch.counters.received_count > 50)
        world.link("client", "server", Link(loss=0.3, delay_ns=20 * MS))
        world.link("server", "client", Link(loss=0.3, delay_ns=20 * MS))
        client.stop(world.now_ns)
        assert world.run(lambda: client.has_ended, NS)
        assert world.run(lambda: not server.sender.machine.sessions, 100 * MS)
        (ended,) = [event.session for event in server.events if isinstance(event, SessionEnded)]
        assert ended is not None
        assert ended.end.reason is StopReason.INTERRUPTED

    def test_a_full_disk_stops_the_stream_and_keeps_what_was_written(self, seed: int) -> None:
        world = World(seed)
        source = world.source(payload(100_000, seed))
        server = world.serve(source)
        sink = MemorySink(source.object_id, capacity=50_000)
        client = world.fetch(sink=sink)
        assert world.run(lambda: client.has_ended)
        assert client.fetch.error is not None
        assert client.fetch.phase is Phase.ENDED
        kept = sink.written_block_count
        assert kept == 48  # blocks of 1024 octets
        assert sink.result is None
        (ended,) = [event.session for event in server.events if isinstance(event, SessionEnded)]
        assert ended is not None
        assert ended.end.reason is StopReason.STORAGE
        sink.capacity = None
        world.kill(client)
        again = world.fetch(sink=sink)
        assert world.run(lambda: again.is_done)
        assert sink.result == source.content
        assert sink.written_block_count == source.geometry.block_count

    def test_a_server_that_closes_sends_its_clients_to_look_for_another(self, seed: int) -> None:
        world = World(seed)
        source = world.source(payload(100_000, seed))
        server = world.serve(source, rate_bps=1_000_000)
        client = world.fetch()
        assert world.run(lambda: client.fetch.counters.received_count > 200)
        server.sender.machine.close(world.now_ns)
        server.sender.flush()
        world.kill(server)
        world.at(NS, lambda: world.serve(source) and None)
        assert world.run(lambda: client.is_done)
        assert [type(event) for event in client.events] == [OfferReceived, StreamOpened, StreamLost, StreamOpened]


class TestKeysOverTime:
    @pytest.mark.parametrize("idle_ns", [KEY_PERIOD_NS, 2 * KEY_PERIOD_NS, 3 * KEY_PERIOD_NS, 365 * 86_400 * NS])
    def test_a_server_that_was_idle_for_long_serves(self, idle_ns: int, seed: int) -> None:
        world = World(seed)
        source = world.source(payload(5_000, seed))
        world.serve(source)
        first = world.fetch(name="first")
        assert world.run(lambda: first.is_done)
        world.now_ns += idle_ns
        second = world.fetch(name="second")
        assert world.run(lambda: second.is_done)

    def test_keys_turn_while_an_offer_is_under_way(self, seed: int) -> None:
        world = World(seed)
        server = world.serve(world.source(payload(5_000, seed)))
        requests = sent_requests(world)
        world.run(lambda: False, KEY_PERIOD_NS - world.now_ns % KEY_PERIOD_NS - 20 * MS)
        world.link("server", "client", Link(delay_ns=100 * MS))
        client = world.fetch()
        assert world.run(lambda: client.is_done)
        assert [type(event) for event in server.events][:1] == [SessionOpened]
        assert len(requests) == 1
        assert world.now_ns % KEY_PERIOD_NS < NS

    @pytest.mark.parametrize(("age_ns", "opened"), [(9_900 * MS, True), (20_100 * MS, False)])
    def test_a_cookie_is_good_for_its_period_and_the_next(self, age_ns: int, opened: bool, seed: int) -> None:
        world = World(seed)
        server = world.serve(world.source(payload(5_000, seed)))
        world.link("client", "server", NoRequests())
        requests = sent_requests(world)
        client = world.fetch()
        assert world.run(lambda: bool(requests))
        world.kill(client)
        world.run(lambda: False, age_ns)
        world.deliver(*requests[0])
        world.run(lambda: False, MS)
        assert bool(server.sender.machine.sessions) is opened
        assert server.sender.machine.rejects.count(Reject.BAD_COOKIE) == (not opened)

    def test_a_transfer_outlives_the_keys_of_its_handshake(self, seed: int) -> None:
        world = World(seed)
        source = world.source(payload(200_000, seed))
        world.serve(source, rate_bps=8_000)
        client = world.fetch()
        assert world.run(lambda: client.is_done, 1_000 * NS)
        assert client.sink is not None
        assert client.sink.result == source.content
