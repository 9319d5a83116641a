"""One direction of a path between two hosts, and what it does to datagrams."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from fountain.limits import NS

__all__ = ["Link"]


@dataclass
class Link:
    """What happens to datagrams. Fractions are probabilities; times are nanoseconds; `rate_bps` of 0 is no limit.

    `jitter_ns` adds up to so much to each datagram's delay, each for itself: it reorders. `burst` loses runs of
    datagrams (a Gilbert model: mean length `burst_length`) on top of the independent `loss`. `partitions` are (from,
    until) times during which nothing passes. With a rate, datagrams queue, and those beyond `queue_size` octets are
    dropped. Datagrams of more than `size_max` octets (0: no limit) vanish without a word.
    """

    loss: float = 0.0
    burst: float = 0.0
    burst_length: float = 4.0
    delay_ns: int = 1_000_000
    jitter_ns: int = 0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate_bps: int = 0
    queue_size: int = 256 * 1024
    size_max: int = 0
    partitions: list[tuple[int, int]] = field(default_factory=list)
    lost_count: int = 0
    target: tuple[str, int] = ("", 0)  # of the datagram that is being carried
    _in_burst: bool = False
    _free_ns: int = 0

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        """When which octets arrive: nothing for a loss, two for a duplicate."""
        ready_ns = self._queue(len(datagram), now_ns)
        if ready_ns is None or self._is_lost(len(datagram), now_ns, draw):
            self.lost_count += 1
            return []
        arrivals = []
        for _ in range(2 if draw.random() < self.duplicate else 1):
            octets = datagram
            if octets and draw.random() < self.corrupt:
                octets = self._damage(octets, draw)
            jitter_ns = draw.randrange(self.jitter_ns) if self.jitter_ns else 0
            arrivals.append((ready_ns + self.delay_ns + jitter_ns, octets))
        return arrivals

    def _queue(self, size: int, now_ns: int) -> int | None:
        if not self.rate_bps:
            return now_ns
        waiting_ns = max(0, self._free_ns - now_ns)
        if waiting_ns * self.rate_bps // (8 * NS) + size > self.queue_size:
            return None
        self._free_ns = now_ns + waiting_ns + size * 8 * NS // self.rate_bps
        return self._free_ns

    def _is_lost(self, size: int, now_ns: int, draw: random.Random) -> bool:
        if self.size_max and size > self.size_max:
            return True
        if any(start <= now_ns < end for start, end in self.partitions):
            return True
        if self._in_burst:
            self._in_burst = draw.random() >= 1.0 / self.burst_length
        elif self.burst:
            self._in_burst = draw.random() < self.burst
        return self._in_burst or draw.random() < self.loss

    @staticmethod
    def _damage(octets: bytes, draw: random.Random) -> bytes:
        """Flip a bit, cut the end off, or put octets behind it."""
        kind = draw.random()
        at = draw.randrange(len(octets))
        if kind < 0.8:
            return octets[:at] + bytes([octets[at] ^ 1 << draw.randrange(8)]) + octets[at + 1 :]
        if kind < 0.9:
            return octets[:at]
        return octets + draw.randbytes(draw.randrange(1, 9))
