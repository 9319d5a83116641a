"""The relay without a network: who suffers, what is due when, and that no packet is lost or changed on the way.

Two pairs of local datagram sockets stand for the interfaces.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from bench.lab.relay import COUNTERS, Direction, Settings, Victims

PLAIN = Settings(
    delay_ns=1000, jitter_ns=0, reorder=0.0, reorder_delay_ns=500, duplicate=0.0, slot_count=256, slot_size=64
)


class Wire:
    """A relay's direction between two socket pairs."""

    def __init__(self, settings: Settings, seed: int = 1) -> None:
        self.near, source = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        target, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sockets = (self.near, source, target, self.far)
        self.far.setblocking(False)
        self.counters = memoryview(bytearray(8 * len(COUNTERS))).cast("Q")
        self.direction = Direction(source, target, settings, self.counters, seed)

    def put(self, *packets: bytes, now: int = 0) -> None:
        for packet in packets:
            self.near.send(packet)
        self.direction.receive(now)

    def arrived(self, now: int) -> list[bytes]:
        self.direction.send(now)
        found = []
        try:
            while True:
                found.append(self.far.recv(100))
        except BlockingIOError:
            return found


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    made: list[Wire] = []
    yield made
    for wire in made:
        for opened in wire.sockets:
            opened.close()


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 1.0])
def test_a_fraction_of_packets_are_victims(fraction: float, rng: random.Random) -> None:
    victims = Victims(fraction, rng)
    total, hit = 100_000, 0
    left = total
    while left:
        count = min(left, rng.randrange(1, 100))
        found = victims.among(count)
        assert all(0 <= index < count for index in found)
        hit += len(found)
        left -= count
    assert abs(hit - fraction * total) <= 6 * (fraction * (1 - fraction) * total) ** 0.5


def test_packets_arrive_whole_in_order_and_not_before_they_are_due(wires: list[Wire]) -> None:
    wire = Wire(PLAIN)
    wires.append(wire)
    wire.put(b"a", b"bb", now=0)
    wire.put(b"", b"c" * 60, now=10)
    assert wire.direction.next_due() == 1000
    assert wire.arrived(999) == []
    assert wire.arrived(1000) == [b"a", b"bb"]
    assert wire.arrived(1010) == [b"", b"c" * 60]
    assert wire.direction.next_due() is None


def test_the_ring_goes_round(wires: list[Wire], rng: random.Random) -> None:
    wire = Wire(PLAIN._replace(slot_count=7))
    wires.append(wire)
    for now in range(0, 200_000, 2000):
        packets = [rng.randbytes(rng.randrange(1, 60)) for _ in range(rng.randrange(1, 7))]
        wire.put(*packets, now=now)
        wire.direction.receive(now)
        assert wire.arrived(now + 1000) == packets


def test_a_full_ring_takes_no_more_and_loses_nothing_that_it_took(wires: list[Wire]) -> None:
    wire = Wire(PLAIN._replace(slot_count=4))
    wires.append(wire)
    packets = [bytes([number]) for number in range(6)]
    wire.put(*packets, now=0)
    assert wire.direction.room == 0
    assert wire.arrived(1000) == packets[:4]
    wire.direction.receive(1000)
    assert wire.arrived(2000) == packets[4:]


def test_packets_held_back_come_later_and_once(wires: list[Wire]) -> None:
    wire = Wire(PLAIN._replace(reorder=0.4))
    wires.append(wire)
    packets = [bytes([number]) for number in range(50)]
    for packet in packets:
        wire.put(packet)
    at_once, later = wire.arrived(1000), wire.arrived(1500)
    assert at_once == sorted(at_once)
    assert later == sorted(later)
    assert sorted(at_once + later) == packets
    assert len(later) == wire.counters[COUNTERS.index("held_back")] > 0


def test_packets_that_arrive_twice_are_counted(wires: list[Wire]) -> None:
    wire = Wire(PLAIN._replace(duplicate=0.4))
    wires.append(wire)
    packets = [bytes([number]) for number in range(50)]
    for packet in packets:
        wire.put(packet)
    found = wire.arrived(1000)
    assert set(found) == set(packets)
    assert len(found) - len(packets) == wire.counters[COUNTERS.index("duplicated")] > 0


def test_jitter_delays_within_its_bound_and_keeps_the_order(wires: list[Wire]) -> None:
    wire = Wire(PLAIN._replace(jitter_ns=400))
    wires.append(wire)
    dues = []
    for now in range(0, 5000, 50):
        wire.put(b"x", now=now)
        due = wire.direction.runs[-1][0]
        assert now + 1000 <= due <= now + 1400
        dues.append(due)
    assert dues == sorted(dues)
    assert len(set(dues)) > 10
