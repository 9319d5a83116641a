"""Many datagrams in one system call: what recvmmsg brings arrives as if it had been received one by one."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from fountain.limits import SEGMENT_COUNT_MAX
from fountain.net import Train, batch, linux, open_endpoint, wait
from fountain.net.address import Address, normalised
from fountain.net.batch import Batch
from fountain.net.linux import LinuxEndpoint
from tests.net.conftest import has_ipv6

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="recvmmsg is a Linux system call")

SECOND_NS = 1_000_000_000
SOL_UDP, UDP_SEGMENT = 17, 103

Found = list[tuple[bytes, Address]]


@pytest.fixture(params=["127.0.0.1", "::1", ""], ids=["ipv4", "ipv6", "wildcard"])
def receiver(request: pytest.FixtureRequest) -> Iterator[LinuxEndpoint]:
    """An endpoint that has seen that nothing coalesces what it receives."""
    if request.param == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    endpoint = open_endpoint(request.param)
    assert isinstance(endpoint, LinuxEndpoint)
    with Sender(endpoint) as sender:
        sender.send(b"single")
        assert [octets for octets, _ in drain(endpoint, 1)] == [b"single"]
    yield endpoint
    endpoint.close()


class Sender:
    """A plain socket that sends to an endpoint from an address of its own."""

    def __init__(self, endpoint: LinuxEndpoint) -> None:
        host, port = endpoint.local_address
        self.host = "::1" if host == "::1" else "127.0.0.1"
        self.target = (self.host, port)
        self.socket = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.host, 0))
        self.address = normalised(self.socket.getsockname())

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, octets: bytes, segment_size: int = 0) -> None:
        size = struct.pack("=H", segment_size)
        self.socket.sendmsg([octets], [(SOL_UDP, UDP_SEGMENT, size)] if segment_size else [], 0, self.target)


def drain(endpoint: LinuxEndpoint, count: int) -> Found:
    """Datagrams until `count` have come; every train keeps to its limits."""
    train, found = Train(), []
    while len(found) < count:
        assert wait([endpoint], 5 * SECOND_NS) == [endpoint], "the datagrams did not come"
        while endpoint.receive(train):
            assert train.segment_count <= SEGMENT_COUNT_MAX
            found += [(bytes(segment), train.address) for segment in train.segments()] or [(b"", train.address)]
    assert len(found) == count
    assert not endpoint.pending
    return found


def calls_of(endpoint: LinuxEndpoint, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many datagrams each recvmmsg of `endpoint` brings, as they come."""
    counts: list[int] = []
    assert endpoint._batch is not None
    receive = endpoint._batch.receive

    def counted(descriptor: int, train: Train, start: int, count: int) -> int:
        counts.append(receive(descriptor, train, start, count))
        return counts[-1]

    monkeypatch.setattr(endpoint._batch, "receive", counted)
    return counts


def test_what_waits_fills_a_train_in_one_more_system_call(
    receiver: LinuxEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = calls_of(receiver, monkeypatch)
    octets = [os.urandom(1000) for _ in range(3 * SEGMENT_COUNT_MAX + 5)]
    with Sender(receiver) as sender:
        for datagram in octets:
            sender.send(datagram)
        assert drain(receiver, len(octets)) == [(datagram, sender.address) for datagram in octets]
    assert counts == [SEGMENT_COUNT_MAX - 1] * 3 + [4]
    assert receiver.statistics.datagrams_received == 1 + len(octets)
    assert receiver.statistics.octets_received == len(b"single") + 1000 * len(octets)


@pytest.mark.parametrize("seed", range(8))
def test_any_mixture_of_sizes_senders_and_trains_comes_whole_and_in_order(receiver: LinuxEndpoint, seed: int) -> None:
    rng = random.Random(seed)
    sizes = rng.choice([[100], [100, 60], [0, 1, 100, 101], [1452, 1452, 1452, 9000, 60_000]])
    trains = rng.choice([0.0, 0.02, 0.3])
    with Sender(receiver) as first, Sender(receiver) as second:
        expected: Found = []
        for _ in range(rng.choice([3, 150])):
            sender = second if rng.random() < rng.choice([0.0, 0.1]) else first
            size = rng.choice(sizes)
            if size and rng.random() < trains:
                octets = rng.randbytes(min(60_000, size * rng.randrange(2, 40) - rng.randrange(size)))
                sender.send(octets, size)
                expected += [(octets[at : at + size], sender.address) for at in range(0, len(octets), size)]
            else:
                expected.append((rng.randbytes(size), sender.address))
                sender.send(expected[-1][0])
        found = drain(receiver, len(expected))
        for sender in (first, second):
            mine = [octets for octets, address in found if address == sender.address]
            assert mine == [octets for octets, address in expected if address == sender.address]
    assert receiver.statistics.datagrams_received == 1 + len(expected)
    assert receiver.statistics.octets_received == len(b"single") + sum(len(octets) for octets, _ in expected)


def test_a_shorter_datagram_ends_the_train_and_what_follows_is_the_next(receiver: LinuxEndpoint) -> None:
    train = Train()
    with Sender(receiver) as sender:
        for size in (100, 100, 60, 100, 100, 100):
            sender.send(bytes(size))
        found = []
        while sum(found) < 6 and wait([receiver], 5 * SECOND_NS):
            assert receiver.receive(train)
            found.append(train.segment_count)
    assert found == [3, 3]
    assert not receiver.receive(train)


def test_a_longer_datagram_in_the_middle_loses_nothing(receiver: LinuxEndpoint) -> None:
    octets = [os.urandom(size) for size in (10, 10, 65_507 if receiver.local_address[0] != "::1" else 65_487, 10)]
    with Sender(receiver) as sender:
        for datagram in octets:
            sender.send(datagram)
        assert [datagram for datagram, _ in drain(receiver, 4)] == octets


def test_trains_behind_a_single_datagram_are_received_whole(
    receiver: LinuxEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = calls_of(receiver, monkeypatch)
    octets = os.urandom(40 * 1200)
    with Sender(receiver) as sender:
        sender.send(octets[:1200])
        for _ in range(3):
            sender.send(octets, 1200)
        found = b"".join(datagram for datagram, _ in drain(receiver, 1 + 3 * 40))
        assert found == octets[:1200] + 3 * octets
        assert counts == [3]
        for _ in range(3):
            sender.send(octets[:1200])
            sender.send(octets, 1200)
        assert b"".join(datagram for datagram, _ in drain(receiver, 3 * 41)) == 3 * (octets[:1200] + octets)
        assert counts == [3], "where trains come, nothing is received into spills"


def test_a_sender_that_another_local_address_was_asked_by_is_answered_from_there() -> None:
    server = open_endpoint("0.0.0.0")
    client = open_endpoint("127.0.0.9")
    train = Train()
    for asked, count in [("127.0.0.5", 1), ("127.0.0.5", 5), ("127.0.0.6", 5), ("127.0.0.5", 5)]:
        for _ in range(count):
            client.send(b"hello", 5, 5, (asked, server.local_address[1]))
        assert wait([server], 5 * SECOND_NS)
        while server.receive(train):
            assert train.address == client.local_address
        server.send(b"you", 3, 3, client.local_address)
        assert wait([client], 5 * SECOND_NS)
        assert client.receive(train)
        assert train.address == (asked, server.local_address[1])
    server.close()
    client.close()


def test_drops_are_counted_once_however_many_datagrams_tell_of_them() -> None:
    endpoint = open_endpoint("127.0.0.1", buffer_size=100_000)
    assert isinstance(endpoint, LinuxEndpoint)
    train, received, sent = Train(), 0, 0
    with Sender(endpoint) as sender:
        for _ in range(3):
            for _ in range(400):
                sender.send(bytes(1200))
                sent += 1
            while endpoint.receive(train):
                received += train.segment_count
        for _ in range(100):  # tell of the last drops, again and again
            sender.send(bytes(1200))
            sent += 1
            assert wait([endpoint], 5 * SECOND_NS)
            while endpoint.receive(train):
                received += train.segment_count
    assert received < sent
    assert endpoint.statistics.kernel_drops == sent - received
    assert endpoint.statistics.datagrams_received == received
    endpoint.close()


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ENOBUFS, errno.EINVAL])
def test_an_error_while_gathering_is_counted_and_leaves_the_train(
    receiver: LinuxEndpoint, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    with Sender(receiver) as sender, monkeypatch.context() as patched:
        patched.setattr(receiver._batch, "_recvmmsg", refuse)
        sender.send(b"here")
        assert [octets for octets, _ in drain(receiver, 1)] == [b"here"]
        assert receiver.statistics.receive_errors == 1


def test_a_closed_endpoint_receives_nothing(receiver: LinuxEndpoint) -> None:
    receiver.close()
    assert not receiver.receive(Train())


def test_without_recvmmsg_datagrams_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def without() -> Batch:
        raise AttributeError("undefined symbol: recvmmsg")

    monkeypatch.setattr(linux, "Batch", without)
    endpoint = open_endpoint("127.0.0.1")
    assert isinstance(endpoint, LinuxEndpoint)
    assert endpoint._batch is None
    with Sender(endpoint) as sender:
        for _ in range(2):
            for value in range(100):
                sender.send(bytes([value]) * 100)
            assert [octets for octets, _ in drain(endpoint, 100)] == [bytes([value]) * 100 for value in range(100)]
    endpoint.close()


@pytest.mark.skipif(struct.calcsize("P") != 8, reason="the sizes of 64-bit systems")
def test_structures_have_the_sizes_of_those_of_the_kernel() -> None:
    assert (batch._VECTOR.itemsize, batch._MESSAGE.itemsize, batch._HEADER.itemsize) == (16, 56, 64)
    assert batch._CONTROL.size == 16


def test_control_messages_are_told_as_the_standard_library_tells_them() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(("127.0.0.1", 0))
        receiving.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        receiving.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        for _ in range(2):
            sending.sendto(b"told", receiving.getsockname())
        octets = bytearray(16)
        expected = receiving.recvmsg_into([octets], batch.ANCILLARY_SIZE)
        train, prepared = Train(), Batch()
        train.segment_size = 4
        assert prepared.receive(receiving.fileno(), train, 0, 8) == 1
        assert prepared.message(0) == expected
        assert len(expected[1]) == 2


def flooded(receiver: LinuxEndpoint, stranger: Sender, round_count: int) -> None:
    """Datagrams of all sorts have come, in bursts."""
    for _ in range(round_count):
        for size in range(20, 60):
            stranger.send(bytes(size))
        drain(receiver, 40)


@pytest.mark.parametrize("round_count", [0, 10])
def test_datagrams_of_others_between_those_of_a_train_make_it_no_shorter(
    receiver: LinuxEndpoint, round_count: int
) -> None:
    with Sender(receiver) as sender, Sender(receiver) as stranger:
        flooded(receiver, stranger, round_count)
        octets = [os.urandom(1000) for _ in range(60)]
        for number, datagram in enumerate(octets):
            sender.send(datagram)
            stranger.send(bytes(20 + number % 7))
        train = Train()
        assert wait([receiver], 5 * SECOND_NS) == [receiver]
        assert receiver.receive(train)
        assert train.segment_count == len(octets)
        assert [bytes(segment) for segment in train.segments()] == octets
        assert len(drain(receiver, 60)) == 60


@pytest.mark.parametrize("round_count", [0, 10])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_taken_for_what_another_sent(receiver: LinuxEndpoint, round_count: int, seed: int) -> None:
    """All datagrams have one size, so that nothing but the sender's address tells them apart."""
    rng = random.Random(seed)
    with Sender(receiver) as first, Sender(receiver) as second, Sender(receiver) as third:
        flooded(receiver, third, round_count)
        expected: Found = []
        for _ in range(150):
            sender = rng.choice([first, first, second, third])
            octets = rng.randbytes(100)
            sender.send(octets)
            expected.append((octets, sender.address))
        assert sorted(drain(receiver, len(expected))) == sorted(expected)


def test_what_is_put_aside_for_a_train_has_a_limit(receiver: LinuxEndpoint) -> None:
    with Sender(receiver) as sender, Sender(receiver) as stranger:
        flooded(receiver, stranger, 10)
        for _ in range(100):
            sender.send(bytes(1000))
            stranger.send(bytes(1452))
        train = Train()
        assert wait([receiver], 5 * SECOND_NS) == [receiver]
        assert receiver.receive(train)
        assert 10 < train.segment_count < 40
        assert receiver._stash.size <= (1 << 15) + 1452 + 256
        assert len(drain(receiver, 200 - train.segment_count)) == 200 - train.segment_count
