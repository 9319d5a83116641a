"""Which symbols a session sends: its own starting place among the source symbols, its own lane of repair ESIs.

Two sessions, of one server or of several, that each send a few thousand symbols of a block should share none. Lanes
are places in a circle of 2^32: a server starts at a random one and steps by the golden ratio, which keeps any number of
lanes nearly as far apart as they can be (Knuth, The Art of Computer Programming 3, section 6.4).
"""

from __future__ import annotations

from dataclasses import dataclass

from fountain.limits import ESI_LIMIT

__all__ = ["Lane"]

_CIRCLE = 1 << 32
_GOLDEN_STEP = 2_654_435_769  # 2^32 / golden ratio


@dataclass(frozen=True)
class Lane:
    """`place` (32 bits) decides everything."""

    place: int
    systematic: bool

    @classmethod
    def of_session(cls, base: int, index: int, *, systematic: bool) -> Lane:
        """The lane of a server's `index`-th session, where `base` is the server's own random place."""
        return cls((base + index * _GOLDEN_STEP) % _CIRCLE, systematic)

    def first_source(self, symbol_count: int) -> int:
        """Where among the K source symbols the session starts."""
        return symbol_count * self.place // _CIRCLE

    def first_repair(self, symbol_count: int) -> int:
        """The ESI where the session's repair symbols start."""
        return self.repair(symbol_count, 0, 1)[0]

    def source(self, symbol_count: int, start: int, count: int) -> list[int]:
        """ESIs of the source symbols number start..start+count-1 of the session's order; start + count <= K."""
        first = (self.first_source(symbol_count) + start) % symbol_count
        return _around(first, count, 0, symbol_count)

    def repair(self, symbol_count: int, start: int, count: int) -> list[int]:
        """ESIs of the repair symbols number start..start+count-1 of the session's lane; any ESI if not systematic."""
        base = symbol_count if self.systematic else 0
        span = ESI_LIMIT - base
        first = (span * self.place // _CIRCLE + start) % span
        return _around(first, count, base, span)


def _around(first: int, count: int, base: int, span: int) -> list[int]:
    """`count` numbers from `base` + `first` on, in the circle of `span` numbers that begins at `base`."""
    numbers: list[int] = []
    while count:
        part = min(count, span - first)
        numbers += range(base + first, base + first + part)
        first, count = 0, count - part
    return numbers
