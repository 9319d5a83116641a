"""One set of facts about endpoints, proved for the Linux, the portable and the in-memory one."""

from __future__ import annotations

import random

import pytest

from fountain.limits import SEGMENT_COUNT_MAX
from fountain.net import Endpoint, Train, wait
from fountain.net.address import Address
from tests.net.conftest import Opener, reachable

SECOND_NS = 1_000_000_000


def pattern(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def drain(endpoint: Endpoint, octets: int) -> list[tuple[bytes, Address]]:
    """Every datagram that comes until so many octets have come."""
    train = Train()
    datagrams: list[tuple[bytes, Address]] = []
    while sum(len(datagram) for datagram, _ in datagrams) < octets:
        assert wait([endpoint], 5 * SECOND_NS) == [endpoint], "the datagrams did not come"
        while endpoint.receive(train):
            assert train.segment_count <= SEGMENT_COUNT_MAX
            datagrams += [(bytes(segment), train.address) for segment in train.segments()]
    return datagrams


@pytest.mark.parametrize("count", [1, 2, 7, 44, 64])
@pytest.mark.parametrize("last", [1, 99, 200])
def test_a_train_arrives_whole_and_in_order(opener: Opener, count: int, last: int) -> None:
    sender, receiver = opener(), opener()
    octets = pattern(200 * (count - 1) + last)
    assert sender.send(octets, len(octets), 200, reachable(receiver)) == len(octets)
    datagrams = drain(receiver, len(octets))
    assert [datagram for datagram, _ in datagrams] == [octets[at : at + 200] for at in range(0, len(octets), 200)]
    assert {source for _, source in datagrams} == {reachable(sender)}


@pytest.mark.parametrize(("size", "length"), [(1452, 200_000), (100, 20_000), (9000, 190_000), (32_500, 65_001)])
def test_more_than_one_train_of_octets_is_sent_in_one_call(opener: Opener, size: int, length: int) -> None:
    sender, receiver = opener(), opener()
    octets = pattern(length)
    assert sender.send(octets, length, size, reachable(receiver)) == length
    assert b"".join(datagram for datagram, _ in drain(receiver, length)) == octets
    assert sender.statistics.datagrams_sent == receiver.statistics.datagrams_received == -(-length // size)
    assert sender.statistics.octets_sent == receiver.statistics.octets_received == length


def test_the_largest_datagram_passes(opener: Opener) -> None:
    sender, receiver = opener(), opener()
    octets = pattern(65_507)
    assert sender.send(octets, len(octets), len(octets), reachable(receiver)) == len(octets)
    assert [datagram for datagram, _ in drain(receiver, len(octets))] == [octets]


def test_only_the_length_asked_for_is_sent(opener: Opener) -> None:
    sender, receiver = opener(), opener()
    train = Train()
    train.lay_out(10, 50)[:] = 7
    assert sender.send(train.view, 120, 50, reachable(receiver)) == 120
    assert [len(datagram) for datagram, _ in drain(receiver, 120)] == [50, 50, 20]


def test_nothing_waits_on_a_new_endpoint(opener: Opener) -> None:
    endpoint = opener()
    train = Train()
    assert endpoint.receive(train) is False
    assert wait([endpoint], 0) == []
    assert not endpoint.refused


def test_trains_of_different_senders_are_not_mixed(opener: Opener) -> None:
    first, second, receiver = opener(), opener(), opener()
    target = reachable(receiver)
    for turn in range(20):
        for sender, value in ((first, 1), (second, 2)):
            octets = bytes([value]) * 300 + bytes([turn]) * 100
            assert sender.send(octets, 400, 100, target) == 400
    datagrams = drain(receiver, 40 * 400)
    for sender, value in ((first, 1), (second, 2)):
        mine = b"".join(datagram for datagram, source in datagrams if source == reachable(sender))
        assert mine == b"".join(bytes([value]) * 300 + bytes([turn]) * 100 for turn in range(20))


def test_datagrams_of_changing_sizes_keep_their_borders(opener: Opener) -> None:
    sender, receiver = opener(), opener()
    sizes = [random.Random(3).choice([1, 40, 100, 100, 100, 101, 1452, 9000]) for _ in range(300)]
    octets = pattern(sum(sizes), seed=2)
    at = 0
    for size in sizes:
        assert sender.send(octets[at : at + size], size, size, reachable(receiver)) == size
        at += size
    datagrams = [datagram for datagram, _ in drain(receiver, len(octets))]
    assert [len(datagram) for datagram in datagrams] == sizes
    assert b"".join(datagrams) == octets


def test_an_empty_datagram_is_a_train_without_segments(opener: Opener) -> None:
    sender, receiver = opener(), opener()
    for octets in (b"before", b"", b"after"):
        assert sender.send(octets, len(octets), max(1, len(octets)), reachable(receiver)) == len(octets)
    datagrams = drain(receiver, len(b"beforeafter"))
    assert b"".join(datagram for datagram, _ in datagrams) == b"beforeafter"


def test_a_closed_port_is_noticed_once(opener: Opener) -> None:
    sender, other, gone = opener(), opener(), opener()
    target = reachable(gone)
    gone.close()
    assert sender.send(b"anybody?", 8, 8, target) == 8
    sender.receive(Train())
    assert sender.refused == {target}
    assert not sender.refused
    assert wait([sender], 0) == [], "the queued error must not keep the descriptor ready"
    assert sender.send(b"you?", 4, 4, reachable(other)) == 4
    assert drain(other, 4) == [(b"you?", reachable(sender))]


def test_a_closed_port_does_not_eat_the_next_send(opener: Opener) -> None:
    sender, other, gone = opener(), opener(), opener()
    target = reachable(gone)
    gone.close()
    for _ in range(5):
        sender.send(bytes(1000), 1000, 100, target)
        assert sender.send(bytes(1000), 1000, 100, reachable(other)) == 1000
    assert len(drain(other, 5000)) == 50
    assert sender.refused == {target}


def test_an_answer_goes_to_where_the_question_came_from(opener: Opener) -> None:
    client, server = opener(), opener()
    client.send(b"question", 8, 8, reachable(server))
    [(_, source)] = drain(server, 8)
    server.send(b"answer", 6, 6, source)
    assert drain(client, 6) == [(b"answer", reachable(server))]


def test_only_the_endpoint_with_something_to_read_is_ready(opener: Opener) -> None:
    sender, quiet, receiver = opener(), opener(), opener()
    sender.send(b"x", 1, 1, reachable(receiver))
    assert wait([quiet, receiver], 5 * SECOND_NS) == [receiver]
    assert receiver.receive(Train()) is True
    assert wait([quiet, receiver], 0) == []


def test_an_endpoint_is_ready_as_long_as_anything_is_left(opener: Opener) -> None:
    sender, receiver = opener(), opener()
    for size in (10, 20, 30):
        sender.send(bytes(size), size, size, reachable(receiver))
    train = Train()
    received = []
    while wait([receiver], 5 * SECOND_NS if len(received) < 3 else 0):
        assert receiver.receive(train)
        received.append(train.length)
    assert received == [10, 20, 30]
    assert not receiver.pending


def test_a_full_receive_buffer_drops_and_says_so(opener: Opener) -> None:
    sender, receiver = opener(), opener()
    octets = bytes(60_000)
    for _ in range(400):
        sender.send(octets, len(octets), 1200, reachable(receiver))
    train = Train()
    received = 0
    while receiver.receive(train):
        received += train.length
    assert received < 400 * 60_000
    sender.send(b"the kernel reports drops beside the next datagram", 49, 49, reachable(receiver))
    assert len(drain(receiver, 49)) == 1
    assert receiver.statistics.kernel_drops > 0 or not receiver.segmenting
