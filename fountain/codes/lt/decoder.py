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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import SlabDecoder
from fountain.codes.lt import elimination
from fountain.codes.lt.parameters import degree_thresholds
from fountain.codes.lt.rows import degrees, neighbours
from fountain.codes.solver import structure
from fountain.codes.solver.workspace import workspace
from fountain.field import combine_rows, multiply_rows, row_addresses, row_set

__all__ = ["LTDecoder", "entry_count_max", "inactive_count_max"]

_WANTED_SHARE = 16  # Symbols chosen to leave too much inactive ask for so large a part of K more.

_Indices = NDArray[np.int32]


@dataclass(eq=False)
class _Peeled:
    """The order that peeling found, and what is known of the inactive columns so far."""

    pivot_rows: _Indices  # equation of pivot p
    column_rank: _Indices  # p of a pivot column, -2 - i of inactive column i
    bits: NDArray[np.int64]  # [p, words]: each pivot over the inactive columns
    bounds: _Indices  # [3, p] and
    entries: _Indices  # the pivots' gather lists
    system: NDArray[np.int64]
    settled: NDArray[np.uint8]
    accepted: _Indices  # equations that settle the inactive columns
    rank: int = 0

    @property
    def unknowns(self) -> int:
        """How many columns are inactive."""
        return len(self.accepted)

    def columns_in_order(self) -> _Indices:
        """The columns of pivots 0 .., then the inactive ones."""
        order = np.where(self.column_rank >= 0, self.column_rank, len(self.pivot_rows) - 2 - self.column_rank)
        columns = np.empty(len(order), dtype=np.int32)
        columns[order] = np.arange(len(order), dtype=np.int32)
        return columns


def inactive_count_max(symbol_count: int) -> int:
    """How many columns may be inactive: more than symbols leave that nobody chose.

    Those leave 4.5 sqrt(K) of them at K = 1000 and 8.8 sqrt(K) at the largest K, with a standard deviation below
    0.4 sqrt(K).
    """
    return 8 + int(16 * symbol_count**0.5)


def entry_count_max(symbol_count: int) -> int:
    """How many columns all equations of a block may have together: twice what 2 K rows have that nobody chose."""
    return 64 + 84 * symbol_count


def _peel(symbol_count: int, start: _Indices, columns: _Indices) -> _Peeled | None:
    """The order of the pivots; None where more columns would be inactive than may be."""
    # The peeler reads W and L of RFC 6330's parameters: here all K columns are LT symbols, and none is a PI symbol.
    parameters = np.full(9, symbol_count, dtype=np.int64)
    column_rank = np.empty(symbol_count, dtype=np.int32)
    pivot_rows = np.empty(symbol_count, dtype=np.int32)
    work = np.empty((5, max(len(start) - 1, symbol_count + 1)), dtype=np.int32)
    holders = np.empty_like(columns)
    counters = np.empty(4, dtype=np.int64)
    pivot_count = structure.peel(
        parameters, start, columns, work, holders, column_rank, pivot_rows, counters, inactive_count_max(symbol_count)
    )
    if pivot_count < 0:
        return None
    pivot_rows = pivot_rows[:pivot_count]
    unknowns = symbol_count - pivot_count
    words = -(-unknowns // 64)
    bits = np.empty((pivot_count, words), dtype=np.int64)
    bounds = np.empty((3, pivot_count), dtype=np.int32)
    entries = np.empty_like(columns)
    structure.write_schedule(start, columns, column_rank, pivot_rows, pivot_count, bits, bounds, entries)
    system = np.zeros((unknowns + 1, 2 * words), dtype=np.int64)
    settled, accepted = np.zeros(unknowns, dtype=np.uint8), np.empty(unknowns, dtype=np.int32)
    return _Peeled(pivot_rows, column_rank, bits, bounds, entries, system, settled, accepted)


class LTDecoder(SlabDecoder):
    """Maximum-likelihood decoding: solves whenever the symbols held determine the block, and never otherwise."""

    def __init__(self, symbol_count: int, symbol_size: int, slab: NDArray[np.uint8] | None = None) -> None:
        degree_thresholds(symbol_count)
        super().__init__(symbol_count, symbol_size, slab, systematic=False)
        row_count = len(self.row_esi)
        free_rows = self._ledger[3][0]  # a stack: the last is given out first
        free_rows[:symbol_count] = np.arange(symbol_count - 1, -1, -1)
        free_rows[symbol_count:] = np.arange(row_count - 1, symbol_count - 1, -1)
        self._start = np.zeros(1, dtype=np.int32)
        self._columns = np.empty(0, dtype=np.int32)
        self._slab_rows = np.empty(0, dtype=np.int32)  # where the symbol of each equation stands
        self._is_known = np.zeros(row_count, dtype=np.bool_)
        self._peeled: _Peeled | None = None

    def _solve(self) -> int:
        rows = self._add_equations()
        peeled = self._peeled
        if peeled is None:
            if len(self._slab_rows) < self.symbol_count:
                return self.symbol_count - len(self._slab_rows)
            peeled = self._peeled = _peel(self.symbol_count, self._start, self._columns)
            if peeled is None:
                return 1 + self.symbol_count // _WANTED_SHARE
            rows = np.delete(np.arange(len(self._slab_rows), dtype=np.int32), peeled.pivot_rows)
        peeled.rank = elimination.take_rows(
            self._start, self._columns, peeled.column_rank, peeled.bits, rows, peeled.system, peeled.settled,
            peeled.accepted, peeled.rank,
        )  # fmt: skip
        if peeled.rank < peeled.unknowns:
            return peeled.unknowns - peeled.rank
        self._clear_the_front(peeled)
        self._run(peeled)
        self._peeled = None
        return 0

    def _add_equations(self) -> _Indices:
        """Write down the rows of symbols that came since the last attempt; the numbers of these equations."""
        first = len(self._slab_rows)
        new = np.flatnonzero((self.row_esi >= 0) & ~self._is_known)
        self._is_known[new] = True
        new = new[self._are_affordable(degrees(self.symbol_count, self.row_esi[new]))]
        start, columns = neighbours(self.symbol_count, self.row_esi[new])
        self._slab_rows = np.concatenate((self._slab_rows, new.astype(np.int32)))
        self._start = np.concatenate((self._start, self._start[-1] + start[1:]))
        self._columns = np.concatenate((self._columns, columns))
        return np.arange(first, len(self._slab_rows), dtype=np.int32)

    def _are_affordable(self, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: which equations of so many columns each are written down: all, or as many of the shortest as fit."""
        left = entry_count_max(self.symbol_count) - len(self._columns)
        if counts.sum() <= left:
            return np.ones(len(counts), dtype=np.bool_)
        shortest_first = np.argsort(counts, kind="stable")
        are_affordable = np.zeros(len(counts), dtype=np.bool_)
        are_affordable[shortest_first] = np.cumsum(counts[shortest_first]) <= left
        return are_affordable

    def _clear_the_front(self, peeled: _Peeled) -> None:
        """Move symbols that are needed and stand in slab[:K], where the block will be, to rows that nobody needs."""
        used = np.concatenate((peeled.pivot_rows, peeled.accepted))
        in_front = used[self._slab_rows[used] < self.symbol_count]
        if len(in_front):
            is_free = np.arange(len(self.slab)) >= self.symbol_count
            is_free[self._slab_rows[used]] = False
            places = np.flatnonzero(is_free)[: len(in_front)]
            self.slab[places] = self.slab[self._slab_rows[in_front]]
            self._slab_rows[in_front] = places

    def _run(self, peeled: _Peeled) -> None:
        """The data phase."""
        pivot_count, unknowns, size = len(peeled.pivot_rows), peeled.unknowns, self.symbol_size
        slab, row_count = row_set(self.slab), len(self.slab)
        columns = peeled.columns_in_order()
        begin, end, end_with_inactive = peeled.bounds
        held = self._slab_rows[peeled.pivot_rows]
        backward = np.arange(pivot_count)
        if unknowns:
            reached = np.empty(pivot_count, dtype=np.uint8)
            elimination.mark_reached(
                self._start, self._columns, peeled.column_rank, peeled.accepted, peeled.bounds, peeled.entries, reached
            )
            forward = np.flatnonzero(reached)
            bounds = begin[forward], end[forward]
            combine_rows(slab, columns[forward], slab, held[forward], row_count, slab, bounds, peeled.entries, size)
            self._settle(peeled, columns[pivot_count:])
            backward = np.flatnonzero((reached == 0) | peeled.bits.any(axis=1))
        bounds = begin[backward], end_with_inactive[backward]
        combine_rows(slab, columns[backward], slab, held[backward], row_count, slab, bounds, peeled.entries, size)

    def _pivot_columns(self, peeled: _Peeled) -> tuple[tuple[_Indices, _Indices], _Indices]:
        """The gather lists of the accepted rows: the pivot columns in them."""
        first, end = self._start[peeled.accepted], self._start[peeled.accepted + 1]
        ends = np.cumsum(end - first)
        columns = self._columns[np.arange(ends[-1]) + np.repeat(end - ends, end - first)]
        is_pivot = peeled.column_rank[columns] >= 0
        counts = np.concatenate(([0], np.cumsum(is_pivot))).astype(np.int32)
        ends = counts[ends]
        return (np.concatenate((counts[:1], ends[:-1])), ends), columns[is_pivot]

    def _settle(self, peeled: _Peeled, inactive: _Indices) -> None:
        """The inactive columns, from the accepted rows and the pivot columns in them."""
        unknowns, size = peeled.unknowns, self.symbol_size
        slab = row_set(self.slab)
        bounds, entries = self._pivot_columns(peeled)
        sums = workspace(unknowns, size)
        targets = np.arange(unknowns, dtype=np.int32)
        held = self._slab_rows[peeled.accepted]
        combine_rows(row_set(sums), targets, slab, held, len(self.slab), slab, bounds, entries, size)
        elimination.solve(peeled.system)
        words = np.ascontiguousarray(peeled.system[:unknowns, peeled.system.shape[1] // 2 :], dtype="<i8")
        shares = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :unknowns]
        multiply_rows(shares, row_addresses(row_set(sums), targets), row_addresses(slab, inactive), size)
