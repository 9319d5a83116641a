"""A train: datagrams of one size, to or from one address, end to end in one buffer.

All segments have `segment_size` octets; the last one may be shorter. This is what a few segmented system calls send
and a few coalesced ones receive, and what one kernel packs or parses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fountain.limits import SEGMENT_COUNT_MAX, TRAIN_SIZE_MAX
from fountain.net.address import UNSPECIFIED, Address

__all__ = ["Train"]

_CAPACITY = TRAIN_SIZE_MAX


class Train:
    """One reusable buffer of segments. `octets` and `view` are the same memory, as an array and as a memoryview.

    A received train has at most SEGMENT_COUNT_MAX segments. An empty datagram makes a train without segments.
    """

    __slots__ = ("address", "length", "octets", "segment_size", "view")

    def __init__(self) -> None:
        self.octets: NDArray[np.uint8] = np.zeros(_CAPACITY, dtype=np.uint8)
        self.view = memoryview(self.octets.data)
        self.length = 0
        self.segment_size = 0
        self.address: Address = UNSPECIFIED

    @property
    def segment_count(self) -> int:
        """Datagrams in the train, a shorter last one included."""
        return -(-self.length // self.segment_size) if self.length else 0

    @property
    def has_room(self) -> bool:
        """Whether another segment may follow: the last one is full, and neither limit of a train is reached."""
        size = self.segment_size
        return (
            0 < size <= self.length < SEGMENT_COUNT_MAX * size
            and self.length + size <= TRAIN_SIZE_MAX
            and self.length % size == 0
        )

    def rows(self) -> NDArray[np.uint8]:
        """The full segments as uint8[n, segment_size], a view; `remainder` has what is left."""
        size = self.segment_size
        if not size:
            return self.octets[:0].reshape(0, 1)
        count = self.length // size
        return self.octets[: count * size].reshape(count, size)

    @property
    def remainder(self) -> memoryview:
        """The last segment where it is shorter than the others; empty where all are full."""
        full = self.length - self.length % self.segment_size if self.segment_size else 0
        return self.view[full : self.length]

    def segments(self) -> Iterator[memoryview]:
        """Every segment in order, as views that are valid until the train is used again."""
        for start in range(0, self.length, self.segment_size or 1):
            yield self.view[start : min(start + self.segment_size, self.length)]

    def lay_out(self, segment_count: int, segment_size: int) -> NDArray[np.uint8]:
        """Make this a train of `segment_count` full segments and return its rows, to be written by the caller.

        Raises:
            ValueError: the train would exceed SEGMENT_COUNT_MAX segments or TRAIN_SIZE_MAX octets (one segment may).
        """
        length = segment_count * segment_size
        too_long = length > TRAIN_SIZE_MAX and segment_count > 1
        if not 0 <= segment_count <= SEGMENT_COUNT_MAX or segment_size < 1 or too_long or length > _CAPACITY:
            raise ValueError(f"a train cannot hold {segment_count} segments of {segment_size} octets")
        self.length = length
        self.segment_size = segment_size
        return self.rows()
