"""What copies of data packets, and forged open ones, can do to a transfer: little, and never for long."""

from __future__ import annotations

import numpy as np
import pytest

from fountain.limits import DATA_HEADER_SIZE, NS
from fountain.net.address import Address
from fountain.protocol.base.replay import DATA_WINDOW, DOUBT_COUNT
from fountain.protocol.session.client_events import Failure, FetchFailed, StreamLost
from fountain.testing import Client, World, payload
from fountain.wire.control import MAGIC
from fountain.wire.data import pack_open

MS = NS // 1000
TAIL_SIZE = 16


class Tap:
    """The data packets that the server sends."""

    def __init__(self, world: World) -> None:
        self.datagrams: list[tuple[bytes, Address, Address]] = []
        world.taps.append(self._look)

    def _look(self, datagram: bytes, source: Address, target: Address) -> None:
        if datagram[:4] != MAGIC:
            self.datagrams.append((datagram, source, target))


def forge(datagram: bytes, ahead: int) -> bytes:
    """An open packet as `datagram`, with a sequence number so far ahead and a checksum that fits."""
    rows = np.frombuffer(bytearray(datagram), dtype=np.uint8).reshape(1, -1)
    sequence = int.from_bytes(datagram[12:16], "big") + ahead & 0xFFFF_FFFF
    rows[0, 12:16] = np.frombuffer(sequence.to_bytes(4, "big"), dtype=np.uint8)
    pack_open(rows, rows[:, DATA_HEADER_SIZE:-TAIL_SIZE].copy(), np.zeros(1, dtype=np.int64))
    return rows.tobytes()


def reconnect_count(client: Client) -> int:
    return sum(isinstance(event, StreamLost) for event in client.events)


@pytest.mark.parametrize("open", [False, True], ids=["sealed", "open"])
def test_copies_of_old_packets_do_not_keep_a_dead_transfer_alive(seed: int, open: bool) -> None:
    world = World(seed)
    tap = Tap(world)
    server = world.serve(world.source(payload(200_000, seed)), rate_bps=1_000_000, open=open)
    client = world.fetch(open=open, timeout_ns=10 * NS)
    assert world.run(lambda: client.fetch.counters.received_count > 100)
    world.kill(server)
    world.run(lambda: False, 10 * MS)
    received_count = client.fetch.counters.received_count

    def again(number: int) -> None:
        if not client.has_ended:
            world.deliver(*tap.datagrams[number % 100])
            world.at(100 * MS, lambda: again(number + 1))

    again(0)
    assert world.run(lambda: client.has_ended, 11 * NS)
    assert [event.failure for event in client.events if isinstance(event, FetchFailed)] == [Failure.SILENCE]
    assert client.fetch.counters.received_count == received_count


@pytest.mark.parametrize(
    "ahead",
    [
        DOUBT_COUNT - 1,
        DATA_WINDOW + 100,
        -1 << 31,
        *(
            pytest.param(ahead, marks=pytest.mark.slow)
            for ahead in (100, DOUBT_COUNT + 100, DATA_WINDOW // 2, 1 << 20, 1 << 30)
        ),
    ],
)
def test_one_forged_open_packet_costs_at_most_one_reconnect(seed: int, ahead: int) -> None:
    world = World(seed)
    tap = Tap(world)
    source = world.source(payload(600_000, seed))
    world.serve(source, rate_bps=2_000_000, open=True)
    client = world.fetch(open=True)
    assert world.run(lambda: client.fetch.counters.received_count > 200)
    datagram, address, target = tap.datagrams[-1]
    world.deliver(forge(datagram, ahead), address, target)
    assert world.run(lambda: client.is_done, 12 * NS)
    assert client.sink is not None
    assert client.sink.result == source.content
    assert reconnect_count(client) <= 1
