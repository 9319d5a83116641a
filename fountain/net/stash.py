"""Where received datagrams wait when they did not fit the train that was being gathered."""

from __future__ import annotations

from collections import deque

from fountain.limits import SEGMENT_COUNT_MAX
from fountain.net.address import Address
from fountain.net.train import Train

__all__ = ["Stash"]

_ENTRY_SIZE = 256  # What an entry takes besides its octets.


class Stash:
    """A queue of what system calls brought; it is handed out before anything else is received.

    Its limit is what one system call brings: at most SEGMENT_COUNT_MAX entries of at most 64 KiB. What is put aside
    while a train is gathered is less, and nothing else is received while anything waits.
    """

    __slots__ = ("_entries", "_start", "size", "view")

    def __init__(self) -> None:
        self.view = memoryview(bytearray(1 << 16))
        self._entries: deque[tuple[bytes, int, Address]] = deque()
        self._start = 0  # in the first entry: what stands before has been taken
        self.size = 0  # octets of all entries, and some for each

    @property
    def waiting(self) -> bool:
        """Whether `take` would give anything."""
        return bool(self._entries)

    def keep(self, length: int, segment_size: int, address: Address) -> None:
        """`view[:length]` has just been written by the caller, and waits for `take` behind what waits already."""
        self._entries.append((bytes(self.view[:length]), segment_size, address))
        self.size += length + _ENTRY_SIZE

    def take(self, train: Train) -> bool:
        """Fill `train` with what waits and belongs together, as much as a train may hold; False when nothing waits."""
        if not self._entries:
            return False
        octets, train.segment_size, train.address = self._entries[0]
        train.length = 0
        self._append(train, octets, SEGMENT_COUNT_MAX * train.segment_size)
        while self._entries and train.has_room:
            octets, segment_size, address = self._entries[0]
            if address != train.address or not 0 < segment_size == len(octets) <= train.segment_size:
                break
            self._append(train, octets, segment_size)
        return True

    def _append(self, train: Train, octets: bytes, limit: int) -> None:
        """Move as much of the first entry as the train may hold to the end of the train."""
        length = min(len(octets) - self._start, limit)
        train.view[train.length : train.length + length] = octets[self._start : self._start + length]
        train.length += length
        self._start += length
        if self._start == len(octets):
            self._entries.popleft()
            self._start = 0
            self.size -= len(octets) + _ENTRY_SIZE
