"""What a simulator may do with the in-memory network."""

from __future__ import annotations

import pytest

from fountain.net import Group, Interface, Train
from fountain.net.address import Address
from fountain.net.memory import MemoryNetwork

GROUP = Group("239.255.63.30", 6331, Interface("memory", 1))
NEAR, FAR = ("192.0.2.1", 1), ("192.0.2.2", 2)


def test_a_simulator_takes_every_datagram_and_delivers_it_later() -> None:
    taken: list[tuple[bytes, Address, Address]] = []
    network = MemoryNetwork(lambda datagram, source, target: taken.append((datagram, source, target)))
    near, far = network.attach(NEAR), network.attach(FAR)
    near.send(b"aabbc", 5, 2, FAR)
    train = Train()
    assert not far.receive(train)
    assert taken == [(b"aa", NEAR, FAR), (b"bb", NEAR, FAR), (b"c", NEAR, FAR)]
    for datagram, source, target in reversed(taken):
        network.deliver(datagram, source, target)
    assert far.receive(train)
    assert (bytes(train.view[: train.length]), train.address) == (b"c", NEAR)
    assert far.receive(train)
    assert (bytes(train.view[: train.length]), train.segment_size) == (b"bbaa", 2)


def test_a_datagram_is_what_was_sent_even_when_the_train_is_used_again() -> None:
    network = MemoryNetwork()
    near, far = network.attach(NEAR), network.attach(FAR)
    train = Train()
    train.lay_out(1, 3)[:] = 1
    near.send(train.view, 3, 3, FAR)
    train.lay_out(1, 3)[:] = 2
    assert far.receive(train)
    assert bytes(train.view[:3]) == b"\1\1\1"


def test_a_full_queue_drops_and_counts() -> None:
    network = MemoryNetwork()
    near, far = network.attach(NEAR), network.attach(FAR, queue_size=250)
    assert near.send(bytes(500), 500, 100, FAR) == 500
    assert far.statistics.kernel_drops == 3
    train = Train()
    assert far.receive(train)
    assert train.length == 200
    assert near.send(bytes(100), 100, 100, FAR) == 100
    assert far.receive(train)


def test_a_blocked_endpoint_takes_nothing() -> None:
    network = MemoryNetwork()
    near = network.attach(NEAR)
    near.blocked = True
    assert near.send(bytes(500), 500, 100, FAR) == 0
    assert near.statistics.would_block == 1


def test_an_address_is_free_again_after_close() -> None:
    network = MemoryNetwork()
    near = network.attach(NEAR)
    with pytest.raises(ValueError, match="taken"):
        network.attach(NEAR)
    near.close()
    near.close()
    network.attach(NEAR)


def test_what_is_sent_to_a_group_is_carried_to_each_member_at_its_own_address() -> None:
    taken: list[tuple[bytes, Address, Address]] = []
    network = MemoryNetwork(lambda datagram, source, target: taken.append((datagram, source, target)))
    near, far = network.attach(NEAR), network.attach(FAR)
    third = network.attach(("192.0.2.3", 3))
    for member in (far, third, far):
        network.join(member, GROUP.target)
    near.send(b"aab", 3, 2, GROUP.target)
    targets = (far.local_address, third.local_address)
    assert taken == [(octets, NEAR, target) for octets in (b"aa", b"b") for target in targets]
    assert near.statistics.datagrams_sent == 2
    network.deliver(*taken[0])
    train = Train()
    assert far.receive(train)
    assert (bytes(train.view[: train.length]), train.address) == (b"aa", NEAR)


def test_a_member_that_left_or_closed_hears_nothing() -> None:
    network = MemoryNetwork()
    near, far, third = network.attach(NEAR), network.attach(FAR), network.attach(("192.0.2.3", 3))
    network.join(far, GROUP.target)
    network.join(third, GROUP.target)
    network.leave(far, GROUP.target)
    network.leave(far, GROUP.target)
    third.close()
    near.send(b"anybody?", 8, 8, GROUP.target)
    assert not far.pending
    assert not third.pending
    assert not near.refused, "a group without members refuses nobody"


def test_a_group_at_which_nobody_listens_yet_refuses_nobody() -> None:
    network = MemoryNetwork()
    near = network.attach(NEAR)
    near.aim(GROUP)
    near.send(b"anybody?", 8, 8, GROUP.target)
    assert not near.refused
    near.send(b"anybody?", 8, 8, FAR)
    assert near.refused == {FAR}
