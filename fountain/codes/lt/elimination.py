"""What peeling leaves: equations over the inactive columns alone, taken in one at a time and kept between attempts.

A row that is not a pivot, with its pivot columns substituted, says: the sum of some inactive columns equals the row's
own right-hand side. `take` reduces each new row by those that are there; it either settles one more column or
follows from the others and is dropped. An attempt that came too early thus costs only its new rows later.

`system` int64[u + 1, 2 words]: row c, where it is there, begins at column c; its first half has the coefficients, its
second half which accepted rows were added (bit j: the j-th accepted one). The last row is scratch. `shares` then brings
the accepted rows to the identity, after which the second half of row c says what inactive column c is the sum of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.codes.solver.equations import Equations
from fountain.codes.solver.gather import GatherLists
from fountain.codes.solver.peel import Peeled
from fountain.codes.solver.reduce import spread_bits

__all__ = ["Elimination"]


class Elimination:
    """The inactive columns of a block that was peeled, as far as the equations taken in settle them."""

    def __init__(self, peeled: Peeled, gather: GatherLists) -> None:
        self.peeled = peeled
        self.gather = gather
        unknowns = peeled.inactive_count
        self._system = np.zeros((unknowns + 1, 2 * gather.bits.shape[1]), dtype=np.int64)
        self._settled = np.zeros(unknowns, dtype=np.uint8)
        self._accepted = np.empty(unknowns, dtype=np.int32)
        self._rank = 0

    @property
    def accepted(self) -> NDArray[np.int32]:
        """The equations that settle columns, in the order in which they were taken in."""
        return self._accepted[: self._rank]

    @property
    def missing_count(self) -> int:
        """How many columns are not settled yet."""
        return len(self._accepted) - self._rank

    def take(self, equations: Equations, rows: NDArray[np.int32]) -> None:
        """Take in some of the equations, none of which is a pivot or was taken in before."""
        self._rank = _take_rows(
            *equations, self.peeled.column_rank, self.gather.bits, rows, self._system, self._settled, self._accepted,
            self._rank,
        )  # fmt: skip

    def shares(self) -> NDArray[np.uint8]:
        """uint8[u, u]: which accepted equations each inactive column is the sum of; once, when all are settled."""
        unknowns, words = len(self._accepted), self.gather.bits.shape[1]
        _solve(self._system)
        return spread_bits(self._system[:unknowns, words:])[:, :unknowns]

    def reached_pivots(self, equations: Equations) -> NDArray[np.bool_]:
        """bool[p]: the pivots that the accepted equations need, directly or through later pivots."""
        bounds, entries = self.gather.bounds, self.gather.entries
        reached = np.empty(self.peeled.pivot_count, dtype=np.bool_)
        _mark_reached(*equations, self.peeled.column_rank, self.accepted, bounds, entries, reached)
        return reached


@inlined
def _has(system, row, column):  # type: ignore[no-untyped-def]
    return (system[row, column >> 6] >> (column & 63)) & 1 != 0


@inlined
def _add(system, target, source, first_word):  # type: ignore[no-untyped-def]
    for word in range(first_word, system.shape[1]):
        system[target, word] ^= system[source, word]


@kernel
def _take_rows(start, columns, column_rank, pivot_bits, rows, system, settled, accepted, rank):  # type: ignore[no-untyped-def]
    """Take in the equations `rows` until all columns are settled; returns the new rank.

    start int32[n + 1], columns int32: all equations; column_rank int32[K]: p >= 0 for pivot p, -2 - i for inactive
    column i; pivot_bits int64[p, words]: each pivot over the inactive columns; settled uint8[u]; accepted int32[u]: the
    rows that count, in their order.
    """
    unknowns = settled.shape[0]
    words = system.shape[1] >> 1
    for index in range(rows.shape[0]):
        if rank == unknowns:
            break
        row = np.int64(rows[index])
        for word in range(2 * words):
            system[unknowns, word] = 0
        for position in range(start[row], start[row + 1]):
            place = column_rank[columns[position]]
            if place < 0:
                system[unknowns, (-2 - place) >> 6] ^= 1 << ((-2 - place) & 63)
            else:
                for word in range(words):
                    system[unknowns, word] ^= pivot_bits[place, word]
        system[unknowns, words + (rank >> 6)] |= 1 << (rank & 63)
        for column in range(unknowns):
            if not _has(system, np.int64(unknowns), np.int64(column)):
                continue
            if settled[column] == 0:
                settled[column] = 1
                accepted[rank] = row
                rank += 1
                for word in range(2 * words):
                    system[column, word] = system[unknowns, word]
                break
            _add(system, np.int64(unknowns), np.int64(column), np.int64(column >> 6))
    return rank


@kernel
def _solve(system):  # type: ignore[no-untyped-def]
    """Back-substitution, once every column is settled."""
    unknowns = system.shape[0] - 1
    words = system.shape[1] >> 1
    for column in range(unknowns - 1, -1, -1):
        for later in range(column + 1, unknowns):
            if _has(system, np.int64(column), np.int64(later)):
                _add(system, np.int64(column), np.int64(later), np.int64(words))


@kernel
def _mark_reached(start, columns, column_rank, rows, pivot_bounds, entries, reached):  # type: ignore[no-untyped-def]
    """reached[p] = True for each pivot that the equations `rows` need, directly or through later pivots.

    pivot_bounds int32[3, p], entries: the pivots' gather lists (`fountain.codes.solver.gather`).
    """
    for pivot in range(reached.shape[0]):
        reached[pivot] = False
    for index in range(rows.shape[0]):
        row = np.int64(rows[index])
        for position in range(start[row], start[row + 1]):
            place = column_rank[columns[position]]
            if place >= 0:
                reached[place] = True
    for pivot in range(reached.shape[0] - 1, -1, -1):
        if reached[pivot]:
            for position in range(pivot_bounds[0, pivot], pivot_bounds[1, pivot]):
                reached[column_rank[entries[position]]] = True
