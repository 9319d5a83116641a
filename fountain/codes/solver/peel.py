"""Peeling with inactivation: an order in which nearly all columns of sparse equations follow from earlier ones.

It takes a row with one live column as pivot for that column, and where there is none it declares a live column inactive
(RFC 6330 section 5.4.2.2). Some columns may be inactive from the start: the PI symbols of RaptorQ. With u inactive
columns and p pivots (p + u = L), ordered pivot rows read

    C[column i] = D[row i] + (sum of earlier pivot columns) + (sum of inactive columns)

and what is left is a dense system in the inactive columns. Symbols that were chosen for it leave nearly all columns
inactive; the dense system then takes memory with their square and time with their cube. `peel` therefore gives up
beyond a bound that symbols by chance never reach.

Everything here is integers: no symbol is touched. Constants go to helpers as np.int64(...): numba would compile a
helper once more for every literal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.codes.solver.equations import Equations

__all__ = ["Peeled", "peel"]

_LIVE = -1

# Rows of the scratch array of `_peel`: by row of the system ...
_DEGREE = 0  # number of live columns
_XOR = 1  # XOR of the live columns: the column itself where the degree is one
_ONES = 2  # stack of rows that came to degree 1 ...
_TWOS = 3  # ... and to degree 2
# ... and by column.
_HOLDERS = 4  # where the list of rows that hold the column begins

# Positions in the counter array of `_peel`.
_ONE_COUNT, _TWO_COUNT, _PIVOTS, _INACTIVE = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Peeled:
    """The order that peeling found: p pivots, each a row and the column that it gives, and u inactive columns."""

    pivot_rows: NDArray[np.int32]  # [p]
    other_rows: NDArray[np.int32]  # the rows that are no pivots, in their order
    column_rank: NDArray[np.int32]  # [p + u]: i for the column of pivot i, -2 - i for inactive column i

    @property
    def pivot_count(self) -> int:
        """How many columns follow from earlier ones."""
        return len(self.pivot_rows)

    @property
    def inactive_count(self) -> int:
        """How many columns are inactive."""
        return len(self.column_rank) - len(self.pivot_rows)

    @property
    def places(self) -> NDArray[np.int32]:
        """int32[p + u]: where each column stands in the order, which has the inactive columns behind the pivots."""
        rank = self.column_rank
        return np.where(rank >= 0, rank, len(self.pivot_rows) - 2 - rank)

    def columns_in_order(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The columns of pivots 0 .. p - 1, and inactive columns 0 .. u - 1."""
        columns = np.empty_like(self.column_rank)
        columns[self.places] = np.arange(len(columns), dtype=np.int32)
        return columns[: self.pivot_count], columns[self.pivot_count :]


def peel(
    equations: Equations, column_count: int, inactive_count_max: int, *, permanent_count: int = 0
) -> Peeled | None:
    """The order of the columns 0 .. column_count - 1, of which the last `permanent_count` are inactive from the start.

    Returns None where more than `inactive_count_max` columns would be inactive.
    """
    row_count, live_count = equations.row_count, column_count - permanent_count
    column_rank = np.empty(column_count, dtype=np.int32)
    pivot_rows = np.empty(live_count, dtype=np.int32)
    work = np.empty((5, max(row_count, live_count + 1)), dtype=np.int32)
    holders = np.empty_like(equations.columns)
    counters = np.empty(4, dtype=np.int64)
    pivot_count = _peel(live_count, *equations, work, holders, column_rank, pivot_rows, counters, inactive_count_max)
    if pivot_count < 0:
        return None
    pivot_rows = pivot_rows[:pivot_count]
    is_pivot = np.zeros(row_count, dtype=np.bool_)
    is_pivot[pivot_rows] = True
    return Peeled(pivot_rows, (~is_pivot).nonzero()[0].astype(np.int32), column_rank)


@inlined
def _note_degree(work, counters, row):  # type: ignore[no-untyped-def]
    """Row `row` came to degree 1 or 2: it goes on that stack."""
    if work[_DEGREE, row] == 1:
        work[_ONES, counters[_ONE_COUNT]] = row
        counters[_ONE_COUNT] += 1
    elif work[_DEGREE, row] == 2:
        work[_TWOS, counters[_TWO_COUNT]] = row
        counters[_TWO_COUNT] += 1


@inlined
def _choose_row(work, counters, row_count):  # type: ignore[no-untyped-def]
    """The row that came to degree 2 last; without any, a row of the smallest degree above; -1: none.

    The RFC takes a row of the largest component among the rows of degree 2. Keeping the components costs seven times as
    much as all the rest of the peeling, and the last row is in the largest one nearly always: u grows by 0 to 12 %.
    """
    while counters[_TWO_COUNT] > 0:
        row = np.int64(work[_TWOS, counters[_TWO_COUNT] - 1])
        if work[_DEGREE, row] == 2:
            return row
        counters[_TWO_COUNT] -= 1
    best = np.int64(-1)
    for row in range(row_count):
        if work[_DEGREE, row] > 2 and (best < 0 or work[_DEGREE, row] < work[_DEGREE, best]):
            best = row
    return best


@inlined
def _index_columns(w, row_count, start, columns, work, holders):  # type: ignore[no-untyped-def]
    """The transposed lists (which rows hold column c < w), and each row's degree and XOR of columns."""
    for column in range(w + 1):
        work[_HOLDERS, column] = 0
    for row in range(row_count):
        count = 0
        total = 0
        for position in range(start[row], start[row + 1]):
            column = columns[position]
            if column < w:
                work[_HOLDERS, column + 1] += 1
                count += 1
                total ^= column
        work[_DEGREE, row] = count
        work[_XOR, row] = total
    for column in range(w):
        work[_HOLDERS, column + 1] += work[_HOLDERS, column]
    for row in range(row_count):
        for position in range(start[row], start[row + 1]):
            column = columns[position]
            if column < w:
                holders[work[_HOLDERS, column]] = row
                work[_HOLDERS, column] += 1
    for column in range(w, 0, -1):
        work[_HOLDERS, column] = work[_HOLDERS, column - 1]
    work[_HOLDERS, 0] = 0


@kernel
def _peel(w, start, columns, work, holders, column_rank, pivot_rows, counters, inactive_max):  # type: ignore[no-untyped-def]
    """Order pivots; returns their number p, or -1 as soon as more than `inactive_max` columns are inactive.

    The first w columns may be pivots. start int32[M + 1], columns: the equations. work int32[5, max(M, w + 1)],
    holders int32[len(columns)], counters int64[4]: scratch. column_rank int32[L]: out. pivot_rows int32[w]: out, row of
    pivot i.
    """
    row_count = start.shape[0] - 1
    _index_columns(w, row_count, start, columns, work, holders)
    for index in range(4):
        counters[index] = 0
    for column in range(column_rank.shape[0]):
        column_rank[column] = _LIVE if column < w else w - column - 2
    counters[_INACTIVE] = column_rank.shape[0] - w
    for row in range(row_count):
        _note_degree(work, counters, row)
    live = w
    while live > 0:
        if counters[_ONE_COUNT] > 0:
            counters[_ONE_COUNT] -= 1
            row = np.int64(work[_ONES, counters[_ONE_COUNT]])
            if work[_DEGREE, row] != 1:
                continue
            column = np.int64(work[_XOR, row])
            column_rank[column] = counters[_PIVOTS]
            pivot_rows[counters[_PIVOTS]] = row
            counters[_PIVOTS] += 1
        else:
            row = _choose_row(work, counters, row_count)
            if row < 0:
                break
            position = start[row]
            while column_rank[columns[position]] != _LIVE:
                position += 1
            column = np.int64(columns[position])
            if work[_DEGREE, row] == 2:
                # Either would do: the one in more rows leaves shorter gather lists behind.
                other = work[_XOR, row] ^ column
                weight = work[_HOLDERS, column + 1] - work[_HOLDERS, column]
                if work[_HOLDERS, other + 1] - work[_HOLDERS, other] > weight:
                    column = other
            column_rank[column] = -2 - counters[_INACTIVE]
            counters[_INACTIVE] += 1
            if counters[_INACTIVE] > inactive_max:
                return np.int64(-1)
        live -= 1
        for position in range(work[_HOLDERS, column], work[_HOLDERS, column + 1]):
            row = np.int64(holders[position])
            work[_DEGREE, row] -= 1
            work[_XOR, row] ^= column
            if work[_DEGREE, row] <= 2:
                _note_degree(work, counters, row)
    for column in range(w):
        if column_rank[column] == _LIVE:
            column_rank[column] = -2 - counters[_INACTIVE]
            counters[_INACTIVE] += 1
    return counters[_PIVOTS] if counters[_INACTIVE] <= inactive_max else np.int64(-1)
