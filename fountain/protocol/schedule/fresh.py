"""The symbols of a stream that goes through its blocks more than once: no symbol is ever sent twice."""

from __future__ import annotations

from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.lane import Lane

__all__ = ["FreshSymbols"]


class FreshSymbols:
    """Repair symbols of all blocks, each block's in the order of `lane`."""

    def __init__(self, lane: Lane, numbers: BlockNumbers) -> None:
        self.lane = lane
        self._numbers = numbers
        self._taken: dict[int, int] = {}  # how many of a block were taken
        self._announced: dict[int, int] = {}  # how many of a block `announce` has named

    def source(self, block: int, start: int, count: int) -> BlockSymbols:
        """Source symbols number `start` to `start + count - 1` of a block, in the stream's order."""
        return block, self.lane.source(self._numbers.symbol_count(block), start, count)

    def take(self, block: int, count: int) -> BlockSymbols:
        """The next `count` repair symbols of a block; any symbols of a code that is not systematic."""
        start = self._taken.get(block, 0)
        self._taken[block] = start + count
        return block, self.lane.repair(self._numbers.symbol_count(block), start, count)

    def taken_count(self, block: int) -> int:
        """How many repair symbols of a block were taken."""
        return self._taken.get(block, 0)

    def announce(self, block: int, count: int) -> BlockSymbols | None:
        """Those of the next `count` repair symbols of a block that were not named before; None if all were."""
        start = self._taken.get(block, 0)
        first, end = max(self._announced.get(block, 0), start), start + count
        if end <= first:
            return None
        self._announced[block] = end
        return block, self.lane.repair(self._numbers.symbol_count(block), first, end - first)
