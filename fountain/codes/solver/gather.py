"""Gather lists: which columns to sum for each column, in the order that peeling found.

The pivot columns in a row become its gather list. A row's bits say which inactive columns are in it once the earlier
pivots are substituted: for the rows that are no pivots, these bits are the dense system that is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.codes.solver.equations import Equations
from fountain.codes.solver.peel import Peeled
from fountain.field import RowLists

__all__ = ["GatherLists", "make_gather_lists"]

_Numbers = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, eq=False)
class GatherLists:
    """The lists of n rows: first the pivots in their order, then, where they are wanted, the others."""

    bounds: NDArray[np.int32]  # [3, n]: begin, end, and end with the inactive columns (of pivots only)
    entries: NDArray[np.int32]
    bits: NDArray[np.int64]  # [n, words]: the row over the inactive columns

    def forward(self, rows: _Numbers) -> RowLists:
        """Lists of some gather rows without inactive columns, as if these were zero."""
        return RowLists(self.bounds[0, rows], self.bounds[1, rows], self.entries)

    def backward(self, pivots: _Numbers) -> RowLists:
        """Lists of some pivots with their inactive columns."""
        return RowLists(self.bounds[0, pivots], self.bounds[2, pivots], self.entries)


def make_gather_lists(equations: Equations, peeled: Peeled, *, with_others: bool) -> GatherLists:
    """The lists of all pivots, and of the other rows of `equations` where they are wanted."""
    order = np.concatenate((peeled.pivot_rows, peeled.other_rows)) if with_others else peeled.pivot_rows
    bits = np.empty((len(order), -(-peeled.inactive_count // 64)), dtype=np.int64)
    bounds = np.empty((3, len(order)), dtype=np.int32)
    entries = np.empty_like(equations.columns)
    _write_lists(*equations, peeled.column_rank, order, peeled.pivot_count, bits, bounds, entries)
    return GatherLists(bounds, entries, bits)


@inlined
def _write_row(start, columns, column_rank, row, bits, target, entries, position):  # type: ignore[no-untyped-def]
    """A row's other pivot columns to `entries`, its bits over the inactive columns to bits[target]; returns the end."""
    for word in range(bits.shape[1]):
        bits[target, word] = 0
    for source in range(start[row], start[row + 1]):
        column = columns[source]
        rank = column_rank[column]
        if rank < 0:
            bits[target, (-2 - rank) >> 6] ^= 1 << ((-2 - rank) & 63)
        elif rank != target:
            entries[position] = column
            position += 1
            for word in range(bits.shape[1]):
                bits[target, word] ^= bits[rank, word]
    return position


@kernel
def _write_lists(start, columns, column_rank, order, pivot_count, bits, bounds, entries):  # type: ignore[no-untyped-def]
    """Gather lists and bits of the rows in `order`: first the pivots in theirs, then the rows that are not pivots.

    order int32[M]; bits int64[M, words]: out; bounds int32[3, M]: begin, end of the pivot sources and end with the
    inactive sources (of pivots only) of gather row i in entries int32[len(columns)].
    """
    position = np.int64(0)
    for index in range(order.shape[0]):
        row = np.int64(order[index])
        bounds[0, index] = position
        position = _write_row(start, columns, column_rank, row, bits, index, entries, position)
        bounds[1, index] = position
        if index < pivot_count:
            for source in range(start[row], start[row + 1]):
                if column_rank[columns[source]] < 0:
                    entries[position] = columns[source]
                    position += 1
        bounds[2, index] = position
