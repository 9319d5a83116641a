"""What waits in the stash comes out in order, in trains as long as may be."""

from __future__ import annotations

from fountain.limits import SEGMENT_COUNT_MAX
from fountain.net import Train
from fountain.net.address import Address
from fountain.net.stash import Stash

HERE: Address = ("192.0.2.1", 1)
THERE: Address = ("192.0.2.2", 1)


def keep(stash: Stash, octets: bytes, segment_size: int, address: Address = HERE) -> None:
    stash.view[: len(octets)] = octets
    stash.keep(len(octets), segment_size, address)


def trains(stash: Stash) -> list[tuple[bytes, int, Address]]:
    train, found = Train(), []
    while stash.take(train):
        found.append((bytes(train.view[: train.length]), train.segment_size, train.address))
    return found


def test_nothing_is_taken_from_an_empty_stash() -> None:
    stash = Stash()
    assert not stash.waiting
    assert not stash.take(Train())


def test_single_datagrams_of_one_size_and_sender_make_one_train() -> None:
    stash = Stash()
    for value in b"abc":
        keep(stash, bytes([value]) * 4, 4)
    keep(stash, b"de", 2)
    keep(stash, b"ffff", 4)
    assert trains(stash) == [(b"aaaabbbbccccde", 4, HERE), (b"ffff", 4, HERE)]
    assert not stash.waiting


def test_another_sender_and_a_longer_datagram_begin_a_train_of_their_own() -> None:
    stash = Stash()
    for octets, address in ((b"aa", HERE), (b"bb", THERE), (b"ccc", THERE), (b"", THERE), (b"d", HERE)):
        keep(stash, octets, len(octets), address)
    assert trains(stash) == [
        (b"aa", 2, HERE), (b"bb", 2, THERE), (b"ccc", 3, THERE), (b"", 0, THERE), (b"d", 1, HERE),
    ]  # fmt: skip


def test_a_train_stays_together_and_one_that_is_too_long_is_cut_at_a_datagram() -> None:
    stash = Stash()
    octets = bytes(range(225)) * 4
    keep(stash, b"aa", 2)
    keep(stash, octets, 3)
    keep(stash, b"bbb", 3)
    limit = 3 * SEGMENT_COUNT_MAX
    assert trains(stash) == [(b"aa", 2, HERE), (octets[:limit], 3, HERE), (octets[limit:] + b"bbb", 3, HERE)]
