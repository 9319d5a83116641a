"""Receivers of a fleet that are equally far from the server: their counts, one row for each receiver.

What a table of blocks does with symbols, `take` does for all rows at once; `sync` copies it to a row's own table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fountain.geometry import Geometry
from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.stream import StreamOrder
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.wire.group import MemberState
from fountain.wire.session import MANIFEST_BIT

__all__ = ["Cohort"]

_MORE_THAN_K = 0.005  # Of RaptorQ's blocks so many need a symbol more than K.
_BACK_SPREAD_NS = 2 * NS // 1000


class _Arrivals:
    """What each receiver has counted of the stream, a row each, and what its machine knows of that."""

    def __init__(self, count: int) -> None:
        self.listening = np.zeros(count, np.bool_)
        self.expected = np.zeros(count, np.int64)
        self.received = np.zeros(count, np.int64)
        self.arrived_ns = np.zeros(count, np.int64)
        self.timestamp_us = np.zeros(count, np.int64)
        self.known_ns = np.zeros(count, np.int64)  # the arrival that the machine knows of

    def take(self, order: StreamOrder, arrived: NDArray[np.bool_], now_ns: int) -> None:
        """Of a train these packets came, bool[rows, packets]."""
        got = arrived.sum(axis=1)
        last = order.packet_count - arrived[:, ::-1].argmax(axis=1)
        self.received += got
        any_came = got > 0
        self.expected = np.where(any_came, np.maximum(self.expected, order.sequence + last), self.expected)
        self.arrived_ns[any_came] = now_ns
        self.timestamp_us[any_came] = order.timestamp_us


class _Blocks:
    """What each receiver holds: a row for each, a column for each block, those of the manifest at the end."""

    def __init__(
        self, count: int, geometry: Geometry, manifest: Geometry, open_limit: int, chance: np.random.Generator
    ) -> None:
        self.object_count = geometry.block_count
        self.touched: dict[int, None] = {}  # columns of which something came since all machines were last informed
        self._limit = open_limit
        sizes = [geometry.block_symbols(block) for block in range(geometry.block_count)]
        sizes += [manifest.block_symbols(block) for block in range(manifest.block_count)]
        columns = len(sizes)
        self.wanted = np.array(sizes, np.int32) + (chance.random((count, columns)) < _MORE_THAN_K)
        self.have = np.zeros((count, columns), np.int32)
        self.open = np.zeros((count, columns), np.bool_)
        self.done = np.zeros((count, columns), np.bool_)
        self.manifest_left = np.full(count, manifest.block_count, np.int32)
        self.left = np.full(count, columns, np.int32)
        self._begun_count = np.zeros(count, np.int32)

    def column(self, block: int) -> int:
        """Where a block stands."""
        return (block & ~MANIFEST_BIT) + (self.object_count if block & MANIFEST_BIT else 0)

    def block(self, column: int) -> int:
        """The block that stands there."""
        return column if column < self.object_count else (column - self.object_count) | MANIFEST_BIT

    def untouched(self, row: int) -> list[int]:
        """Blocks of which a receiver has nothing."""
        columns = np.flatnonzero(~self.done[row] & (self.have[row] == 0)).tolist()
        return [self.block(column) for column in columns]

    def lose_open(self, row: int) -> None:
        """What a receiver had only in memory is lost with it."""
        self.have[row, ~self.done[row]] = 0
        self.open[row] = False
        self._begun_count[row] = 0

    def take(self, block: int, came: NDArray[np.int64]) -> None:
        """So many symbols of a block came to each receiver."""
        column = self.column(block)
        self.touched[column] = None
        is_started = self.open[:, column]
        opening = (came > 0) & ~is_started & ~self.done[:, column]
        if opening.any():
            opening &= self._begun_count + self._room_kept(block) < self._limit
            is_started |= opening
            self._begun_count += opening
        self.have[:, column] += np.where(is_started, came, 0).astype(np.int32)
        full = is_started & (self.have[:, column] >= self.wanted[:, column])
        if not block & MANIFEST_BIT:
            self._finish(column, full & (self.manifest_left == 0))
            return
        self._finish(column, full)
        self.manifest_left -= full
        for row in np.flatnonzero(full & (self.manifest_left == 0)).tolist():
            ready = self.open[row] & (self.have[row] >= self.wanted[row])
            self.done[row] |= ready
            self.open[row] &= ~ready
            self._begun_count[row] -= ready.sum()
            self.left[row] -= ready.sum()
            self.touched.update(dict.fromkeys(np.flatnonzero(ready).tolist()))

    def inform(self, table: BlockTable, row: int) -> None:
        """Bring a receiver's table up to what was taken."""
        done, opened = self.done[row], self.open[row]
        columns = sorted(self.touched, reverse=True)  # the manifest's first
        for column in columns:
            if done[column]:
                self._end(table, column)
        if not self.manifest_left[row] and not table.manifest_known:
            table.know_manifest()
        for column in columns:
            if opened[column]:
                block = self.block(column)
                if table.admits(block):
                    have = int(self.have[row, column])
                    table.progress(block, have, max(0, int(self.wanted[row, column]) - have))

    def _finish(self, column: int, rows: NDArray[np.bool_]) -> None:
        self.done[:, column] |= rows
        self.open[:, column] &= ~rows
        self._begun_count -= rows
        self.left -= rows

    def _room_kept(self, block: int) -> NDArray[np.int32]:
        """Places that a block of the object leaves for those of the manifest: as in `BlockTable`."""
        if block & MANIFEST_BIT:
            return np.zeros(len(self.left), np.int32)
        begun_count = self.open[:, self.object_count :].sum(axis=1)
        kept = np.minimum(self.manifest_left - begun_count, self._limit // 2 - begun_count)
        return np.where(self.manifest_left > 0, np.maximum(kept, 0), 0).astype(np.int32)

    def _end(self, table: BlockTable, column: int) -> None:
        block = self.block(column)
        if block & MANIFEST_BIT and not table.manifest_known and block not in table.manifest_done:
            if table.admits(block):
                table.progress(block, 1, 0)
            while (ready := table.poll_ready()) is not None:
                table.finished(ready)
        elif not block & MANIFEST_BIT and block not in table.done:
            table.know_manifest([(block, 1)])


class Cohort:
    """Receivers of a fleet whose ways from the server are equally long, a row each."""

    def __init__(
        self, ids: list[int], delay_ns: int, geometry: Geometry, manifest: Geometry, open_limit: int, loss: float,
        chance: np.random.Generator,
    ) -> None:  # fmt: skip
        self.ids = ids
        self.delay_ns = delay_ns
        count = len(ids)
        self.back_ns: list[int] = (delay_ns + chance.integers(0, _BACK_SPREAD_NS, count)).tolist()
        self.offsets = [0] * count
        self.due_ns = [NEVER_NS] * count
        self.machines: list[GroupReceiverMachine | None] = [None] * count
        self.machine_count = 0
        self.is_present: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.keeps_early = [False] * count
        self.blocks = _Blocks(count, geometry, manifest, open_limit, chance)
        self._arrivals = _Arrivals(count)
        self._tables: list[BlockTable | None] = [None] * count
        self._loss = loss
        self._chance = chance

    # --- Coming and going ----------------------------------------------------------------------------------

    def come(self, row: int, *, keeps_early: bool) -> None:
        """A receiver listens from now on; it may keep what comes before it hears of the stream."""
        self.is_present[row] = True
        self.keeps_early[row] = self._arrivals.listening[row] = keeps_early
        self._arrivals.received[row] = 0

    def enter(self, row: int, machine: GroupReceiverMachine, table: BlockTable) -> None:
        """A receiver takes part from now on, with the blocks that it had before."""
        arrivals = self._arrivals
        self.machines[row], self._tables[row] = machine, table
        self.machine_count += 1
        arrivals.listening[row] = True
        arrivals.expected[row] = max(int(arrivals.expected[row]), machine.inflow.counter.expected)
        arrivals.known_ns[row] = 0
        if not self.blocks.manifest_left[row]:
            done = self.blocks.done[row, : self.blocks.object_count]
            table.know_manifest([(block, 1) for block in np.flatnonzero(done).tolist()])

    def leave(self, row: int) -> None:
        """A receiver is gone."""
        self.machine_count -= self.machines[row] is not None
        self.machines[row] = self._tables[row] = None
        self.due_ns[row] = NEVER_NS
        self._arrivals.listening[row] = self.is_present[row] = False

    # --- What comes ----------------------------------------------------------------------------------------

    def take(self, order: StreamOrder, now_ns: int) -> list[int]:
        """A train comes; the rows that have the whole object since then."""
        arrived = self._chance.random((len(self.ids), order.packet_count), np.float32) >= self._loss
        arrived &= self._arrivals.listening[:, None]
        self._arrivals.take(order, arrived, now_ns)
        left, at = self.blocks.left.copy(), 0
        for block, esis in order.blocks:
            self.blocks.take(block, arrived[:, at : at + len(esis)].sum(axis=1))
            at += len(esis)
        complete: list[int] = np.flatnonzero((self.blocks.left == 0) & (left > 0)).tolist()
        return complete

    def sync(self, row: int) -> bool:
        """Let a row's machine and table know what came; whether that completes the object."""
        machine, table, arrivals = self.machines[row], self._tables[row], self._arrivals
        if machine is None or table is None or arrivals.arrived_ns[row] == arrivals.known_ns[row]:
            return False
        arrivals.known_ns[row] = arrivals.arrived_ns[row]
        counter = machine.inflow.counter
        counter.expected, counter.received_count = int(arrivals.expected[row]), int(arrivals.received[row])
        arrived_ns = int(arrivals.arrived_ns[row]) + self.offsets[row]
        machine.handle_data(int(arrivals.timestamp_us[row]), machine.server, arrived_ns)
        if machine.state is not MemberState.RECEIVING:
            return False
        self.blocks.inform(table, row)
        return table.is_complete
