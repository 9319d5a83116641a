"""The robust soliton distribution (Luby, "LT Codes", FOCS 2002, definition 11), as integers.

With R = c ln(K / delta) sqrt(K) and the spike at s = K / R, rounded to the nearest integer (half to even), at least 1
and at most (K + 1) // 2, the weight of degree d is

    rho(1) = 1 / K,  rho(d) = 1 / (d (d - 1)) for d = 2 .. K
    tau(d) = R / (d K) for d < s,  tau(s) = R ln(R / delta) / K (at least 0),  tau(d) = 0 above

and its probability is its share of all weights. (Luby has no bound for s but K. It matters for K below 15, where the
spike would be at rows of nearly all symbols, of which there are too few.)

Both sides must get the very same thresholds, whatever their processor and C library: they are computed with 40 decimal
digits (Python's `decimal` rounds logarithms correctly) and cut to 32 bits. All of this is frozen by the profile id, and
`tests/codes/test_lt_rows.py` has golden values.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["DELTA", "SYMBOL_COUNT_MAX", "C", "degree_thresholds", "spike_degree"]

C = Decimal("0.05")
DELTA = Decimal("0.001")

# Elimination of what peeling leaves takes time with the cube of its size, which grows with K; beyond this RaptorQ is
# the better tool. More than a block of the largest size has at the default MTU (11,915).
SYMBOL_COUNT_MAX = 16_384

_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)
_CACHED_COUNTS = 16


def _ripple(symbol_count: int) -> Decimal:
    """R: how many rows of degree one are expected at any time of the peeling."""
    count = Decimal(symbol_count)
    return C * (count / DELTA).ln() * count.sqrt()


def spike_degree(symbol_count: int) -> int:
    """The degree that gets the extra weight."""
    with localcontext(_CONTEXT):
        spike = int((symbol_count / _ripple(symbol_count)).to_integral_value())
        return max(1, min(spike, (symbol_count + 1) // 2))


@lru_cache(maxsize=_CACHED_COUNTS)
def degree_thresholds(symbol_count: int) -> NDArray[np.int64]:
    """int64[K]: a row has the smallest degree d whose thresholds[d - 1] is above its 32-bit draw; the last is 2^32.

    Raises:
        ValueError: K is outside 1..SYMBOL_COUNT_MAX.
    """
    if not 1 <= symbol_count <= SYMBOL_COUNT_MAX:
        raise ValueError(f"symbol count {symbol_count} is outside 1..{SYMBOL_COUNT_MAX}")
    spike = spike_degree(symbol_count)
    with localcontext(_CONTEXT):
        ripple = _ripple(symbol_count)
        total = Decimal(0)
        sums = []
        for degree in range(1, symbol_count + 1):
            total += Decimal(1) / (degree * (degree - 1)) if degree > 1 else Decimal(1) / symbol_count
            if degree < spike:
                total += ripple / (degree * symbol_count)
            elif degree == spike:
                total += max(Decimal(0), ripple * (ripple / DELTA).ln() / symbol_count)
            sums.append(total)
        scale = (1 << 32) / total
        thresholds = np.array([int(value * scale) for value in sums], dtype=np.int64)
    thresholds[-1] = 1 << 32
    thresholds.setflags(write=False)
    return thresholds
