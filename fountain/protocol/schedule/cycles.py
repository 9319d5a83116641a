"""Blocks that wait for their cycle: a set that is gone through upwards, again and again.

A block that is asked for again just after it was sent waits until all others have had their turn. All costs are those
of the intervals that are touched.
"""

from __future__ import annotations

from bisect import bisect_right

from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.runs import Run, Runs
from fountain.wire.session import MANIFEST_BIT

__all__ = ["BlockQueue", "CycleQueue"]


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


class CycleQueue:
    """The blocks of an object and of its manifest that wait for a cycle; `whole`: all of them, from the start."""

    def __init__(self, numbers: BlockNumbers, *, whole: bool) -> None:
        self._manifest, self._object = BlockQueue(), BlockQueue()
        self._askers: set[bytes] = set()  # receivers that asked for blocks of the object
        self._begun: set[int] = set()  # blocks that had a cycle, or have one
        if whole and numbers.manifest.block_count:
            self._manifest.add(MANIFEST_BIT, numbers.manifest.block_count)
        if whole and numbers.geometry.block_count:
            self._object.add(0, numbers.geometry.block_count)

    def __bool__(self) -> bool:
        return bool(self._manifest or self._object)

    def __contains__(self, block: int) -> bool:
        return block in self._of(block)

    def has_begun(self, block: int) -> bool:
        """Whether a block has had a cycle, or has one."""
        return block in self._begun

    def note_asker(self, peer_id: bytes) -> None:
        """A receiver asks for blocks. Once all askers are released, nobody waits for the object's blocks."""
        self._askers.add(peer_id)

    def want(self, run: Run) -> bool:
        """Let the blocks of a run wait for a cycle; whether any of them did not yet."""
        queue = self._of(run[0])
        lacking = queue.lacking(run)
        for first, count in lacking:
            queue.add(first, count)
        return bool(lacking)

    def release(self, peer_id: bytes) -> None:
        """A receiver takes no part any more."""
        self._askers.discard(peer_id)
        if not self._askers:
            self._object.clear()  # A receiver that relied on another's report asks for itself.

    def pop(self, *, may_repeat: bool) -> int | None:
        """The next block, the manifest's first; None if none waits.

        Unless `may_repeat`, blocks of the manifest that had a cycle wait for those of the object.
        """
        queue = self._manifest or self._object
        if not queue:
            return None
        block = queue.pop()
        if block & MANIFEST_BIT and block in self._begun and not may_repeat and self._object:
            self._manifest.add(block)
            return self._object.pop()
        return block

    def begin(self, block: int) -> None:
        """The cycle of a block begins."""
        self._begun.add(block)

    def runs(self, limit: int) -> list[Run]:
        """The first `limit` runs in the order in which they are taken."""
        return [*self._manifest.runs(limit), *self._object.runs(limit)][:limit]

    def _of(self, block: int) -> BlockQueue:
        return self._manifest if block & MANIFEST_BIT else self._object
