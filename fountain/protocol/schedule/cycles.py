"""Blocks that wait for their pass: a set that is gone through upwards, again and again.

Whoever asks once more for what has just been sent waits until all others have had their turn. All costs are those of
the intervals that are touched.
"""

from __future__ import annotations

from bisect import bisect_right

from fountain.protocol.base.runs import Run, Runs

__all__ = ["BlockQueue"]


class BlockQueue(Runs):
    """A set of blocks and the place up to which it was gone through."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def pop(self) -> int:
        """Take out the next block; the set must not be empty."""
        place = max(0, bisect_right(self._firsts, self._at) - 1)
        if self._ends[place] <= self._at:
            place = (place + 1) % len(self._firsts)
        first, end = self._firsts[place], self._ends[place]
        block = self._at if first <= self._at < end else first
        self._at = block + 1
        self.count -= 1
        kept = [(start, stop) for start, stop in ((first, block), (block + 1, end)) if start < stop]
        self._firsts[place : place + 1] = [start for start, _ in kept]
        self._ends[place : place + 1] = [stop for _, stop in kept]
        return block

    def lacking(self, run: Run) -> list[Run]:
        """What of `run` is not in the set."""
        at, end = run[0], run[0] + run[1]
        place = max(0, bisect_right(self._firsts, at) - 1)
        left: list[Run] = []
        while place < len(self._firsts) and self._firsts[place] < end:
            if self._firsts[place] > at:
                left.append((at, self._firsts[place] - at))
            at = max(at, self._ends[place])
            place += 1
        if at < end:
            left.append((at, end - at))
        return left

    def runs(self, limit: int) -> list[Run]:
        """The first `limit` runs in the order in which they are taken."""
        place = max(0, bisect_right(self._firsts, self._at) - 1)
        ahead: list[Run] = []
        for step in range(min(len(self._firsts), limit + 1)):
            at = (place + step) % len(self._firsts)
            first, end = self._firsts[at], self._ends[at]
            if step or first >= self._at:
                ahead.append((first, end - first))
            elif end > self._at:
                ahead.append((self._at, end - self._at))
        if len(ahead) < limit and self._firsts and self._firsts[place] < self._at:
            first = self._firsts[place]
            ahead.append((first, min(self._at, self._ends[place]) - first))
        return ahead[:limit]

    def clear(self) -> None:
        """Nothing waits."""
        self._firsts.clear()
        self._ends.clear()
        self.count = 0
