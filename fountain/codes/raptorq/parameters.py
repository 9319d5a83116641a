"""The numbers that RFC 6330 derives from K: section 5.6 (Table 2) and section 5.3.3.3, letters as there."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.tables import SYSTEMATIC_INDICES

__all__ = ["Parameters", "extended_symbol_count", "parameters_for"]

_EXTENDED_COUNTS = [row[0] for row in SYSTEMATIC_INDICES]


@dataclass(frozen=True)
class Parameters:
    """One row of Table 2 and what follows from it.

    K' source symbols (K real ones, then padding of zeros), S LDPC and H HDPC rows, L = K' + S + H intermediate symbols,
    of which the first W are LT symbols (B of them not LDPC symbols) and the last P = L - W are PI symbols. P1 is the
    smallest prime >= P (which is P itself in 99 rows of the table).
    """

    K_prime: int
    J: int
    S: int
    H: int
    W: int
    L: int
    P: int
    P1: int
    B: int

    @cached_property
    def array(self) -> NDArray[np.int64]:
        """K', J, S, H, W, L, P, P1, B for kernels, in this order."""
        values = [self.K_prime, self.J, self.S, self.H, self.W, self.L, self.P, self.P1, self.B]
        return np.array(values, dtype=np.int64)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def extended_symbol_count(symbol_count: int) -> int:
    """K': the smallest entry of Table 2 that is at least K.

    Raises:
        ValueError: K is outside 1..56403.
    """
    if not 1 <= symbol_count <= _EXTENDED_COUNTS[-1]:
        raise ValueError(f"symbol count {symbol_count} is outside 1..{_EXTENDED_COUNTS[-1]}")
    return _EXTENDED_COUNTS[bisect_left(_EXTENDED_COUNTS, symbol_count)]


def parameters_for(symbol_count: int) -> Parameters:
    """The parameters for K source symbols.

    Raises:
        ValueError: K is outside 1..56403.
    """
    return _parameters_of_row(bisect_left(_EXTENDED_COUNTS, extended_symbol_count(symbol_count)))


@lru_cache(maxsize=len(SYSTEMATIC_INDICES))
def _parameters_of_row(row: int) -> Parameters:
    k_prime, j, s, h, w = SYSTEMATIC_INDICES[row]
    total = k_prime + s + h
    p = total - w
    p1 = p
    while not _is_prime(p1):
        p1 += 1
    return Parameters(k_prime, j, s, h, w, total, p, p1, w - s)
