"""How many symbols a receiver is still owed: its need, less what arrives of the symbols in flight.

Of n symbols in flight a share is lost, so that Binomial(n, 1 - loss) arrive. All schedules compute the deficit here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

__all__ = ["LOSS_MAX", "Arrivals", "Flight"]

LOSS_MAX = 0.95  # Nothing is planned for more: its deficits would have no end.
_SYMBOL_SHARE = 0.5  # A deficit of no more than half a symbol is none.


@dataclass(frozen=True)
class Arrivals:
    """What arrives of `flying_count` symbols in flight if each is lost with probability `loss`, at most LOSS_MAX."""

    flying_count: int
    loss: float

    @property
    def share(self) -> float:
        """The probability that a symbol arrives."""
        return 1.0 - min(self.loss, LOSS_MAX)

    @property
    def mean(self) -> float:
        """Symbols that arrive on average."""
        return self.flying_count * self.share

    @property
    def deviation(self) -> float:
        """The standard deviation of that, in symbols."""
        return math.sqrt(self.flying_count * min(self.loss, LOSS_MAX) * self.share)

    def deficit(self, need: int, deviations: float) -> int:
        """Symbols to send now to a receiver that lacks `need` symbols, over the share that arrives.

        `deviations` standard deviations are sent beyond the mean. Below 0 less than the mean is sent: a later report
        corrects what is missing, but nothing takes back what was sent too much.
        """
        owed = need - self.mean + deviations * self.deviation
        return max(1, round(owed / self.share)) if owed > _SYMBOL_SHARE else 0


class Flight:
    """The packets with symbols of one block of which nobody has reported yet, as runs of sequence numbers."""

    def __init__(self) -> None:
        self._runs: deque[tuple[int, int]] = deque()  # (first sequence, count), ascending

    def __bool__(self) -> bool:
        return bool(self._runs)

    def note_sent(self, sequence: int, count: int) -> None:
        """`count` packets went, numbered from `sequence`, which is above all numbers before."""
        if self._runs and sum(self._runs[-1]) == sequence:
            first, before = self._runs.pop()
            sequence, count = first, before + count
        self._runs.append((sequence, count))

    def count(self, resolved: int) -> int:
        """Packets from sequence `resolved` on: the others have arrived or are lost."""
        total = 0
        for first, count in reversed(self._runs):
            if first + count <= resolved:
                break
            total += count - max(0, resolved - first)
        return total

    def forget(self, resolved: int) -> None:
        """Nobody will ask for packets below sequence `resolved` any more."""
        while self._runs and sum(self._runs[0]) <= resolved:
            self._runs.popleft()

    def clear(self) -> None:
        """Nothing is in flight."""
        self._runs.clear()
