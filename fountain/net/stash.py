"""Where a received datagram waits when it did not fit the train that was being gathered."""

from __future__ import annotations

from fountain.net.address import UNSPECIFIED, Address
from fountain.net.train import SEGMENT_COUNT_MAX, Train

__all__ = ["Stash"]


class Stash:
    """Room for the segments of one system call; they are handed out before anything else is received."""

    __slots__ = ("_address", "_segment_size", "_start", "_stop", "view", "waiting")

    def __init__(self) -> None:
        self.view = memoryview(bytearray(1 << 16))
        self._start = 0
        self._stop = 0
        self._segment_size = 0
        self._address: Address = UNSPECIFIED
        self.waiting = False

    def keep(self, length: int, segment_size: int, address: Address) -> None:
        """`view[:length]` has just been written by the caller, and waits for `take`."""
        self._start = 0
        self._stop = length
        self._segment_size = segment_size
        self._address = address
        self.waiting = True

    def take(self, train: Train) -> bool:
        """Fill `train` with what waits, as much as a train may hold; False when nothing waits."""
        if not self.waiting:
            return False
        length = min(self._stop - self._start, SEGMENT_COUNT_MAX * self._segment_size)
        train.view[:length] = self.view[self._start : self._start + length]
        train.length = length
        train.segment_size = self._segment_size
        train.address = self._address
        self._start += length
        self.waiting = self._start < self._stop
        return True
