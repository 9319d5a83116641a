"""Object -> blocks -> symbols: pure arithmetic, after RFC 6330 section 4.4.1.

An object of `object_size` octets is cut into Kt = ceil(object_size / T) symbols of T octets (the last one padded
with zeros), and the symbols into Z blocks of nearly equal size by the RFC's Partition[Kt, Z]: the first ZL blocks
have KL symbols, the others KS = KL - 1. Symbols of one block are contiguous in the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fountain.limits import (
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    BLOCK_SYMBOL_COUNT_DEFAULT,
    BLOCK_SYMBOL_COUNT_MAX,
    DATA_OVERHEAD_SIZE,
    IP_UDP_OVERHEAD_SIZE,
    MTU_MAX,
    MTU_MIN,
    OBJECT_SIZE_MAX,
    SYMBOL_SIZE_MAX,
)

__all__ = ["Geometry", "block_symbol_limit", "is_limit_plausible", "partition", "symbol_size_for_mtu"]


def partition(total: int, parts: int) -> tuple[int, int, int, int]:
    """RFC 6330 section 4.4.1: Partition[I, J] -> (IL, IS, JL, JS) with JL * IL + JS * IS = I."""
    large = -(-total // parts)
    small = total // parts
    large_count = total - small * parts
    return large, small, large_count, parts - large_count


def symbol_size_for_mtu(mtu: int) -> int:
    """The largest symbol size T in octets whose packet fits `mtu` over IPv4 and IPv6: a multiple of 64, for registers.

    Raises:
        ValueError: `mtu` is outside MTU_MIN..MTU_MAX.
    """
    if not MTU_MIN <= mtu <= MTU_MAX:
        raise ValueError(f"mtu {mtu} is outside {MTU_MIN}..{MTU_MAX}")
    room = min(mtu - IP_UDP_OVERHEAD_SIZE - DATA_OVERHEAD_SIZE, SYMBOL_SIZE_MAX)
    return room - room % 64


def block_symbol_limit(object_size: int, symbol_size: int) -> int:
    """The largest K for an object's blocks: the default, or more where the object would have too many blocks.

    Raises:
        ValueError: the object does not fit BLOCK_COUNT_MAX blocks of BLOCK_SIZE_MAX octets.
    """
    largest = max(1, min(BLOCK_SYMBOL_COUNT_MAX, BLOCK_SIZE_MAX // symbol_size))
    limit = min(BLOCK_SYMBOL_COUNT_DEFAULT, largest)
    while -(-object_size // (limit * symbol_size)) > BLOCK_COUNT_MAX:
        if limit == largest:
            raise ValueError(f"an object of {object_size} octets is too large for symbols of {symbol_size} octets")
        limit = min(2 * limit, largest)
    return limit


def is_limit_plausible(object_size: int, symbol_size: int, limit: int) -> bool:
    """Whether a sender may have chosen `limit` as its largest K: `block_symbol_limit` never gives more.

    Less may be chosen, for a code that takes less. More would cost a receiver time and memory that the object does not.

    Raises:
        ValueError: the object does not fit BLOCK_COUNT_MAX blocks of BLOCK_SIZE_MAX octets.
    """
    return limit <= max(BLOCK_SYMBOL_COUNT_DEFAULT, block_symbol_limit(object_size, symbol_size))


@dataclass(frozen=True)
class Geometry:
    """How one object is cut. `block_symbol_limit` is the largest K that a block may have.

    Raises:
        ValueError: a field is out of range; a Geometry that exists is always sound.
    """

    object_size: int
    symbol_size: int
    block_symbol_limit: int

    def __post_init__(self) -> None:
        if not 0 <= self.object_size <= OBJECT_SIZE_MAX:
            raise ValueError(f"object size {self.object_size} is outside 0..{OBJECT_SIZE_MAX}")
        if not 1 <= self.symbol_size <= SYMBOL_SIZE_MAX:
            raise ValueError(f"symbol size {self.symbol_size} is outside 1..{SYMBOL_SIZE_MAX}")
        if not 1 <= self.block_symbol_limit <= BLOCK_SYMBOL_COUNT_MAX:
            raise ValueError(f"block symbol limit {self.block_symbol_limit} is outside 1..{BLOCK_SYMBOL_COUNT_MAX}")
        if self.block_symbol_limit * self.symbol_size > max(BLOCK_SIZE_MAX, self.symbol_size):
            raise ValueError(f"blocks of {self.block_symbol_limit} x {self.symbol_size} octets are too large")
        if self.block_count > BLOCK_COUNT_MAX:
            raise ValueError(f"{self.block_count} blocks are more than {BLOCK_COUNT_MAX}")

    @cached_property
    def symbol_count(self) -> int:
        """Kt: source symbols in the whole object (0 for an empty object)."""
        return -(-self.object_size // self.symbol_size)

    @cached_property
    def block_count(self) -> int:
        """Z: number of blocks (0 for an empty object)."""
        return -(-self.symbol_count // self.block_symbol_limit)

    @cached_property
    def _partition(self) -> tuple[int, int, int, int]:
        return partition(self.symbol_count, self.block_count)

    @property
    def block_symbols_max(self) -> int:
        """KL: source symbols in the largest block (0 for an empty object)."""
        return self._partition[0] if self.block_count else 0

    def block_symbols(self, block: int) -> int:
        """K of block `block`."""
        self._check(block)
        large, small, large_count, _ = self._partition
        return large if block < large_count else small

    def block_offset(self, block: int) -> int:
        """Octet offset of block `block` in the object."""
        self._check(block)
        large, small, large_count, _ = self._partition
        first_symbol = block * large if block < large_count else large_count * large + (block - large_count) * small
        return first_symbol * self.symbol_size

    def block_at(self, offset: int) -> int:
        """The block that holds octet `offset` of the object."""
        if not 0 <= offset < self.object_size:
            raise ValueError(f"octet {offset} is outside 0..{self.object_size - 1}")
        large, small, large_count, _ = self._partition
        symbol = offset // self.symbol_size
        if symbol < large_count * large:
            return symbol // large
        return large_count + (symbol - large_count * large) // small

    def block_size(self, block: int) -> int:
        """Octets of the object in block `block`, without the padding of the last symbol."""
        return min(self.block_symbols(block) * self.symbol_size, self.object_size - self.block_offset(block))

    def _check(self, block: int) -> None:
        if not 0 <= block < self.block_count:
            raise ValueError(f"block {block} is outside 0..{self.block_count - 1}")
