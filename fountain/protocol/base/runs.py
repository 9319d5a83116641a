"""A set of block indices kept as ascending runs (first, count), as it travels in Requests and Reports."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

__all__ = ["Run", "Runs", "without"]

Run = tuple[int, int]


def without(run: Run, others: Iterable[Run]) -> list[Run]:
    """What is left of `run` without the blocks of `others`, which may overlap: one pass over them in order."""
    at, end = run[0], run[0] + run[1]
    left = []
    for first, count in sorted(others):
        if first >= end:
            break
        if first > at:
            left.append((at, first - at))
        at = max(at, first + count)
    if at < end:
        left.append((at, end - at))
    return left


class Runs:
    """Grows only: blocks of a session that are verified never become unverified."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        self.count = 0
        for first, length in runs:
            self.add(first, length)

    def __contains__(self, block: int) -> bool:
        at = bisect_right(self._firsts, block) - 1
        return at >= 0 and block < self._ends[at]

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, first: int, length: int = 1) -> None:
        """Add blocks first..first+length-1, joining the runs that they touch."""
        end = first + length
        low = bisect_right(self._firsts, first) - 1
        if low < 0 or self._ends[low] < first:
            low += 1
        high = bisect_right(self._firsts, end)
        joined = range(low, high)
        if joined:
            self.count -= sum(self._ends[at] - self._firsts[at] for at in joined)
            first = min(first, self._firsts[low])
            end = max(end, self._ends[high - 1])
        self._firsts[low:high] = [first]
        self._ends[low:high] = [end]
        self.count += end - first

    def page(self, index: int, size: int) -> tuple[Run, ...]:
        """Page `index` (modulo the number of pages) of `size` runs each."""
        if not self._firsts:
            return ()
        pages = -(-len(self._firsts) // size)
        start = index % pages * size
        return tuple(
            (first, end - first)
            for first, end in zip(self._firsts[start : start + size], self._ends[start : start + size])
        )
