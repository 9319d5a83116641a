"""TCP as the world needs it: one CUBIC sender (RFC 9438) that shares a link with the streams under test."""

from __future__ import annotations

from functools import partial

from fountain.limits import NS
from fountain.testing import Link, World

PACKET_SIZE = 1500
LATE_COUNT = 3  # RFC 9002: overtaken by so many is lost
TIMEOUT_MIN_NS = NS // 5


class CubicFlow:
    """Sends for ever over `link`; acknowledgements come back after `back_ns` and are never lost."""

    def __init__(self, world: World, link: Link, back_ns: int) -> None:
        self.world, self.link, self.back_ns = world, link, back_ns
        self.delivered_size = 0
        self.window = 10.0
        self._threshold = float("inf")
        self._limit = 0.0
        self._reno = 0.0
        self._epoch_ns = 0
        self._next = 0
        self._recover = -1
        self._flying: dict[int, int] = {}  # sequence -> when it was sent
        self._rtt_ns = link.delay_ns + back_ns
        self._heard_ns = world.now_ns
        self._send()
        world.at(TIMEOUT_MIN_NS, self._watch)

    def _send(self) -> None:
        world = self.world
        while len(self._flying) < int(self.window):
            sequence, self._next = self._next, self._next + 1
            self._flying[sequence] = world.now_ns
            for at_ns, _ in self.link.carry(bytes(PACKET_SIZE), world.now_ns, world.draw):
                world.at(at_ns + self.back_ns - world.now_ns, partial(self._acknowledge, sequence))

    def _acknowledge(self, sequence: int) -> None:
        now_ns = self._heard_ns = self.world.now_ns
        sent_ns = self._flying.pop(sequence, None)
        if sent_ns is None:
            return
        self.delivered_size += PACKET_SIZE
        self._rtt_ns += (now_ns - sent_ns - self._rtt_ns) // 8
        lost = [other for other in self._flying if other < sequence - LATE_COUNT]
        for other in lost:
            del self._flying[other]
        if lost and lost[-1] > self._recover:
            self._cut()
        elif self.window < self._threshold:
            self.window += 1
        elif sequence > self._recover:
            self._grow()
        self._send()

    def _cut(self) -> None:
        self._limit = self.window * 0.85 if self.window < self._limit else self.window
        self.window = self._threshold = self._reno = max(2.0, 0.7 * self.window)
        self._epoch_ns = self.world.now_ns
        self._recover = self._next

    def _grow(self) -> None:
        knee_s = (max(0.0, self._limit - self._threshold) / 0.4) ** (1 / 3)
        elapsed_s = (self.world.now_ns + self._rtt_ns - self._epoch_ns) / NS
        target = self._limit + 0.4 * (elapsed_s - knee_s) ** 3
        self._reno += (0.53 if self._reno < self._limit else 1.0) / self.window
        if target < self._reno:
            self.window = max(self.window, self._reno)
        else:
            self.window += min(max(0.0, target - self.window), self.window / 2) / self.window

    def _watch(self) -> None:
        if self._flying and self.world.now_ns - self._heard_ns > max(TIMEOUT_MIN_NS, 2 * self._rtt_ns):
            self._flying.clear()
            self._cut()
            self.window = 2.0
            self._send()
        self.world.at(TIMEOUT_MIN_NS, self._watch)
