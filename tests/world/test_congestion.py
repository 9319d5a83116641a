"""What a stream takes of a link: alone, beside TCP, beside other streams, and when the link changes or goes away."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.rate.pacing import BURST_NS
from fountain.protocol.session.client_events import Failure, FetchFailed, OfferReceived, StreamOpened
from fountain.protocol.session.server_events import SessionOpened
from fountain.testing import Client, Link, Server, World, payload
from fountain.wire.control import MAGIC
from fountain.wire.parts import PART_FIRST_OCTET
from tests.world.tcp import CubicFlow

MS = NS // 1000
MBIT = 1_000_000
SYMBOL_SIZE = 1408
PACKET_SIZE = SYMBOL_SIZE + 44
SKIP_NS = 5 * NS


def slow(*cases: tuple[object, ...]) -> list[Any]:
    """Cases between two others, that the soak alone plays."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


class Stage:
    """One server, and clients behind one link that they share with whoever else sends over it."""

    def __init__(
        self, seed: int, rate_bps: int, rtt_ms: int, *, bdp: float = 1.0, loss: float = 0.0, clients: int = 1,
        cc: str = "tolerant", cap_bps: int = 1_000 * MBIT, size: int = 24_000_000, timeout_ns: int = 10 * NS,
    ) -> None:  # fmt: skip
        self.world = World(seed)
        self.rtt_ns = rtt_ms * MS
        queue_size = max(2 * PACKET_SIZE, int(bdp * rate_bps * rtt_ms / 8000))
        self.link = Link(loss=loss, delay_ns=self.rtt_ns // 2, rate_bps=rate_bps, queue_size=queue_size)
        source = self.world.source(payload(size, seed), symbol_size=SYMBOL_SIZE, block=100)
        self.server: Server = self.world.serve(source, rate_bps=cap_bps, cc=cc)
        self.clients: list[Client] = []
        for index in range(clients):
            name = f"client {index}"
            self.world.link("server", name, self.link)
            self.world.link(name, "server", Link(delay_ns=self.rtt_ns // 2))
            self.clients.append(self.world.fetch(name=name, timeout_ns=timeout_ns))
        self.arrived: dict[str, int] = defaultdict(int)  # octets of data packets
        self.sent: list[tuple[int, str]] = []  # when, to whom
        self.world.taps.append(self._look_at_sent)
        self.world.arrival_taps.append(self._look_at_arrived)

    def _look_at_sent(self, datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] != MAGIC:
            self.sent.append((self.world.now_ns, target[0]))

    def _look_at_arrived(self, datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] != MAGIC:
            self.arrived[target[0]] += len(datagram)

    def run(self, time_ns: int) -> dict[str, float]:
        """Let time pass; what arrived at each client meanwhile, in bits per second."""
        before = dict(self.arrived)
        self.world.run(lambda: False, time_ns)
        return {name: (size - before.get(name, 0)) * 8 * NS / time_ns for name, size in self.arrived.items()}

    def sent_bps(self, start_ns: int, end_ns: int) -> float:
        """The rate of data packets that were sent between two times."""
        count = sum(start_ns <= at_ns < end_ns for at_ns, _ in self.sent)
        return count * PACKET_SIZE * 8 * NS / (end_ns - start_ns)


class NarrowLink(Link):
    """Loses data packets only, whole or in parts: what else is short, passes."""

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        is_data = len(datagram) > SYMBOL_SIZE or datagram[0] == PART_FIRST_OCTET
        if is_data and draw.random() < self.loss:
            return []
        return [(now_ns + self.delay_ns, datagram)]


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


@pytest.mark.parametrize(("loss", "least"), [(0.0, 0.93), *slow((0.01, 0.9), (0.05, 0.87)), (0.1, 0.8)])
def test_random_loss_costs_no_more_than_what_is_lost(seed: int, loss: float, least: float) -> None:
    stage = Stage(seed, 8 * MBIT, 50, loss=loss)
    stage.run(2 * NS)
    assert sum(stage.run(8 * NS).values()) >= least * 8 * MBIT


@pytest.mark.parametrize(("rtt_ms", "mbit", "loss"), [(600, 8, 0.01), *slow((3000, 3, 0.01)), (600, 2, 0.02)])
def test_a_long_lossy_way_is_full_after_ten_round_trips(seed: int, rtt_ms: int, mbit: int, loss: float) -> None:
    stage = Stage(seed, mbit * MBIT, rtt_ms, loss=loss)
    stage.run(2 * stage.rtt_ns)  # Hello and Request
    stage.run(10 * stage.rtt_ns)
    assert sum(stage.run(4 * stage.rtt_ns).values()) >= 0.8 * mbit * MBIT


def test_a_fetch_over_three_seconds_of_round_trip_is_one_session_that_ends_well(seed: int) -> None:
    stage = Stage(seed, 4 * MBIT, 3000, loss=0.01, size=1_000_000)
    (client,) = stage.clients
    assert stage.world.run(lambda: client.has_ended, 60 * NS)
    assert client.is_done
    assert [type(event) for event in client.events] == [OfferReceived, StreamOpened]


def test_a_link_that_begins_to_lose_is_filled_again(seed: int) -> None:
    stage = Stage(seed, 8 * MBIT, 50)
    stage.run(4 * NS)
    stage.link.loss = 0.05
    stage.run(8 * NS)
    assert sum(stage.run(4 * NS).values()) >= 0.8 * 8 * MBIT


def beside_tcp(seed: int, rtt_ms: int, bdp: float, cc: str, cap_bps: int = 1_000 * MBIT) -> float:
    """What a stream gets for each bit that one CUBIC connection gets."""
    stage = Stage(seed, 8 * MBIT, rtt_ms, bdp=bdp, cc=cc, cap_bps=cap_bps)
    flow = CubicFlow(stage.world, stage.link, stage.rtt_ns // 2)
    stage.run(SKIP_NS)
    before = flow.delivered_size
    ours = sum(stage.run(15 * NS).values())
    return ours * 15 / max(1, (flow.delivered_size - before) * 8)


@pytest.mark.parametrize("rtt_ms", [10, *slow((40,)), 100])
def test_beside_one_tcp_a_stream_takes_about_its_share(seed: int, rtt_ms: int) -> None:
    assert 0.25 <= beside_tcp(seed, rtt_ms, 1.0, "tolerant") <= 4


@pytest.mark.parametrize("bdp", [*slow((0.25,)), 4.0])
def test_short_and_long_queues_shift_the_shares_within_limits(seed: int, bdp: float) -> None:
    assert 0.1 <= beside_tcp(seed, 40, bdp, "tolerant") <= 10


def test_a_fixed_rate_starves_tcp(seed: int) -> None:
    assert beside_tcp(seed, 40, 1.0, "fixed", cap_bps=12 * MBIT) > 10


def test_streams_share_a_link(seed: int) -> None:
    stage = Stage(seed, 8 * MBIT, 40, clients=4, size=12_000_000)
    stage.run(SKIP_NS)
    shares = list(stage.run(10 * NS).values())
    assert len(shares) == 4
    assert jain(shares) >= 0.85
    assert sum(shares) >= 0.9 * 8 * MBIT


def test_streams_share_the_servers_rate(seed: int) -> None:
    stage = Stage(seed, 0, 20, clients=4, cap_bps=8 * MBIT, size=12_000_000)
    stage.run(NS)
    shares = list(stage.run(3 * NS).values())
    assert jain(shares) >= 0.98
    assert sum(shares) >= 0.93 * 8 * MBIT


def test_a_stalled_peer_takes_nothing_from_the_others(seed: int) -> None:
    stage = Stage(seed, 0, 20, clients=2, cap_bps=8 * MBIT)
    stage.run(NS)
    stage.world.link("client 0", "server", Link(loss=1.0))
    stage.run(4 * NS)
    assert stage.run(2 * NS)["client 1"] >= 0.93 * 8 * MBIT


def test_less_capacity_is_obeyed_within_ten_round_trips(seed: int) -> None:
    stage = Stage(seed, 20 * MBIT, 40)
    stage.run(4 * NS)
    stage.link.rate_bps = 2 * MBIT
    changed_ns = stage.world.now_ns
    stage.run(3 * NS)
    assert stage.sent_bps(changed_ns + 10 * stage.rtt_ns, changed_ns + 20 * stage.rtt_ns) <= 2 * 2 * MBIT
    assert stage.sent_bps(changed_ns + NS, changed_ns + 3 * NS) <= 1.2 * 2 * MBIT


def test_more_capacity_is_found(seed: int) -> None:
    stage = Stage(seed, 2 * MBIT, 40)
    stage.run(6 * NS)
    stage.link.rate_bps, stage.link.queue_size = 8 * MBIT, 40_000
    stage.run(6 * NS)
    assert sum(stage.run(2 * NS).values()) >= 0.85 * 8 * MBIT


@pytest.mark.parametrize("way", [("server", "client 0"), ("client 0", "server")])
def test_into_a_black_hole_go_ten_packets_after_three_seconds(seed: int, way: tuple[str, str]) -> None:
    stage = Stage(seed, 8 * MBIT, 40)
    stage.run(3 * NS)
    stage.world.link(*way, Link(loss=1.0))
    # The client says Hello again after two seconds, and may not.
    stage.world.kill(stage.clients[0])
    closed_ns = stage.world.now_ns
    stage.run(13 * NS)
    assert len([at_ns for at_ns, _ in stage.sent if at_ns >= closed_ns + 3 * NS]) <= 10


def test_a_stream_is_back_soon_after_a_black_hole(seed: int) -> None:
    stage = Stage(seed, 8 * MBIT, 40)
    stage.run(3 * NS)
    stage.link.partitions.append((stage.world.now_ns, stage.world.now_ns + NS))
    stage.run(3 * NS)
    assert sum(stage.run(2 * NS).values()) >= 0.85 * 8 * MBIT


def test_a_stream_is_back_soon_though_its_client_was_there_all_the_time(seed: int) -> None:
    stage = Stage(seed, 0, 40, cap_bps=4 * MBIT)
    stage.run(2 * NS)
    stage.link = stage.world.link("server", "client 0", NarrowLink(loss=1.0, delay_ns=stage.rtt_ns // 2))
    stage.run(3 * NS)
    stage.link.loss = 0.0
    stage.run(5 * NS)
    assert sum(stage.run(2 * NS).values()) >= 0.85 * 4 * MBIT


@pytest.mark.parametrize("rtt_ms", [1, 60])
def test_a_client_that_asks_again_out_of_a_black_hole_gets_no_first_packets_anew(seed: int, rtt_ms: int) -> None:
    stage = Stage(seed, 20 * MBIT, rtt_ms)
    stage.run(NS)
    stage.world.link("server", "client 0", NarrowLink(loss=1.0, delay_ns=stage.rtt_ns // 2))
    stage.run(NS)
    sizes: list[int] = []
    stage.world.taps.append(lambda datagram, source, _: sizes.append(len(datagram) * (source[0] == "server")))
    for _ in range(2):  # It asks for parts in the first five seconds, and every five seconds for a stream that comes.
        sizes.clear()
        stage.run(5 * NS)
        assert sum(sizes) // PACKET_SIZE <= 10
    assert sum(isinstance(event, SessionOpened) for event in stage.server.events) > 2, "it has not asked again"


def test_a_stream_is_fast_within_a_second(seed: int) -> None:
    stage = Stage(seed, 0, 1, cap_bps=200 * MBIT)
    stage.world.run(lambda: bool(stage.sent), NS)
    stage.run(200 * MS)
    assert sum(stage.run(200 * MS).values()) >= 0.9 * 200 * MBIT


def ended_by_loss(seed: int, loss: float, cc: str, time_ns: int) -> Stage:
    """A stream of which so much is lost, after so long, unless it ended before."""
    stage = Stage(seed, 0, 40, cc=cc, cap_bps=MBIT, timeout_ns=60 * NS)
    stage.run(2 * NS)
    stage.link = stage.world.link("server", "client 0", NarrowLink(loss=loss, delay_ns=stage.rtt_ns // 2))
    stage.run(time_ns)
    return stage


@pytest.mark.parametrize(("loss", "cc"), [(0.7, "tolerant"), (0.95, "fixed"), (1.0, "tolerant"), (1.0, "fixed")])
def test_a_stream_of_which_most_is_lost_for_long_ends_and_the_fetch_says_why(seed: int, loss: float, cc: str) -> None:
    stage = ended_by_loss(seed, loss, cc, 50 * NS)
    sent_count = len(stage.sent)
    stage.run(5 * NS)
    assert not stage.server.sender.machine.sessions
    assert len(stage.sent) == sent_count
    failures = [event.failure for event in stage.clients[0].events if isinstance(event, FetchFailed)]
    assert failures == [Failure.CONGESTED]


@pytest.mark.parametrize(("loss", "cc"), [(0.3, "tolerant"), *slow((0.4, "fixed")), (0.8, "fixed")])
def test_a_stream_that_brings_something_home_goes_on(seed: int, loss: float, cc: str) -> None:
    stage = ended_by_loss(seed, loss, cc, 50 * NS)
    assert len(stage.server.sender.machine.sessions) == 1
    assert stage.run(5 * NS)["client 0"] > 0


def test_most_packets_lost_for_less_than_half_a_minute_end_nothing(seed: int) -> None:
    stage = ended_by_loss(seed, 0.7, "tolerant", 25 * NS)
    stage.link.loss = 0.0
    stage.run(10 * NS)
    assert stage.run(5 * NS)["client 0"] >= 0.8 * MBIT


@pytest.mark.parametrize("cc", ["tolerant", "fixed"])
def test_no_burst_is_longer_than_a_millisecond_of_the_rate(seed: int, cc: str) -> None:
    cap_bps = 100 * MBIT
    stage = Stage(seed, 0, 20, cc=cc, cap_bps=cap_bps)
    stage.run(NS)
    burst_count = 2 * cap_bps * BURST_NS // (8 * NS * PACKET_SIZE)  # a train, and one that was late
    times = [at_ns for at_ns, _ in stage.sent]
    for first, last in pairwise(times[::burst_count]):
        assert last > first


class LateLink(Link):
    """Half of all packets come 5 ms later."""

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        arrivals = super().carry(datagram, now_ns, draw)
        return [(at_ns + (5 * MS if draw.random() < 0.5 else 0), octets) for at_ns, octets in arrivals]


def test_a_stream_half_of_whose_packets_come_late_and_twice_is_not_slowed_down_for_long(seed: int) -> None:
    stage = Stage(seed, 0, 40, cap_bps=20 * MBIT)
    for way in (("server", "client 0"), ("client 0", "server")):
        stage.world.link(*way, LateLink(delay_ns=20 * MS, duplicate=0.5))
    stage.run(3 * NS)
    sent_count = len(stage.sent)
    stage.run(2 * NS)
    assert (len(stage.sent) - sent_count) * PACKET_SIZE * 8 / 2 >= 0.7 * 20 * MBIT
