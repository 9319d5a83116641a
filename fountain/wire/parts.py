"""Data packets in parts, for a path that does not take them whole; and from parts to data packets again.

    offset  size  field, big-endian
    0       1     version (high nibble, 1) and type (low nibble, 0xE)
    1       1     index of the part, from 0
    2       1     part count, 2 .. 64
    3       1     zero
    4       12    session id and sequence number: octets 4 to 15 of the data packet
    16      R     the packet's octets from R * index on; R is its size / part count, rounded up

Zeros fill the last part: all of a session have one size, so that they travel in trains. A packet that lacks a part is
lost. Whether it is authentic shows when it is whole.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from fountain.limits import PART_COUNT_MAX, PART_HEADER_SIZE

__all__ = ["PART_FIRST_OCTET", "PART_MEMORY_SIZE_MAX", "Joiner", "part_count_for", "part_size", "split"]

Rows = NDArray[np.uint8]

PART_FIRST_OCTET = 0x1E
PART_MEMORY_SIZE_MAX = 1 << 20  # Packets that lack parts: a reordering of some 700 default ones.
_PENDING_COUNT_MIN = 16  # of the largest packets
_KEY = slice(4, 16)


def part_size(packet_size: int, part_count: int) -> int:
    """Octets of each datagram of a packet in so many parts; the packet's own where it is whole."""
    return packet_size if part_count == 1 else PART_HEADER_SIZE + -(-packet_size // part_count)


def part_count_for(packet_size: int, datagram_size_max: int) -> int:
    """In how many parts a packet has to come where no larger datagrams do (0: any do), at most PART_COUNT_MAX."""
    if not 0 < datagram_size_max < packet_size:
        return 1
    room = max(1, datagram_size_max - PART_HEADER_SIZE)
    return min(PART_COUNT_MAX, -(-packet_size // room))


def split(rows: Rows, part_count: int, out: Rows) -> None:
    """The packets `rows`, uint8[n, S], in `part_count` parts each: `out` is uint8[n * part_count, part_size].

    Raises:
        ValueError: a shape does not fit.
    """
    count, size = rows.shape
    if out.shape != (count * part_count, part_size(size, part_count)):
        raise ValueError(f"{rows.shape} in {part_count} parts each does not fit {out.shape}")
    parts = out.reshape(count, part_count, -1)
    parts[:, :, 0] = PART_FIRST_OCTET
    parts[:, :, 1] = np.arange(part_count)
    parts[:, :, 2] = part_count
    parts[:, :, 3] = 0
    parts[:, :, _KEY] = rows[:, None, _KEY]
    room = out.shape[1] - PART_HEADER_SIZE
    for index in range(part_count):
        octets = rows[:, index * room : (index + 1) * room]
        parts[:, index, PART_HEADER_SIZE : PART_HEADER_SIZE + octets.shape[1]] = octets
        parts[:, index, PART_HEADER_SIZE + octets.shape[1] :] = 0


class Joiner:
    """Puts packets of `packet_size` octets together again; those that lack a part for long make room for others."""

    def __init__(self, packet_size: int) -> None:
        self.malformed_count = 0
        self.packet_size = packet_size
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()
        self._pending_count_max = max(_PENDING_COUNT_MIN, PART_MEMORY_SIZE_MAX // packet_size)

    @property
    def pending_count(self) -> int:
        """Packets that lack parts."""
        return len(self._pending)

    def join(self, rows: Rows) -> Rows:
        """uint8[m, packet_size]: the packets that are whole with the parts in `rows`, uint8[n, part size]."""
        if rows.shape[1] <= PART_HEADER_SIZE:
            self.malformed_count += len(rows)
            return np.empty((0, self.packet_size), dtype=np.uint8)
        good = (rows[:, 0] == PART_FIRST_OCTET) & (rows[:, 1] < rows[:, 2]) & (rows[:, 3] == 0)
        good &= (rows[:, 2] >= 2) & (rows[:, 2] <= PART_COUNT_MAX)
        room = rows.shape[1] - PART_HEADER_SIZE
        good &= -(-self.packet_size // np.maximum(rows[:, 2], 1).astype(np.int64)) == room
        if good.all() and len(rows) and self._is_in_order(rows, int(rows[0, 2])):
            bodies = rows[:, PART_HEADER_SIZE:]
            packets: Rows = bodies.reshape(len(rows) // int(rows[0, 2]), -1)[:, : self.packet_size].copy()
            return packets
        self.malformed_count += int(len(rows) - good.sum())
        whole = [packet for row in rows[good] if (packet := self._add(row, int(row[2]))) is not None]
        return np.array(whole, dtype=np.uint8).reshape(len(whole), self.packet_size)

    def _is_in_order(self, rows: Rows, part_count: int) -> bool:
        """Whether these are all parts of each packet, one after the other: what a train that lost nothing has."""
        if len(rows) % part_count or (rows[:, 2] != part_count).any():
            return False
        groups = rows.reshape(len(rows) // part_count, part_count, -1)
        in_order = (groups[:, :, 1] == np.arange(part_count)).all()
        return bool(in_order and (groups[:, :, _KEY] == groups[:, :1, _KEY]).all())

    def _add(self, row: Rows, part_count: int) -> Rows | None:
        """One part; the packet, if that makes it whole."""
        key = row[_KEY].tobytes()
        pending = self._pending.get(key)
        if pending is None or pending.part_count != part_count:
            while len(self._pending) >= self._pending_count_max:
                self._pending.popitem(last=False)
            pending = self._pending[key] = _Pending(part_count, len(row) - PART_HEADER_SIZE)
        if not pending.add(int(row[1]), row[PART_HEADER_SIZE:]):
            return None
        del self._pending[key]
        octets: Rows = pending.octets[: self.packet_size]
        return octets


class _Pending:
    """A packet that lacks parts."""

    __slots__ = ("_lacking", "octets", "part_count")

    def __init__(self, part_count: int, room: int) -> None:
        self.part_count = part_count
        self.octets: Rows = np.zeros(part_count * room, dtype=np.uint8)
        self._lacking = set(range(part_count))

    def add(self, index: int, octets: Rows) -> bool:
        """Put part `index` in its place, unless it is there; whether the packet is whole."""
        if index in self._lacking:
            self._lacking.remove(index)
            self.octets[index * len(octets) : (index + 1) * len(octets)] = octets
        return not self._lacking
