"""What peeling leaves: equations over the inactive columns alone, taken in one at a time and kept between attempts.

A row that is not a pivot, with its pivot columns substituted, says: the sum of some inactive columns equals the row's
own right-hand side. `take_rows` reduces each new row by those that are there; it either settles one more column or
follows from the others and is dropped. An attempt that came too early thus costs only its new rows later.

`system` int64[u + 1, 2 words]: row c, where it is there, begins at column c; its first half has the coefficients, its
second half which accepted rows were added (bit j: the j-th accepted one). The last row is scratch. `solve` then brings
the accepted rows to the identity, after which the second half of row c says what inactive column c is the sum of.
"""

from __future__ import annotations

import numpy as np

from fountain._jit import inlined, kernel

__all__ = ["mark_reached", "solve", "take_rows"]


@inlined
def _has(system, row, column):  # type: ignore[no-untyped-def]
    return (system[row, column >> 6] >> (column & 63)) & 1 != 0


@inlined
def _add(system, target, source, first_word):  # type: ignore[no-untyped-def]
    for word in range(first_word, system.shape[1]):
        system[target, word] ^= system[source, word]


@kernel
def take_rows(start, columns, column_rank, pivot_bits, rows, system, settled, accepted, rank):  # type: ignore[no-untyped-def]
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
def solve(system):  # type: ignore[no-untyped-def]
    """Back-substitution, once every column is settled."""
    unknowns = system.shape[0] - 1
    words = system.shape[1] >> 1
    for column in range(unknowns - 1, -1, -1):
        for later in range(column + 1, unknowns):
            if _has(system, np.int64(column), np.int64(later)):
                _add(system, np.int64(column), np.int64(later), np.int64(words))


@kernel
def mark_reached(start, columns, column_rank, rows, pivot_bounds, entries, reached):  # type: ignore[no-untyped-def]
    """reached[p] = 1 for each pivot that the equations `rows` need, directly or through later pivots.

    pivot_bounds int32[3, p], entries: the pivots' gather lists (`fountain.codes.solver.structure.write_schedule`).
    """
    for pivot in range(reached.shape[0]):
        reached[pivot] = 0
    for index in range(rows.shape[0]):
        row = np.int64(rows[index])
        for position in range(start[row], start[row + 1]):
            place = column_rank[columns[position]]
            if place >= 0:
                reached[place] = 1
    for pivot in range(reached.shape[0] - 1, -1, -1):
        if reached[pivot] != 0:
            for position in range(pivot_bounds[0, pivot], pivot_bounds[1, pivot]):
                reached[column_rank[entries[position]]] = 1
