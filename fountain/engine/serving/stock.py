"""Repair symbols made before they are sent: workers encode what a report asked for while the loop sends something else.

A session's repair symbols of a block follow each other in its lane, so what will be sent next is known as soon as the
deficit is. Whole deficits are encoded in one go, which reads the block once, not once a train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain.engine.serving.served import ObjectSymbols

__all__ = ["RepairStock"]

# Octets of symbols that wait to be sent. What nobody wants any more makes room; what then finds none is encoded when it
# is sent.
STOCK_SIZE_MAX = 12 << 20

Key = tuple[int, int]  # (session id, block)


@dataclass
class _Batch:
    """Symbols of consecutive places in a lane."""

    esis: list[int]
    rows: Future[NDArray[np.uint8]]
    size: int
    taken: int = 0


class RepairStock:
    """Batches in the making and made, per session and block. Belongs to the loop's thread; `executor` does the work.

    `is_wanted` says of a session and a block whether more of its symbols may be sent.
    """

    def __init__(self, executor: Executor, is_wanted: Callable[[int, int], bool]) -> None:
        self._executor = executor
        self._is_wanted = is_wanted
        self._batches: dict[Key, list[_Batch]] = {}
        self._size = 0

    def order(self, session_id: int, block: int, esis: list[int], symbols: ObjectSymbols) -> None:
        """Have these symbols made: the session will want them, in this order, after those ordered before."""
        size = len(esis) * symbols.source.geometry.symbol_size
        if self._size + size > STOCK_SIZE_MAX:
            self._drop_unwanted()
        if self._size + size > STOCK_SIZE_MAX:
            return
        self._size += size
        batch = _Batch(esis, self._executor.submit(_encode, symbols, block, esis), size)
        self._batches.setdefault((session_id, block), []).append(batch)

    def is_ready(self, session_id: int, block: int) -> bool:
        """Whether `take` would not wait."""
        batches = self._batches.get((session_id, block))
        return not batches or batches[0].rows.done()

    def take(self, session_id: int, block: int, esis: Sequence[int], out: NDArray[np.uint8]) -> int:
        """Put symbols of `esis`, from the first on, into `out`; how many there were. Waits for those in the making.

        Raises:
            StorageError: the block cannot be read any more.
        """
        filled = 0
        batches = self._batches.get((session_id, block), [])
        while batches and filled < len(esis):
            batch = batches[0]
            count = min(len(esis) - filled, len(batch.esis) - batch.taken)
            if batch.esis[batch.taken : batch.taken + count] != list(esis[filled : filled + count]):
                self._drop(session_id, block)  # Encoded at sending meanwhile, for want of room: the rest is late, too.
                return filled
            out[filled : filled + count] = batch.rows.result()[batch.taken : batch.taken + count]
            batch.taken += count
            filled += count
            if batch.taken == len(batch.esis):
                self._size -= batches.pop(0).size
        if not batches:
            self._batches.pop((session_id, block), None)
        return filled

    def forget(self, session_id: int) -> None:
        """A session ended: nobody wants its symbols."""
        for key in [key for key in self._batches if key[0] == session_id]:
            self._drop(*key)

    def _drop_unwanted(self) -> None:
        for key in [key for key in self._batches if not self._is_wanted(*key)]:
            self._drop(*key)

    def _drop(self, session_id: int, block: int) -> None:
        for batch in self._batches.pop((session_id, block), []):
            batch.rows.cancel()
            self._size -= batch.size


def _encode(symbols: ObjectSymbols, block: int, esis: list[int]) -> NDArray[np.uint8]:
    rows = np.empty((len(esis), symbols.source.geometry.symbol_size), dtype=np.uint8)
    symbols.encode(block, np.array(esis, dtype=np.uint32), rows)
    return rows
