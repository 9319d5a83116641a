"""Dense systems over GF(2), packed in 64-bit words: what peeling leaves of the equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel

__all__ = ["Reduced", "reduce_rows", "spread_bits"]


@dataclass(frozen=True, eq=False)
class Reduced:
    """Reduced echelon form: each settled unknown is a sum of right-hand sides and of free unknowns."""

    accepted: NDArray[np.int32]  # [rank]: the rows that count, by number
    settled: NDArray[np.int64]  # [rank]: unknowns, ascending
    free: NDArray[np.int64]  # the other unknowns
    rows: NDArray[np.int64]  # [rank, 2 words]: of each settled unknown the coefficients, and the accepted rows summed

    @property
    def rank(self) -> int:
        """How many unknowns the rows settle."""
        return len(self.accepted)


def reduce_rows(rows: NDArray[np.int64], unknown_count: int) -> Reduced:
    """Bring `rows`, int64[n, words], the coefficients of `unknown_count` unknowns, to reduced echelon form."""
    system = np.zeros((unknown_count, 2 * rows.shape[1]), dtype=np.int64)
    column_row, accepted = np.empty(unknown_count, dtype=np.int32), np.empty(unknown_count, dtype=np.int32)
    rank = _reduce(rows, unknown_count, system, column_row, accepted)
    settled = np.flatnonzero(column_row >= 0)
    return Reduced(accepted[:rank], settled, np.flatnonzero(column_row < 0), system[column_row[settled]])


def spread_bits(bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[n, 64 words]: one octet, 0 or 1, for each bit of int64[n, words]."""
    words = np.ascontiguousarray(bits, dtype="<i8")
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")


@inlined
def _has(system, row, column):  # type: ignore[no-untyped-def]
    return (system[row, column >> 6] >> (column & 63)) & 1 != 0


@inlined
def _add(system, target, source, first_word):  # type: ignore[no-untyped-def]
    for word in range(first_word, system.shape[1]):
        system[target, word] ^= system[source, word]


@kernel
def _reduce(rows, unknowns, system, column_row, accepted):  # type: ignore[no-untyped-def]
    """Reduced echelon form of `rows`, taken one by one until all unknowns are settled; returns the rank.

    rows int64[n, words]: coefficients. system int64[unknowns, 2 words]: out, row r is the r-th accepted one, reduced:
    its coefficients, and which accepted rows it is the sum of (bit j: the j-th). column_row int32[unknowns]: out, the
    row of `system` that settles a column, or -1. accepted int32[unknowns]: out, where in `rows` the accepted ones are.

    However many rows there are, memory goes with the square of the unknowns.
    """
    words = rows.shape[1]
    rank = np.int64(0)
    for column in range(unknowns):
        column_row[column] = -1
    for index in range(rows.shape[0]):
        if rank == unknowns:
            break
        for word in range(words):
            system[rank, word] = rows[index, word]
            system[rank, words + word] = 0
        system[rank, words + (rank >> 6)] = 1 << (rank & 63)
        pivot = np.int64(-1)
        for column in range(unknowns):
            if _has(system, rank, np.int64(column)):
                if column_row[column] >= 0:
                    _add(system, rank, np.int64(column_row[column]), np.int64(column >> 6))
                elif pivot < 0:
                    pivot = np.int64(column)
        if pivot < 0:
            continue
        for other in range(rank):
            if _has(system, np.int64(other), pivot):
                _add(system, np.int64(other), rank, pivot >> 6)
        column_row[pivot] = rank
        accepted[rank] = index
        rank += 1
    return rank
