"""One block being collected and solved: peeling, then inactivation, in a form that is kept between attempts.

The first attempt (with K symbols) peels: pivot p is a column that one row gives from earlier pivots and from inactive
columns, which are those that had to be taken as unknown for the peeling to go on. Rows that are not pivots, and all
that come later, are equations over the inactive columns (`elimination`). Once these are settled, and not before, the
data is touched:

    1. forward    Y = pivot rows over the symbols held and earlier Y (inactive columns as if zero), where needed
    2. residual   r = accepted rows over symbols and Y;  inactive columns = E r, with E from the elimination
    3. backward   pivot columns over symbols, earlier columns and inactive columns, where inactive ones play a part

Columns are written to slab[:K] as they come. Symbols therefore stand behind row K; those few that had to be put before
it (more than K + 64 were held) are moved to rows of symbols that turned out not to be needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import SlabDecoder
from fountain.codes.lt.elimination import Elimination
from fountain.codes.lt.parameters import degree_thresholds
from fountain.codes.lt.rows import degrees, neighbours
from fountain.codes.solver.equations import Equations
from fountain.codes.solver.gather import make_gather_lists
from fountain.codes.solver.peel import peel
from fountain.codes.solver.scratch import scratch_rows
from fountain.field import RowLists, combine_rows, multiply_rows, row_addresses, row_set

__all__ = ["LTDecoder", "entry_count_max", "inactive_count_max"]

_WANTED_SHARE = 16  # Symbols chosen to leave too much inactive ask for so large a part of K more.

_Indices = NDArray[np.int32]


def inactive_count_max(symbol_count: int) -> int:
    """How many columns may be inactive: more than symbols leave that were not chosen for it.

    Such symbols leave 4.5 sqrt(K) of them at K = 1000 and 8.8 sqrt(K) at the largest K, with a standard deviation below
    0.4 sqrt(K).
    """
    return 8 + int(16 * symbol_count**0.5)


def entry_count_max(symbol_count: int) -> int:
    """How many columns all equations of a block may have together: twice what 2 K rows have by chance."""
    return 64 + 84 * symbol_count


class LTDecoder(SlabDecoder):
    """Maximum-likelihood decoding: solves whenever the symbols held determine the block, and never otherwise."""

    def __init__(self, symbol_count: int, symbol_size: int, slab: NDArray[np.uint8] | None = None) -> None:
        degree_thresholds(symbol_count)
        super().__init__(symbol_count, symbol_size, slab, systematic=False)
        self._equations = Equations(np.zeros(1, dtype=np.int32), np.empty(0, dtype=np.int32))
        self._slab_rows = np.empty(0, dtype=np.int32)  # where the symbol of each equation stands
        self._is_known = np.zeros(len(self.row_esi), dtype=np.bool_)
        self._elimination: Elimination | None = None  # from the first attempt on

    def _solve(self) -> int:
        rows = self._add_equations()
        elimination = self._elimination
        if elimination is None:
            if self._equations.row_count < self.symbol_count:
                return self.symbol_count - self._equations.row_count
            peeled = peel(self._equations, self.symbol_count, inactive_count_max(self.symbol_count))
            if peeled is None:
                return 1 + self.symbol_count // _WANTED_SHARE
            gather = make_gather_lists(self._equations, peeled, with_others=False)
            elimination = self._elimination = Elimination(peeled, gather)
            rows = peeled.other_rows
        elimination.take(self._equations, rows)
        if elimination.missing_count:
            return elimination.missing_count
        self._clear_the_front(elimination)
        self._run(elimination)
        self._elimination = None
        return 0

    def _add_equations(self) -> _Indices:
        """Write down the rows of symbols that came since the last attempt; the numbers of these equations."""
        first = self._equations.row_count
        new = ((self.row_esi >= 0) & ~self._is_known).nonzero()[0]
        self._is_known[new] = True
        new = new[self._are_affordable(degrees(self.symbol_count, self.row_esi[new]))]
        self._slab_rows = np.concatenate((self._slab_rows, new.astype(np.int32)))
        self._equations = self._equations.followed_by(neighbours(self.symbol_count, self.row_esi[new]))
        return np.arange(first, self._equations.row_count, dtype=np.int32)

    def _are_affordable(self, counts: _Indices) -> NDArray[np.bool_]:
        """bool[n]: which equations of so many columns each are written down: all, or as many of the shortest as fit."""
        left = entry_count_max(self.symbol_count) - len(self._equations.columns)
        if counts.sum() <= left:
            return np.ones(len(counts), dtype=np.bool_)
        shortest_first = np.argsort(counts, kind="stable")
        are_affordable = np.zeros(len(counts), dtype=np.bool_)
        are_affordable[shortest_first] = np.cumsum(counts[shortest_first]) <= left
        return are_affordable

    def _clear_the_front(self, elimination: Elimination) -> None:
        """Move symbols that are needed and stand in slab[:K], where the block will be, to rows that are not needed."""
        used = np.concatenate((elimination.peeled.pivot_rows, elimination.accepted))
        in_front = used[self._slab_rows[used] < self.symbol_count]
        if len(in_front):
            is_free = np.arange(len(self.slab)) >= self.symbol_count
            is_free[self._slab_rows[used]] = False
            places = np.flatnonzero(is_free)[: len(in_front)]
            self.slab[places] = self.slab[self._slab_rows[in_front]]
            self._slab_rows[in_front] = places

    def _run(self, elimination: Elimination) -> None:
        """The data phase."""
        peeled, gather, size = elimination.peeled, elimination.gather, self.symbol_size
        slab, row_count = row_set(self.slab), len(self.slab)
        pivot_columns, inactive_columns = peeled.columns_in_order()
        held = self._slab_rows[peeled.pivot_rows]
        backward = np.arange(peeled.pivot_count)
        if peeled.inactive_count:
            is_reached = elimination.reached_pivots(self._equations)
            forward = is_reached.nonzero()[0]
            lists = gather.forward(forward)
            combine_rows(slab, pivot_columns[forward], slab, held[forward], row_count, slab, lists, size)
            self._settle(elimination, inactive_columns)
            backward = (~is_reached | gather.bits.any(axis=1)).nonzero()[0]
        lists = gather.backward(backward)
        combine_rows(slab, pivot_columns[backward], slab, held[backward], row_count, slab, lists, size)

    def _pivot_columns(self, elimination: Elimination) -> RowLists:
        """The pivot columns in each of the accepted rows."""
        start, columns = self._equations
        first, end = start[elimination.accepted], start[elimination.accepted + 1]
        ends = np.cumsum(end - first)
        columns = columns[np.arange(ends[-1]) + np.repeat(end - ends, end - first)]
        is_pivot = elimination.peeled.column_rank[columns] >= 0
        starts = np.zeros(len(ends) + 1, dtype=np.int32)
        starts[1:] = is_pivot.cumsum()[ends - 1]
        return Equations(starts, columns[is_pivot]).lists

    def _settle(self, elimination: Elimination, inactive_columns: _Indices) -> None:
        """The inactive columns, from the accepted rows and the pivot columns in them."""
        unknowns, size = len(inactive_columns), self.symbol_size
        slab = row_set(self.slab)
        sums = scratch_rows(unknowns, size)
        targets = np.arange(unknowns, dtype=np.int32)
        held = self._slab_rows[elimination.accepted]
        lists = self._pivot_columns(elimination)
        combine_rows(row_set(sums), targets, slab, held, len(self.slab), slab, lists, size)
        settled = row_addresses(slab, inactive_columns)
        multiply_rows(elimination.shares(), row_addresses(row_set(sums), targets), settled, size)
