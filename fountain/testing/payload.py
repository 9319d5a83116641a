"""Content that is a function of its offset: a wrong octet shows where it should have been."""

from __future__ import annotations

import numpy as np

__all__ = ["payload"]


def payload(size: int, seed: int = 0) -> bytes:
    """`size` octets; octet i depends on i and `seed` alone (the finalizer of SplitMix64 over the counter)."""
    with np.errstate(over="ignore"):
        word = np.arange(-(-size // 8), dtype=np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    octets: bytes = (word ^ (word >> np.uint64(31))).tobytes()
    return octets[:size]
