"""Receivers of a fleet that are equally far from the server: their counts, one row for each receiver.

What a table of blocks does with symbols, `take` does for all rows at once; `sync` tells it to a row's own table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain.geometry import Geometry
from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.stream import StreamOrder
from fountain.protocol.group.receiver import GroupClientMachine
from fountain.wire.group import MemberState
from fountain.wire.session import MANIFEST_BIT

__all__ = ["Cohort"]

_MORE_THAN_K = 0.005  # Of RaptorQ's blocks so many need a symbol more than K.
_BACK_SPREAD_NS = 2 * NS // 1000


class Cohort:
    """A column stands for each block of the object, and behind them one for each block of the manifest."""

    def __init__(
        self, ids: list[int], delay_ns: int, geometry: Geometry, manifest: Geometry, open_limit: int, loss: float,
        chance: np.random.Generator,
    ) -> None:  # fmt: skip
        self.ids = ids
        self.delay_ns = delay_ns
        count, self._object_count = len(ids), geometry.block_count
        self.back_ns: list[int] = (delay_ns + chance.integers(0, _BACK_SPREAD_NS, count)).tolist()
        self.offsets = [0] * count
        self.due_ns = [NEVER_NS] * count
        self.machines: list[GroupClientMachine | None] = [None] * count
        self.machine_count = 0
        self.is_present: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.keeps_early = [False] * count
        self.touched: dict[int, None] = {}  # columns of which something came since everybody's machine was told last
        self._tables: list[BlockTable | None] = [None] * count
        self._loss = loss
        self._chance = chance
        self._limit = open_limit
        sizes = [geometry.block_symbols(block) for block in range(geometry.block_count)]
        sizes += [manifest.block_symbols(block) for block in range(manifest.block_count)]
        columns = len(sizes)
        self._wanted = np.array(sizes, np.int32) + (chance.random((count, columns)) < _MORE_THAN_K)
        self._have = np.zeros((count, columns), np.int32)
        self._open = np.zeros((count, columns), np.bool_)
        self._done = np.zeros((count, columns), np.bool_)
        self._open_count = np.zeros(count, np.int32)
        self._manifest_left = np.full(count, manifest.block_count, np.int32)
        self._left = np.full(count, columns, np.int32)
        self._listening = np.zeros(count, np.bool_)
        self._expected = np.zeros(count, np.int64)
        self._received = np.zeros(count, np.int64)
        self._arrived_ns = np.zeros(count, np.int64)
        self._timestamp_us = np.zeros(count, np.int64)
        self._told_ns = np.zeros(count, np.int64)

    # --- Coming and going ----------------------------------------------------------------------------------

    def come(self, row: int, *, keeps_early: bool) -> None:
        """A receiver listens from now on; it may keep what comes before it hears of the stream."""
        self.is_present[row] = True
        self.keeps_early[row] = self._listening[row] = keeps_early
        self._received[row] = 0

    def enter(self, row: int, machine: GroupClientMachine, table: BlockTable) -> None:
        """A receiver takes part from now on, with the blocks that it had before."""
        self.machines[row], self._tables[row] = machine, table
        self.machine_count += 1
        self._listening[row] = True
        self._expected[row] = max(int(self._expected[row]), machine.inflow.counter.expected)
        self._told_ns[row] = 0
        if not self._manifest_left[row]:
            done = self._done[row, : self._object_count]
            table.know_manifest([(block, 1) for block in np.flatnonzero(done).tolist()])

    def leave(self, row: int) -> None:
        """A receiver is gone."""
        self.machine_count -= self.machines[row] is not None
        self.machines[row] = self._tables[row] = None
        self.due_ns[row] = NEVER_NS
        self._listening[row] = self.is_present[row] = False

    def lose_open_blocks(self, row: int) -> None:
        """What a receiver had only in memory is lost with it."""
        self._have[row, ~self._done[row]] = 0
        self._open[row] = False
        self._open_count[row] = 0

    def untouched(self, row: int) -> list[int]:
        """Blocks of which a receiver has nothing."""
        columns = np.flatnonzero(~self._done[row] & (self._have[row] == 0)).tolist()
        return [self._block(column) for column in columns]

    # --- What comes ----------------------------------------------------------------------------------------

    def take(self, order: StreamOrder, now_ns: int) -> list[int]:
        """A train comes; the rows that have the whole object since then."""
        count = order.packet_count
        arrived = self._chance.random((len(self.ids), count), np.float32) >= self._loss
        arrived &= self._listening[:, None]
        got = arrived.sum(axis=1)
        last = count - arrived[:, ::-1].argmax(axis=1)
        self._received += got
        any_came = got > 0
        self._expected = np.where(any_came, np.maximum(self._expected, order.sequence + last), self._expected)
        self._arrived_ns[any_came] = now_ns
        self._timestamp_us[any_came] = order.timestamp_us
        left, at = self._left.copy(), 0
        for block, esis in order.blocks:
            self._take_block(block, arrived[:, at : at + len(esis)].sum(axis=1))
            at += len(esis)
        complete: list[int] = np.flatnonzero((self._left == 0) & (left > 0)).tolist()
        return complete

    def _take_block(self, block: int, came: NDArray[np.int64]) -> None:
        column = self._column(block)
        self.touched[column] = None
        is_open = self._open[:, column]
        opening = (came > 0) & ~is_open & ~self._done[:, column]
        if opening.any():
            opening &= self._open_count + self._room_kept(block) < self._limit
            is_open |= opening
            self._open_count += opening
        self._have[:, column] += np.where(is_open, came, 0).astype(np.int32)
        full = is_open & (self._have[:, column] >= self._wanted[:, column])
        if not block & MANIFEST_BIT:
            self._finish(column, full & (self._manifest_left == 0))
            return
        self._finish(column, full)
        self._manifest_left -= full
        for row in np.flatnonzero(full & (self._manifest_left == 0)).tolist():
            ready = self._open[row] & (self._have[row] >= self._wanted[row])
            self._done[row] |= ready
            self._open[row] &= ~ready
            self._open_count[row] -= ready.sum()
            self._left[row] -= ready.sum()
            self.touched.update(dict.fromkeys(np.flatnonzero(ready).tolist()))

    def _finish(self, column: int, rows: NDArray[np.bool_]) -> None:
        self._done[:, column] |= rows
        self._open[:, column] &= ~rows
        self._open_count -= rows
        self._left -= rows

    def _room_kept(self, block: int) -> NDArray[np.int32]:
        """Places that a block of the object leaves for those of the manifest: as in `BlockTable`."""
        if block & MANIFEST_BIT:
            return np.zeros(len(self.ids), np.int32)
        open_count = self._open[:, self._object_count :].sum(axis=1)
        kept = np.minimum(self._manifest_left - open_count, self._limit // 2 - open_count)
        return np.where(self._manifest_left > 0, np.maximum(kept, 0), 0).astype(np.int32)

    # --- What the machines know ----------------------------------------------------------------------------

    def sync(self, row: int) -> bool:
        """Tell a row's machine and table what came; whether that completes the object."""
        machine, table = self.machines[row], self._tables[row]
        if machine is None or table is None or self._arrived_ns[row] == self._told_ns[row]:
            return False
        self._told_ns[row] = self._arrived_ns[row]
        counter = machine.inflow.counter
        counter.expected, counter.received_count = int(self._expected[row]), int(self._received[row])
        arrived_ns = int(self._arrived_ns[row]) + self.offsets[row]
        machine.handle_data(int(self._timestamp_us[row]), machine.server, arrived_ns)
        if machine.state is not MemberState.RECEIVING:
            return False
        done, opened = self._done[row], self._open[row]
        columns = sorted(self.touched, reverse=True)  # the manifest's first
        for column in columns:
            if done[column]:
                self._end(table, column)
        if not self._manifest_left[row] and not table.manifest_known:
            table.know_manifest()
        for column in columns:
            if opened[column]:
                block = self._block(column)
                if table.admits(block):
                    have = int(self._have[row, column])
                    table.progress(block, have, max(0, int(self._wanted[row, column]) - have))
        return table.is_complete

    def _end(self, table: BlockTable, column: int) -> None:
        block = self._block(column)
        if block & MANIFEST_BIT and not table.manifest_known and block not in table.manifest_done:
            if table.admits(block):
                table.progress(block, 1, 0)
            while (ready := table.poll_ready()) is not None:
                table.finished(ready)
        elif not block & MANIFEST_BIT and block not in table.done:
            table.know_manifest([(block, 1)])

    def _column(self, block: int) -> int:
        return (block & ~MANIFEST_BIT) + (self._object_count if block & MANIFEST_BIT else 0)

    def _block(self, column: int) -> int:
        return column if column < self._object_count else (column - self._object_count) | MANIFEST_BIT
