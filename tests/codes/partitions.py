"""Objects as RFC 6330 section 4.4 lays them out: several source blocks (Z) and sub-blocks (N), and their 12-octet OTI.

The product announces its geometry in records of its own and always has N = 1, where a sub-block is the block. Foreign
objects need not: these helpers, written from the RFC's text, bring them to the codec, which never hears of sub-blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.tables import SYSTEMATIC_INDICES
from fountain.geometry import partition

DECODER_MEMORY_SIZE = 10 << 20  # WS of section 4.3, as the foreign implementations have it


class ObjectInformation(NamedTuple):
    """F, T, Z, N and Al (section 3.3)."""

    object_size: int
    symbol_size: int
    block_count: int
    sub_block_count: int
    alignment: int

    @classmethod
    def parse(cls, octets: bytes) -> ObjectInformation:
        """F 40 bits, 8 reserved, T 16, Z 8, N 16, Al 8 (sections 3.3.2 and 3.3.3)."""
        assert len(octets) == 12
        cuts = (octets[:5], octets[6:8], octets[8:9], octets[9:11], octets[11:])
        return cls(*(int.from_bytes(cut, "big") for cut in cuts))

    def pack(self) -> bytes:
        """The 12 octets."""
        widths = (6, 2, 1, 2, 1)
        parts = [value.to_bytes(width, "big") for value, width in zip(self, widths)]
        return parts[0][1:] + b"\0" + b"".join(parts[1:])


def default_information(object_size: int, packet_size: int) -> ObjectInformation:
    """Section 4.3 with P' = `packet_size`, WS = 10 MiB, and Al = SS = 8, or 1 for packets below 64 octets."""
    alignment = 8 if packet_size >= 64 else 1
    size = packet_size - packet_size % alignment
    total = -(-object_size // size)
    sub_block_count_max = size // (alignment * alignment)  # SS = Al: sub-symbols have SS * Al octets or more
    extended = [row[0] for row in SYSTEMATIC_INDICES]

    def largest(sub_blocks: int) -> int:
        """KL(n): the largest K' that fits the memory in `sub_blocks` sub-blocks."""
        limit = DECODER_MEMORY_SIZE // (alignment * -(-size // (alignment * sub_blocks)))
        return max(count for count in extended if count <= limit)

    blocks = -(-total // largest(sub_block_count_max))
    in_block = -(-total // blocks)
    sub_blocks = next(n for n in range(1, sub_block_count_max + 1) if in_block <= largest(n))
    return ObjectInformation(object_size, size, blocks, sub_blocks, alignment)


def source_blocks(data: bytes, information: ObjectInformation) -> list[NDArray[np.uint8]]:
    """The source symbols of every block, uint8[K, T] (section 4.4.1.2).

    Symbol m of a block is sub-symbol m of each of its sub-blocks in turn.
    """
    _, size, block_count, sub_block_count, alignment = information
    total = -(-len(data) // size)
    octets = np.zeros(total * size, dtype=np.uint8)
    octets[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    long_count, short_count, long_blocks, _ = partition(total, block_count)
    wide, narrow, wide_count, _ = partition(size // alignment, sub_block_count)
    blocks = []
    first = 0
    for number in range(block_count):
        count = long_count if number < long_blocks else short_count
        parts = []
        for sub_block in range(sub_block_count):
            width = alignment * (wide if sub_block < wide_count else narrow)
            parts.append(octets[first : first + count * width].reshape(count, width))
            first += count * width
        blocks.append(np.concatenate(parts, axis=1))
    return blocks


def joined(blocks: list[NDArray[np.uint8]], information: ObjectInformation) -> bytes:
    """The object again: the inverse of `source_blocks`."""
    _, size, _, sub_block_count, alignment = information
    wide, narrow, wide_count, narrow_count = partition(size // alignment, sub_block_count)
    widths = [alignment * wide] * wide_count + [alignment * narrow] * narrow_count
    ends = np.cumsum(widths)[:-1]
    data = b"".join(part.tobytes() for block in blocks for part in np.split(block, ends, axis=1))
    return data[: information.object_size]
