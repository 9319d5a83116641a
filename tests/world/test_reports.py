"""How often clients report: what a server with many of them must read, and what a stream hangs on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from fountain.limits import NS
from fountain.net.address import Address
from fountain.testing import Link, World, payload
from fountain.wire.control import MAGIC, PacketType

MS = NS // 1000
RATE_BPS = 2_000_000  # 1,700 packets a second: a hundred come in less than the longest wait
FEW = 20  # for the start and the end of a stream


@dataclass
class Traffic:
    """What one transfer put on the wire."""

    data_count: int = 0
    report_count: int = 0
    report_times_ns: list[int] = field(default_factory=list)
    duration_ns: int = 0


def transfer(seed: int, *, one_way_ns: int, symbol_count: int, block_count: int, loss: float = 0.0) -> Traffic:
    """Carry an object over a clean or a lossy link."""
    world = World(seed)
    source = world.source(payload(block_count * symbol_count * 64, seed), symbol_size=64, block=symbol_count)
    world.serve(source, rate_bps=RATE_BPS)
    client = world.fetch()
    world.link("server", "client", Link(loss=loss, delay_ns=one_way_ns))
    world.link("client", "server", Link(delay_ns=one_way_ns))
    traffic, start_ns = Traffic(), world.now_ns

    def count(datagram: bytes, source_address: Address, target: Address) -> None:
        traffic.data_count += source_address[0] == "server" and datagram[:4] != MAGIC
        if datagram[:4] == MAGIC and datagram[5] == PacketType.REPORT:
            traffic.report_count += 1
            traffic.report_times_ns.append(world.now_ns)

    world.taps.append(count)
    assert world.run(lambda: client.is_done)
    assert client.sink is not None
    assert client.sink.result == source.content
    traffic.duration_ns = world.now_ns - start_ns
    return traffic


def test_a_near_stream_without_loss_is_reported_once_in_a_hundred_packets(seed: int) -> None:
    traffic = transfer(seed, one_way_ns=MS // 10, symbol_count=50, block_count=200)
    assert traffic.report_count <= traffic.data_count / 100 + FEW


def test_a_far_stream_is_reported_four_times_in_a_round_trip(seed: int) -> None:
    traffic = transfer(seed, one_way_ns=40 * MS, symbol_count=50, block_count=200)
    assert traffic.report_count >= traffic.duration_ns / (25 * MS)


def test_ten_milliseconds_are_too_far_for_reports_to_wait(seed: int) -> None:
    """The rate is the window over the round trip: seldom reported, a stream would not give way to others in a queue."""
    traffic = transfer(seed, one_way_ns=5 * MS, symbol_count=50, block_count=200)
    assert traffic.report_count >= traffic.duration_ns / (20 * MS)


def test_a_lossy_stream_is_reported_as_often_near_as_it_loses(seed: int) -> None:
    traffic = transfer(seed, one_way_ns=MS // 10, symbol_count=50, block_count=200, loss=0.1)
    assert traffic.report_count >= traffic.duration_ns / (20 * MS)


def test_reports_that_wait_do_not_slow_a_stream_down(seed: int) -> None:
    traffic = transfer(seed, one_way_ns=MS // 10, symbol_count=50, block_count=200)
    packet_size = 64 + 44 + 42  # with its own headers and those of the wire
    assert traffic.duration_ns <= 1.1 * traffic.data_count * packet_size * 8 * NS / RATE_BPS + 100 * MS


def test_blocks_of_a_few_symbols_are_reported_several_at_a_time(seed: int) -> None:
    traffic = transfer(seed, one_way_ns=MS // 10, symbol_count=4, block_count=2_000)
    assert traffic.report_count <= 2_000 / 4


def test_two_reports_are_a_millisecond_apart(seed: int) -> None:
    traffic = transfer(seed, one_way_ns=MS // 10, symbol_count=1, block_count=2_000)
    times_ns = traffic.report_times_ns
    assert min(later - earlier for earlier, later in itertools.pairwise(times_ns)) >= MS
