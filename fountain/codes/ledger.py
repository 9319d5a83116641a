"""Which row of a slab holds which symbol: the bookkeeping of every packet, in two kernels over a whole batch.

`row_esi[row]` is the ESI that stands in a row, -1 where the row is empty, and -2 - ESI while it is promised to a
symbol (reserved, not yet committed). Source symbols of a systematic code have their own rows 0 .. K - 1. All others
take rows from a stack of free ones and are found again through an open-addressed hash table of row numbers (-1: empty),
which is at most half full. Rows behind row K are given out first: the block will be in those before it.

Promises of one batch are the last entries of the table: taking them back in reverse order leaves it as it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel

__all__ = ["Ledger"]

_HELD, _FREE, _PROMISED = 0, 1, 2  # Positions in `counters`: symbols that stand, free rows, rows promised.
_FREE_ROWS, _PROMISED_ROWS = 0, 1  # Rows of `stacks`.
_EMPTY = np.int64(-1)
_ESI_LIMIT = 1 << 24  # fountain.limits.ESI_LIMIT: `fountain.codes.api` asserts it


@inlined
def _place(table, row_esi, esi):  # type: ignore[no-untyped-def]
    """The place in the table that names the row of `esi`, or the empty place where it belongs."""
    mask = table.shape[0] - 1
    place = ((esi * 2654435761) >> 8) & mask
    while table[place] != _EMPTY and row_esi[table[place]] != esi and row_esi[table[place]] != -2 - esi:
        place = (place + 1) & mask
    return place


@inlined
def _settle_promises(source_count, row_esi, table, stacks, counters):  # type: ignore[no-untyped-def]
    """Promised rows whose ESI was written (>= 0) stand now, the others are free again."""
    for index in range(counters[_PROMISED] - 1, -1, -1):
        row = stacks[_PROMISED_ROWS, index]
        if row >= source_count:
            esi = row_esi[row]
            table[_place(table, row_esi, max(esi, -2 - esi))] = _EMPTY
    for index in range(counters[_PROMISED]):
        row = stacks[_PROMISED_ROWS, index]
        esi = row_esi[row]
        if esi >= 0:
            counters[_HELD] += 1
            if row >= source_count:
                table[_place(table, row_esi, esi)] = row
        else:
            row_esi[row] = _EMPTY
            if row >= source_count:
                stacks[_FREE_ROWS, counters[_FREE]] = row
                counters[_FREE] += 1
    counters[_PROMISED] = 0


@kernel
def _reserve_rows(esis, slots, source_count, row_esi, table, stacks, counters):  # type: ignore[no-untyped-def]
    """slots[i]: a row for esis[i], or -1 where it is held or promised already, impossible, or no row is free.

    esis uint32[n], slots int32[n], row_esi int64[rows], table int32[a power of two], stacks int32[2, rows],
    counters int64[3]. Earlier promises that were not committed are void.
    """
    if counters[_PROMISED] > 0:
        _settle_promises(source_count, row_esi, table, stacks, counters)
    for index in range(esis.shape[0]):
        esi = np.int64(esis[index])
        slots[index] = _EMPTY
        if esi >= _ESI_LIMIT:
            continue
        row = esi
        if esi >= source_count:
            place = _place(table, row_esi, esi)
            if table[place] != _EMPTY or counters[_FREE] == 0:
                continue
            counters[_FREE] -= 1
            row = np.int64(stacks[_FREE_ROWS, counters[_FREE]])
            table[place] = row
        elif row_esi[row] != _EMPTY:
            continue
        row_esi[row] = -2 - esi
        stacks[_PROMISED_ROWS, counters[_PROMISED]] = row
        counters[_PROMISED] += 1
        slots[index] = row


@kernel
def _commit_rows(esis, slots, source_count, row_esi, table, stacks, counters):  # type: ignore[no-untyped-def]
    """The promises named in `slots` (-1: none) stand, all others of the last `_reserve_rows` are void."""
    written = 0
    for index in range(esis.shape[0]):
        row = slots[index]
        esi = np.int64(esis[index])
        if 0 <= row < row_esi.shape[0] and row_esi[row] == -2 - esi:
            row_esi[row] = esi
            written += 1
    if written == counters[_PROMISED]:
        counters[_HELD] += written
        counters[_PROMISED] = 0
    else:
        _settle_promises(source_count, row_esi, table, stacks, counters)


class Ledger:
    """The rows of a slab for a block of K symbols; `systematic`: symbols 0 .. K - 1 have rows of their own."""

    def __init__(self, row_count: int, symbol_count: int, *, systematic: bool) -> None:
        source_count = symbol_count if systematic else 0
        free_count, front_count = row_count - source_count, symbol_count - source_count
        self.row_esi = np.empty(row_count, dtype=np.int64)
        self.row_esi.fill(_EMPTY)  # Half the time of np.full, which counts with small blocks.
        self._counters = np.array((0, free_count, 0), dtype=np.int64)
        stacks = np.empty((2, row_count), dtype=np.int32)  # The last of a stack is taken first.
        stacks[_FREE_ROWS, front_count:free_count] = np.arange(row_count - 1, symbol_count - 1, -1)
        if front_count:
            stacks[_FREE_ROWS, :front_count] = np.arange(front_count - 1, -1, -1)
        table = np.empty(1 << (2 * free_count - 1).bit_length(), dtype=np.int32)
        table.fill(_EMPTY)
        self._arrays = (source_count, self.row_esi, table, stacks, self._counters)

    @property
    def held_count(self) -> int:
        """How many different symbols stand."""
        return self._counters.item(_HELD)

    @property
    def free_count(self) -> int:
        """How many rows are free for symbols that have none of their own."""
        return self._counters.item(_FREE)

    def reserve(self, esis: NDArray[np.uint32]) -> NDArray[np.int32]:
        """int32[n]: a row for each ESI, or -1 where it is held or promised already, impossible, or no row is free."""
        slots = np.empty(len(esis), dtype=np.int32)
        _reserve_rows(np.ascontiguousarray(esis, dtype=np.uint32), slots, *self._arrays)
        return slots

    def commit(self, esis: NDArray[np.uint32], slots: NDArray[np.int32]) -> None:
        """The promises of the last `reserve` that `slots` names stand, all others are void."""
        names = np.ascontiguousarray(esis, dtype=np.uint32)
        _commit_rows(names, np.ascontiguousarray(slots, dtype=np.int32), *self._arrays)
