"""What one unicast session sends next.

The rules
---------
1. The manifest's blocks come first, unless the client has them. The object's blocks follow in order.
2. A block is opened by its cycle: each of its K source symbols is sent once, starting at the session's own place. Codes
   that are not systematic send K symbols of the lane. A block that the client holds in part since an earlier session
   has no cycle, or not the rest of it: only its need is sent.
3. Every report settles the deficit of each open block: its need, less what is in flight and likely to arrive, over the
   share that arrives. Deficits are sent before the cycle goes on, the oldest block first, always with fresh symbols. A
   deficit whose symbols are still being encoded waits, as long as there is something else to send.
4. Packets are in flight until a report's `expected_sequence` passes them, or until a report comes that should have
   counted them. So a lost tail can never make the stream wait for itself.
5. No more than `open_limit` blocks are open at once. That is the client's memory, and its way to slow the stream down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.runs import Runs
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.api import Schedule, always
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.owed import Arrivals, Flight
from fountain.wire.session import MANIFEST_BIT, NEED_COUNT_MAX

__all__ = ["UnicastCarousel"]

# At the end, when nothing else is left to be sent, a round trip is saved by ...
_LAST_DEVIATIONS = 3.0  # ... so many deviations more than the mean, ...
_LAST_SHARE = 0.125  # ... if that is no more than an eighth of what is in flight: else waiting costs little.


@dataclass(eq=False)
class _OpenBlock:
    """A block that was started and is not known to be done."""

    block: int
    symbol_count: int
    has_cycled: bool = False  # its cycle is over, or it has none
    cycle_sent: int = 0
    repair_sent: int = 0
    repair_announced: int = 0  # up to where `poll_preparation` has named them
    need: int = 0
    deficit: int = 0
    flight: Flight = field(default_factory=Flight)

    def settle(self, resolved: int, loss: float, *, is_last: bool) -> None:
        """Compute the deficit from the need, given that packets below sequence `resolved` arrived or were lost.

        `is_last`: nothing else is to be sent, and what lacks when the packets in flight have come costs a round trip.
        """
        arrivals = self._arrivals(resolved, loss)
        is_worth_it = _LAST_DEVIATIONS * arrivals.deviation <= _LAST_SHARE * arrivals.flying_count
        self.deficit = arrivals.deficit(self.need, _LAST_DEVIATIONS if is_last and is_worth_it else -1.0)

    def is_held_in_part(self, need: int, resolved: int, loss: float) -> bool:
        """Whether a client that still needs so many symbols has clearly more than this session sent it."""
        arrivals = self._arrivals(resolved, loss)
        return (need - arrivals.mean) / arrivals.share < 0.75 * (self.symbol_count - self.cycle_sent)

    def _arrivals(self, resolved: int, loss: float) -> Arrivals:
        self.flight.forget(resolved)
        return Arrivals(self.flight.count(resolved), loss)


class UnicastCarousel(Schedule):
    """The order of one session's symbols. Pure: it learns of time and packets only as numbers."""

    def __init__(
        self, geometry: Geometry, manifest: Geometry, lane: Lane, done: Sequence[tuple[int, int]], open_limit: int,
        *, has_manifest: bool,
    ) -> None:  # fmt: skip
        self.open_limit = open_limit
        self._numbers = BlockNumbers(geometry, manifest)
        self.done = Runs()
        self._add_done(done)
        self._lane = lane
        self._manifest_next = manifest.block_count if has_manifest else 0
        self._has_manifest = has_manifest
        self._held: set[int] = set()  # blocks of the manifest that the client holds; if one fails, it is named again
        self._next = 0
        self._open: dict[int, _OpenBlock] = {}
        self._in_deficit: deque[_OpenBlock] = deque()
        self._cycling: _OpenBlock | None = None

    @property
    def has_work(self) -> bool:
        """As in `Schedule`."""
        return bool(self._in_deficit) or self._cycling is not None or self._can_start()

    def is_wanted(self, block: int) -> bool:
        """As in `Schedule`."""
        return block in self._open

    @property
    def done_fraction(self) -> float:
        """Share of the object's blocks that the client has verified."""
        block_count = self._numbers.geometry.block_count
        return self.done.count / block_count if block_count else 0.0

    @property
    def is_complete(self) -> bool:
        """Every block is known to be done."""
        return self._has_manifest and self.done.count >= self._numbers.geometry.block_count

    def poll_preparation(self) -> BlockSymbols | None:
        """As in `Schedule`: the deficits that a report has named."""
        for entry in self._in_deficit:
            first = max(entry.repair_announced, entry.repair_sent)
            end = entry.repair_sent + entry.deficit
            if end > first:
                entry.repair_announced = end
                return entry.block, self._lane.repair(entry.symbol_count, first, end - first)
        return None

    def take(
        self, limit: int, sequence: int, is_prepared: Callable[[int], bool] = always
    ) -> list[BlockSymbols]:  # fmt: skip
        """As in `Schedule`."""
        blocks: list[BlockSymbols] = []
        while limit > 0:
            step = self._repair(limit, is_prepared) or self._cycle(limit) or self._repair(limit, always)
            if step is None:
                break
            block, esis = step
            block.flight.note_sent(sequence, len(esis))
            sequence += len(esis)
            limit -= len(esis)
            blocks.append((block.block, esis))
        return blocks

    def settle(
        self, done: Sequence[tuple[int, int]], needs: Sequence[tuple[int, int]], resolved: int, loss: float,
        *, has_manifest: bool, open_limit: int | None = None,
    ) -> None:  # fmt: skip
        """Take in a report; packets below sequence `resolved` have arrived or are lost, a share `loss` of them.

        From now on no more than `open_limit` blocks are open at once, as far as the report says.
        """
        self.open_limit = self.open_limit if open_limit is None else open_limit
        self._add_done(done)
        self._has_manifest = self._has_manifest or has_manifest
        if self._has_manifest:
            self._manifest_next = self._numbers.manifest.block_count
        reported = dict(needs)
        self._held.update(b for b, need in reported.items() if b & MANIFEST_BIT and not need and b in self._numbers)
        self._held.difference_update(b for b, need in reported.items() if need)
        for block in [block for block in self._open if self._is_done(block)]:
            if self._cycling is self._open.pop(block):
                self._cycling = None
        for block, need in reported.items():
            if len(self._open) >= 2 * NEED_COUNT_MAX:
                break
            if block not in self._open and not self._is_done(block) and block in self._numbers:
                # Held in part since an earlier session. Opened beyond the limit if need be: it fills no new memory.
                self._open[block] = _OpenBlock(block, self._numbers.symbol_count(block), has_cycled=True, need=need)
        cycling = self._cycling
        if cycling and cycling.block in reported and cycling.is_held_in_part(reported[cycling.block], resolved, loss):
            cycling.has_cycled = True
            self._cycling = None
        self._in_deficit.clear()
        is_last = self._cycling is None and not self._can_start() and len(self._open) < self.open_limit
        for entry in self._open.values():
            entry.deficit = 0
            if entry.has_cycled:
                # A block that the client does not name is one of which nothing has arrived.
                entry.need = min(reported.get(entry.block, entry.symbol_count), 2 * entry.symbol_count)
                entry.settle(resolved, loss, is_last=is_last)
                if entry.deficit:
                    self._in_deficit.append(entry)

    def _add_done(self, runs: Sequence[tuple[int, int]]) -> None:
        """The client has verified these blocks; runs that go beyond the object are ignored."""
        for first, count in runs:
            if first + count <= self._numbers.geometry.block_count:
                self.done.add(first, count)

    def _repair(self, limit: int, may_send: Callable[[int], bool]) -> tuple[_OpenBlock, list[int]] | None:
        block = next((entry for entry in self._in_deficit if may_send(entry.block)), None)
        if block is None:
            return None
        count = min(limit, block.deficit)
        block.deficit -= count
        if not block.deficit:
            self._in_deficit.remove(block)
        return block, self._fresh(block, count)

    def _cycle(self, limit: int) -> tuple[_OpenBlock, list[int]] | None:
        block = self._cycling
        if block is None:
            block = self._start()
            if block is None:
                return None
        count = min(limit, block.symbol_count - block.cycle_sent)
        if self._lane.systematic:
            esis = self._lane.source(block.symbol_count, block.cycle_sent, count)
        else:
            esis = self._fresh(block, count)
        block.cycle_sent += count
        block.has_cycled = block.cycle_sent == block.symbol_count
        self._cycling = None if block.has_cycled else block
        return block, esis

    def _fresh(self, block: _OpenBlock, count: int) -> list[int]:
        esis = self._lane.repair(block.symbol_count, block.repair_sent, count)
        block.repair_sent += count
        return esis

    def _start(self) -> _OpenBlock | None:
        if not self._can_start():
            return None
        if self._manifest_next < self._numbers.manifest.block_count:
            block = self._manifest_next | MANIFEST_BIT
            self._manifest_next += 1
        else:
            block = self._next
            self._next += 1
        started = _OpenBlock(block, self._numbers.symbol_count(block))
        self._open[block] = started
        self._cycling = started
        return started

    def _can_start(self) -> bool:
        manifest_count, count = self._numbers.manifest.block_count, self._numbers.geometry.block_count
        while self._manifest_next < manifest_count and self._is_started(self._manifest_next | MANIFEST_BIT):
            self._manifest_next += 1
        while self._next < count and self._is_started(self._next):
            self._next += 1
        if len(self._open) >= min(self.open_limit, NEED_COUNT_MAX):
            return False
        return self._manifest_next < manifest_count or self._next < count

    def _is_done(self, block: int) -> bool:
        if block & MANIFEST_BIT:
            return self._has_manifest or block in self._held
        return block in self.done

    def _is_started(self, block: int) -> bool:
        return block in self._open or self._is_done(block)
