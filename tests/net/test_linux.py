"""What only the Linux endpoint does: segmentation, its fall-back, and answering from the address that was asked."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fountain.limits import SEGMENT_COUNT_MAX
from fountain.net import Train, open_endpoint, wait
from fountain.net.batch import Received
from fountain.net.linux import LinuxEndpoint
from fountain.net.portable import PortableEndpoint
from fountain.net.routes import ROUTE_COUNT_MAX, Routes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="segmentation offload is a Linux system call")

SECOND_NS = 1_000_000_000
UDP_SEGMENT, UDP_GRO = 103, 104
SO_RXQ_OVFL = 40
Refuse = Callable[[list[tuple[int, int, bytes]], int], int | None]


class StubbornSocket(socket.socket):
    """A socket whose sends fail with the error number that `refuse(control messages, octets)` returns, if any."""

    refuse: Refuse

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        number = self.refuse(list(ancillary), sum(len(buffer) for buffer in buffers))
        if number is not None:
            raise OSError(number, os.strerror(number))
        return super().sendmsg(buffers, ancillary, flags, address)


@pytest.fixture
def receiver() -> Iterator[PortableEndpoint]:
    endpoint = open_endpoint("127.0.0.1", portable=True)
    assert isinstance(endpoint, PortableEndpoint)
    yield endpoint
    endpoint.close()


@pytest.fixture
def stubborn() -> Iterator[Callable[[Refuse], LinuxEndpoint]]:
    opened: list[LinuxEndpoint] = []

    def open_stubborn(refuse: Refuse) -> LinuxEndpoint:
        bound = StubbornSocket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.refuse = refuse
        bound.bind(("0.0.0.0", 0))
        bound.setblocking(False)
        opened.append(LinuxEndpoint(bound))
        return opened[-1]

    yield open_stubborn
    for endpoint in opened:
        endpoint.close()


def segmented(ancillary: list[tuple[int, int, bytes]]) -> bool:
    return any(kind == UDP_SEGMENT for _, kind, _ in ancillary)


def received(endpoint: PortableEndpoint) -> list[bytes]:
    train = Train()
    found: list[bytes] = []
    while endpoint.receive(train):
        found += [bytes(segment) for segment in train.segments()]
    return found


def test_a_train_passes_loopback_in_one_system_call_each_way() -> None:
    sender, receiver = open_endpoint("127.0.0.1"), open_endpoint("127.0.0.1")
    assert sender.segmenting
    octets = bytes(range(200)) * 240
    sender.send(octets, 48_000, 1200, receiver.local_address)
    bare, train = memoryview(bytearray(65_536)), Train()
    assert isinstance(receiver, LinuxEndpoint)
    length, ancillary, _, _ = receiver._socket.recvmsg_into([bare], 128, socket.MSG_PEEK)
    assert length == 48_000
    assert ancillary
    assert receiver.receive(train)
    assert (train.length, train.segment_size, train.segment_count) == (48_000, 1200, 40)
    sender.close()
    receiver.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EOPNOTSUPP])
def test_a_socket_without_segmentation_sends_datagrams_from_then_on(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, number: int
) -> None:
    tries: list[bool] = []

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        tries.append(segmented(ancillary))
        return number if segmented(ancillary) else None

    endpoint = stubborn(refuse)
    assert endpoint.send(bytes(1000), 1000, 100, receiver.local_address) == 1000
    assert not endpoint.segmenting
    assert received(receiver) == [bytes(100)] * 10
    tries.clear()
    assert endpoint.send(bytes(1000), 1000, 100, receiver.local_address) == 1000
    assert tries == [False] * 10
    assert (endpoint.statistics.segmentation_refused, endpoint.statistics.datagrams_sent) == (1, 20)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EMSGSIZE])
def test_a_route_whose_segments_are_too_large_falls_back_alone(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, number: int
) -> None:
    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        too_large = any(
            kind == UDP_SEGMENT and int.from_bytes(value, sys.byteorder) > 500 for _, kind, value in ancillary
        )
        return number if too_large else None

    endpoint = stubborn(refuse)
    for _ in range(3):
        assert endpoint.send(bytes(6000), 6000, 600, receiver.local_address) == 6000
    assert endpoint.segmenting
    assert endpoint.statistics.segmentation_refused == 1
    assert endpoint.send(bytes(6000), 6000, 400, receiver.local_address) == 6000
    assert endpoint.statistics.segmentation_refused == 1
    assert [len(datagram) for datagram in received(receiver)] == [600] * 30 + [400] * 15


@pytest.mark.parametrize("size", [100, 1000])
def test_a_full_send_buffer_takes_nothing_and_is_counted(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, size: int
) -> None:
    endpoint = stubborn(lambda ancillary, length: errno.EAGAIN)
    assert endpoint.send(bytes(1000), 1000, size, receiver.local_address) == 0
    assert (endpoint.statistics.would_block, endpoint.statistics.datagrams_sent) == (1, 0)


@pytest.mark.parametrize("size", [100, 1000])
def test_what_a_full_queue_of_the_interface_drops_is_lost_after_one_try(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, size: int
) -> None:
    tries: list[int] = []

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int:
        tries.append(length)
        return errno.ENOBUFS

    endpoint = stubborn(refuse)
    assert endpoint.send(bytes(1000), 1000, size, receiver.local_address) == 1000
    assert tries == [1000]
    statistics = endpoint.statistics
    assert (statistics.send_errors, statistics.would_block, statistics.datagrams_sent) == (1000 // size, 0, 0)


def test_what_was_taken_before_the_buffer_was_full_is_reported(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint
) -> None:
    left = [3]

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        left[0] -= 1
        return errno.EAGAIN if left[0] < 0 else errno.EIO if segmented(ancillary) else None

    endpoint = stubborn(refuse)
    assert endpoint.send(bytes(1000), 1000, 100, receiver.local_address) == 100
    assert received(receiver) == [bytes(100)]


@pytest.mark.parametrize("size", [100, 1000])
def test_an_unreachable_peer_is_counted_and_not_raised(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, size: int
) -> None:
    endpoint = stubborn(lambda ancillary, length: errno.ENETUNREACH)
    assert endpoint.send(bytes(1000), 1000, size, receiver.local_address) == 1000
    assert (endpoint.statistics.send_errors, endpoint.statistics.datagrams_sent) == (1000 // size, 0)


def test_an_address_of_the_other_family_is_counted_and_not_raised() -> None:
    endpoint = open_endpoint("127.0.0.1")
    assert endpoint.send(bytes(1000), 1000, 100, ("::1", 9)) == 1000
    assert endpoint.statistics.send_errors == 10
    endpoint.close()


@pytest.mark.parametrize(("bind_host", "asked"), [("0.0.0.0", "127.0.0.5"), ("", "127.0.0.5"), ("", "::1")])
@pytest.mark.parametrize("count", [1, 5])
def test_a_server_on_the_wildcard_answers_from_the_address_that_was_asked(
    bind_host: str, asked: str, count: int
) -> None:
    server = open_endpoint(bind_host)
    client = open_endpoint(asked.replace("127.0.0.5", "127.0.0.9"))
    train = Train()
    client.send(b"hello", 5, 5, (asked, server.local_address[1]))
    assert wait([server], 5 * SECOND_NS)
    assert server.receive(train)
    assert train.address == client.local_address
    server.send(bytes(100 * count), 100 * count, 100, train.address)
    assert wait([client], 5 * SECOND_NS)
    assert client.receive(train)
    assert train.address == (asked, server.local_address[1])
    server.close()
    client.close()


def has_source(ancillary: list[tuple[int, int, bytes]]) -> bool:
    return any(level == socket.IPPROTO_IP for level, _, _ in ancillary)


def hear(endpoint: LinuxEndpoint, receiver: PortableEndpoint) -> None:
    """The peer says something to one of this machine's addresses."""
    receiver.send(b"hello", 5, 5, ("127.0.0.3", endpoint.local_address[1]))
    assert wait([endpoint], 5 * SECOND_NS)
    assert endpoint.receive(Train())


GONE = [errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EHOSTUNREACH, errno.EPERM]


@pytest.mark.parametrize("number", GONE)
@pytest.mark.parametrize("size", [100, 1000])
def test_a_source_address_that_is_gone_is_forgotten_whatever_the_kernel_says_of_it(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, number: int, size: int
) -> None:
    tries: list[bool] = []

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        tries.append(has_source(ancillary))
        return number if has_source(ancillary) else None

    endpoint = stubborn(refuse)
    hear(endpoint, receiver)
    for _ in range(2):
        assert endpoint.send(bytes(1000), 1000, size, receiver.local_address) == 1000
    assert (endpoint.statistics.segmentation_refused, endpoint.statistics.send_errors) == (0, 0)
    assert b"".join(received(receiver)) == bytes(2000)
    assert tries[:2] == [True, True], "the first error may be news of an earlier datagram"
    assert not any(tries[2:])
    hear(endpoint, receiver)
    endpoint.send(bytes(1000), 1000, size, receiver.local_address)
    assert any(tries[3:]), "the peer that goes on talking to that address is answered from there"


def test_news_of_an_earlier_datagram_costs_no_source_address(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint
) -> None:
    tries: list[bool] = []

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        tries.append(has_source(ancillary))
        return errno.ECONNREFUSED if len(tries) == 1 else None

    endpoint = stubborn(refuse)
    hear(endpoint, receiver)
    endpoint.send(bytes(100), 100, 100, receiver.local_address)
    endpoint.send(bytes(100), 100, 100, receiver.local_address)
    assert tries == [True, True, True]


@pytest.mark.parametrize("size", [100, 1000])
def test_while_nothing_can_be_sent_the_source_address_is_kept(
    stubborn: Callable[[Refuse], LinuxEndpoint], receiver: PortableEndpoint, size: int
) -> None:
    is_down = [True]
    tries: list[bool] = []

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        tries.append(has_source(ancillary))
        return errno.ENETUNREACH if is_down[0] else None

    endpoint = stubborn(refuse)
    hear(endpoint, receiver)
    endpoint.send(bytes(1000), 1000, size, receiver.local_address)
    is_down[0] = False
    tries.clear()
    endpoint.send(bytes(1000), 1000, size, receiver.local_address)
    assert tries
    assert all(tries)


def test_drops_of_the_kernel_are_counted() -> None:
    sender, receiver = open_endpoint("127.0.0.1"), open_endpoint("127.0.0.1", buffer_size=100_000)
    for _ in range(50):
        sender.send(bytes(60_000), 60_000, 1200, receiver.local_address)
    train = Train()
    while receiver.receive(train):
        pass
    sender.send(b"x", 1, 1, receiver.local_address)
    assert wait([receiver], 5 * SECOND_NS)
    assert receiver.receive(train)
    assert receiver.statistics.kernel_drops > 0
    sender.close()
    receiver.close()


def test_a_drop_counter_of_the_kernel_that_begins_again_counts_on() -> None:
    """The kernel's counter has 32 bits; what a receiver reports of it never falls."""
    counts = [2**32 - 2, 2**32 - 1, 3, 3, 10]
    dropped = []

    def receive(buffers: Sequence[memoryview], _size: int) -> Received:
        if not counts:
            raise BlockingIOError
        buffers[0][:1] = b"x"
        return 1, [(socket.SOL_SOCKET, SO_RXQ_OVFL, counts.pop(0).to_bytes(4, sys.byteorder))], 0, ("127.0.0.1", 9)

    with contextlib.closing(open_endpoint("127.0.0.1")) as receiver:
        assert isinstance(receiver, LinuxEndpoint)
        receiver._recvmsg_into = receive
        receiver._gather = lambda train: None  # type: ignore[method-assign]
        while receiver.receive(Train()):
            dropped.append(receiver.statistics.kernel_drops)
    assert dropped == [2**32 - 2, 2**32 - 1, 2**32 + 3, 2**32 + 3, 2**32 + 10]


def test_the_table_of_routes_forgets_the_peer_not_heard_for_longest() -> None:
    routes = Routes(socket.AF_INET)
    source = [(0, 8, b"here")]
    for number in range(ROUTE_COUNT_MAX):
        routes.heard(("192.0.2.1", number), source)
    routes.heard(("192.0.2.1", 0), source)
    routes.heard(("192.0.2.2", 1), source)
    assert routes.find(("192.0.2.1", 0)).source == source
    assert routes.find(("192.0.2.1", 1)).source == []


@pytest.mark.parametrize("bind_host", ["127.0.0.1", ""])
def test_datagrams_that_nothing_coalesced_make_one_train_all_the_same(bind_host: str) -> None:
    sender, receiver = open_endpoint("127.0.0.1", portable=True), open_endpoint(bind_host)
    octets = os.urandom(20 * 100 + 30)
    sender.send(octets, len(octets), 100, ("127.0.0.1", receiver.local_address[1]))
    train = Train()
    assert wait([receiver], 5 * SECOND_NS)
    assert receiver.receive(train)
    assert (bytes(train.view[: train.length]), train.segment_count) == (octets, 21)
    assert receiver.statistics.datagrams_received == 21
    assert receiver.statistics.octets_received == len(octets)
    assert not receiver.receive(train)
    sender.close()
    receiver.close()


def test_more_than_a_train_holds_is_received_in_two() -> None:
    """No kernel of today puts so many datagrams together."""
    octets, train = os.urandom((SEGMENT_COUNT_MAX + 36) * 50), Train()
    size = (17, UDP_GRO, (50).to_bytes(4, sys.byteorder))

    def receive(buffers: Sequence[memoryview], _size: int) -> Received:
        buffers[0][: len(octets)] = octets
        return len(octets), [size], 0, ("127.0.0.1", 9)

    with contextlib.closing(open_endpoint("127.0.0.1")) as receiver:
        assert isinstance(receiver, LinuxEndpoint)
        receiver._recvmsg_into = receive
        found = []
        while receiver.pending or not found:
            assert receiver.receive(train)
            found.append(bytes(train.view[: train.length]))
    assert [len(part) for part in found] == [SEGMENT_COUNT_MAX * 50, 36 * 50]
    assert b"".join(found) == octets


def test_what_the_kernel_puts_together_lengthens_the_train() -> None:
    """Several coalesced receives make one train, and none brings more than there is room for."""
    octets, train = os.urandom(5 * 40 * 1400), Train()
    size = [(17, UDP_SEGMENT, (1400).to_bytes(2, sys.byteorder))]
    with (
        contextlib.closing(open_endpoint("127.0.0.1")) as receiver,
        contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender,
    ):
        for start in range(0, len(octets), 40 * 1400):
            sender.sendmsg([octets[start : start + 40 * 1400]], size, 0, receiver.local_address)
        found = []
        while wait([receiver], 0) and receiver.receive(train):
            found.append(bytes(train.view[: train.length]))
            assert not receiver.pending, "nothing had to be copied once more"
    assert b"".join(found) == octets
    assert [len(part) for part in found] == [4 * 40 * 1400, 40 * 1400]
