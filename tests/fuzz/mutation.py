"""Octets made of other octets: what somebody sends who knows the format and means harm."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["mutated"]

_EXTREMES = [
    value.to_bytes(size, "big")
    for size in (1, 2, 4, 8)
    for value in (0, 1, (1 << (8 * size - 1)) - 1, 1 << (8 * size - 1), (1 << 8 * size) - 1)
]


def mutated(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds` with one to four changes; seldom anything at all."""
    kind = draw.random()
    if kind < 0.02:
        return draw.randbytes(draw.randrange(200))
    octets = bytearray(draw.choice(seeds))
    for _ in range(1 if kind < 0.7 else draw.randint(2, 4)):
        _change(draw, octets, seeds)
    return bytes(octets)


def _change(draw: random.Random, octets: bytearray, seeds: Sequence[bytes]) -> None:
    at = draw.randrange(len(octets) + 1)
    kind = draw.randrange(10)
    if kind < 3 and at < len(octets):
        octets[at] ^= 1 << draw.randrange(8)
    elif kind < 5 and at < len(octets):
        octets[at] = draw.randrange(256)
    elif kind < 7:
        extreme = draw.choice(_EXTREMES)
        octets[at : at + len(extreme)] = extreme[: len(octets) - at]
    elif kind == 7:
        other = draw.choice(seeds)
        begin = draw.randrange(len(other) + 1)
        octets[at : at + draw.randrange(40)] = other[begin : begin + draw.randrange(40)]
    elif kind == 8:
        del octets[at:]
    else:
        octets += draw.randbytes(draw.randrange(1, 20))
