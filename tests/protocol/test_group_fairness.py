"""A group in which some lose periodically, or each other packets: nobody starves, and all cost as much as the worst."""

from __future__ import annotations

import random

import pytest

from fountain.protocol.schedule.deficits import Receiver
from fountain.protocol.schedule.group import GroupCarousel
from tests.protocol.test_group_carousel import BLOCKS, K, carousel, symbols


class Listener:
    """A receiver that loses what `loses` says, and needs K symbols of each block."""

    def __init__(self, period: int, phase: int, chance: random.Random | None = None, loss: float = 0.0) -> None:
        self.peer_id = f"{id(self):016x}".encode()
        self.left = dict.fromkeys(range(BLOCKS), K)
        self._period, self._phase = period, phase
        self._chance, self._loss = chance, loss
        self.expected, self.received = 0, 0

    def hear(self, block: int, sequence: int) -> None:
        if sequence % self._period == self._phase or (self._chance and self._chance.random() < self._loss):
            return
        self.expected, self.received = sequence + 1, self.received + 1
        self.left[block] = max(0, self.left[block] - 1)

    @property
    def is_done(self) -> bool:
        return not any(self.left.values())

    def report(self, stream: GroupCarousel, sequence: int) -> None:
        needs = [(block, need) for block, need in self.left.items() if 0 < need < K]
        planned = dict(stream.planned(1_000))
        missing = [(block, 1) for block, need in self.left.items() if need == K and block not in planned]
        loss = 1.0 - self.received / max(1, sequence)
        stream.settle(Receiver(self.peer_id, sequence, loss), needs, missing, is_last_word=not stream.is_cycling)


def run(listeners: list[Listener], train_count: int = 8) -> int:
    """Packets sent until all have everything."""
    stream, sequence = carousel(), 0
    while not all(listener.is_done for listener in listeners):
        taken = stream.take(train_count, sequence)
        for block, _ in symbols(taken):
            for listener in listeners:
                listener.hear(block, sequence)
            sequence += 1
        for listener in listeners:
            if not listener.is_done:
                listener.report(stream, sequence)
        assert sequence < 50 * BLOCKS * K, "a block starves"
    return sequence


@pytest.mark.parametrize("period", range(2, 25))
def test_periodic_loss_starves_no_block(period: int) -> None:
    for phase in range(0, period, 3):
        assert run([Listener(period, phase)]) <= 1.35 * BLOCKS * K / (1 - 1 / period)


def test_receivers_that_lose_other_packets_cost_hardly_more_than_one(seed: int) -> None:
    def cost(count: int) -> int:
        return run([Listener(10**9, -1, random.Random(f"{seed} {index}"), 0.1) for index in range(count)])

    alone, many = cost(1), cost(30)
    different = BLOCKS * K * (2 - 0.9**30)  # what a protocol sends that repeats each lost packet
    assert alone <= many < different
