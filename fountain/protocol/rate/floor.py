"""How much loss belongs to the link itself: what stays when no sender sends too much."""

from __future__ import annotations

import math

__all__ = ["LossFloor"]

_MEMORY_COUNT = 4_000.0  # packets over which the floor is averaged
_LESS_COUNT = 300  # packets that may show that the floor is too high
_DOUBT_COUNT = 200.0  # what is left of that memory when the floor is doubted


class LossFloor:
    """The share of packets that is lost without congestion, learned from calm times, never above `tolerance`."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.weight = 0.0
        self._fraction = 0.0
        self._expected = 0  # since it was last asked whether the floor is too high
        self._lost = 0

    @property
    def fraction(self) -> float:
        """The floor."""
        return min(self._fraction, self.tolerance)

    def learn(self, expected: int, lost: int) -> None:
        """`lost` of `expected` packets did not arrive, at a time when nothing was congested."""
        if expected <= 0:
            return
        self.weight = min(self.weight + expected, _MEMORY_COUNT)
        share = min(1.0, max(0.0, lost / expected))  # Packets that were only late count back.
        self._fraction += (share - self._fraction) * min(1.0, expected / self.weight)

    def learn_less(self, expected: int, lost: int) -> None:
        """So much was lost, perhaps by congestion as well: if that is clearly less than the floor, it is too high."""
        self._expected += expected
        self._lost += lost
        if self._expected < _LESS_COUNT:
            return
        mean = self.fraction * self._expected
        if mean - self._lost > math.sqrt(mean * (1.0 + self._expected / max(self.weight, 1.0))):
            self.learn(self._expected, self._lost)
        self._expected = self._lost = 0

    def doubt(self) -> None:
        """Learn faster from now on: what was learned does not fit any more."""
        self.weight = min(self.weight, _DOUBT_COUNT)

    def explains(self, expected: int, lost: int, deviations: float) -> bool:
        """Whether so much loss is likely to be the link's own.

        Both the loss and the floor are drawn from binomial distributions; their standard deviations add up.
        """
        mean = self.fraction * expected
        if lost <= mean:
            return True
        return lost - mean <= deviations * math.sqrt(mean * (1.0 + expected / max(self.weight, 1.0)))
