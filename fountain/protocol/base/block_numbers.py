"""Numbers of blocks, as packets have them: those of the object, and with MANIFEST_BIT those of its manifest."""

from __future__ import annotations

from dataclasses import dataclass

from fountain.geometry import Geometry
from fountain.wire.session import MANIFEST_BIT

__all__ = ["BlockNumbers"]


@dataclass(frozen=True)
class BlockNumbers:
    """Which blocks an object and its manifest have. A number is never negative; any other may have come in a packet."""

    geometry: Geometry
    manifest: Geometry

    def __contains__(self, block: int) -> bool:
        """Whether there is a block of that number."""
        return block & ~MANIFEST_BIT < self._cut(block).block_count

    def symbol_count(self, block: int) -> int:
        """K of a block.

        Raises:
            ValueError: there is no such block.
        """
        return self._cut(block).block_symbols(block & ~MANIFEST_BIT)

    def block_count(self, block: int) -> int:
        """How many blocks are numbered in the way of `block`, be it there or not: the object's, or the manifest's."""
        return self._cut(block).block_count

    def _cut(self, block: int) -> Geometry:
        return self.manifest if block & MANIFEST_BIT else self.geometry
