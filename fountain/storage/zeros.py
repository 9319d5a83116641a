"""The blocks of an object that hold nothing but zeros: known by their digests, so that nobody has to be sent them."""

from __future__ import annotations

import numpy as np
from blake3 import blake3

from fountain.wire.manifest import DIGEST_SIZE, Manifest

__all__ = ["zero_blocks"]


def zero_blocks(manifest: Manifest) -> list[int]:
    """Their numbers, ascending."""
    geometry = manifest.geometry
    count = geometry.block_count
    digests = np.frombuffer(manifest.digests, dtype=np.uint8).reshape(-1, DIGEST_SIZE)
    found: list[int] = []
    # Blocks have one of two sizes, but for the last.
    for size in {geometry.block_size(block) for block in (0, count - 2, count - 1) if 0 <= block < count}:
        zero = np.frombuffer(blake3(bytes(size)).digest(), dtype=np.uint8)
        equal = np.flatnonzero((digests == zero).all(axis=1)).tolist()
        found += [block for block in equal if geometry.block_size(block) == size]
    return sorted(found)
