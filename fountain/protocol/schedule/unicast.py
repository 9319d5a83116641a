"""What one unicast session sends next.

The rules
---------
1. The manifest's blocks come first (unless the client has them), then the object's, in order.
2. A block is opened by its pass: each of its K source symbols once, starting at the session's own place (codes that
   are not systematic send K symbols of the lane). A block that the client holds a part of already, from an earlier
   session, has no pass, or not the rest of it: only its need is sent.
3. Every report settles what is owed: the need of each open block, less what is still under way and likely to arrive,
   over the share that arrives. Debts are paid before the pass goes on, oldest block first, always with fresh symbols;
   but one whose symbols are still being encoded waits, as long as there is something else to send.
4. Packets count as under way until a report's `expected_sequence` passes them, or until a report comes that should have
   seen them: a lost tail can never make the stream wait for itself.
5. No more than `open_limit` blocks are open at once: that is the client's memory, and its way to slow the stream down.
   Nor more than a Report can name, whatever the client says: each costs the server time with every Report.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.runs import Runs
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.lane import Lane
from fountain.wire.session import MANIFEST_BIT, NEED_COUNT_MAX

__all__ = ["Carousel"]

# At the end, when nothing else is left to be sent, a round trip is saved by ...
_LAST_DEVIATIONS = 3.0  # ... so much more than the mean, ...
_LAST_SHARE = 0.125  # ... if that is no more than an eighth of what is under way: where that is little, waiting is too.


def _always(_block: int) -> bool:
    return True


@dataclass(eq=False)
class _OpenBlock:
    """A block that was started and is not known to be done."""

    block: int
    symbol_count: int
    passed: bool = False  # its pass is over, or it has none
    pass_sent: int = 0
    repair_sent: int = 0
    repair_announced: int = 0  # up to where `poll_preparation` has told of them
    need: int = 0
    debt: int = 0
    under_way: deque[tuple[int, int]] = field(default_factory=deque)  # (first sequence, count), ascending

    def settle(self, resolved: int, loss: float, *, is_last: bool) -> None:
        """Compute the debt from the need, given that packets below sequence `resolved` arrived or were lost.

        `is_last`: nothing else is to be sent, and what lacks when the packets under way have come costs a round trip.
        """
        flying = self._flying_count(resolved)
        arriving = flying * (1.0 - loss)
        deviation = math.sqrt(flying * loss * (1.0 - loss))
        # One standard deviation less than the mean while packets fly: a later report corrects what is missing, but
        # nothing takes back what was sent too much.
        margin = -deviation
        if is_last and _LAST_DEVIATIONS * deviation <= _LAST_SHARE * flying:
            margin = _LAST_DEVIATIONS * deviation
        owed = self.need - arriving + margin if flying else float(self.need)
        self.debt = max(1, round(owed / (1.0 - loss))) if owed > 0.5 else 0

    def is_held_in_part(self, need: int, resolved: int, loss: float) -> bool:
        """Whether a client that still needs so many symbols has clearly more than this session sent it."""
        arriving = self._flying_count(resolved) * (1.0 - loss)
        return (need - arriving) / (1.0 - loss) < 0.75 * (self.symbol_count - self.pass_sent)

    def _flying_count(self, resolved: int) -> int:
        while self.under_way and self.under_way[0][0] + self.under_way[0][1] <= resolved:
            self.under_way.popleft()
        return sum(count - max(0, resolved - first) for first, count in self.under_way)


class Carousel:
    """The order of one session's symbols. Pure: it learns of time and packets only as numbers."""

    def __init__(
        self, geometry: Geometry, manifest: Geometry, lane: Lane, done: Sequence[tuple[int, int]], open_limit: int,
        *, has_manifest: bool,
    ) -> None:  # fmt: skip
        self.done = Runs(done)
        self.open_limit = open_limit
        self.is_prepared: Callable[[int], bool] = _always  # whether a block's debt is encoded: others wait for the pass
        self._geometry = geometry
        self._manifest = manifest
        self._numbers = BlockNumbers(geometry, manifest)
        self._lane = lane
        self._manifest_next = manifest.block_count if has_manifest else 0
        self._has_manifest = has_manifest
        self._held: set[int] = set()  # blocks of the manifest that the client holds; if one fails, it is named again
        self._next = 0
        self._open: dict[int, _OpenBlock] = {}
        self._debtors: deque[_OpenBlock] = deque()
        self._passing: _OpenBlock | None = None

    @property
    def has_work(self) -> bool:
        """Whether `take` would give something."""
        return bool(self._debtors) or self._passing is not None or self._can_start()

    def is_wanted(self, block: int) -> bool:
        """Whether symbols of `block` may still be sent."""
        return block in self._open

    @property
    def is_complete(self) -> bool:
        """Every block is known to be done."""
        return self._has_manifest and self.done.count >= self._geometry.block_count

    def poll_preparation(self) -> BlockSymbols | None:
        """Symbols of a debt that will be sent next, told once: they may be encoded ahead."""
        for entry in self._debtors:
            first = max(entry.repair_announced, entry.repair_sent)
            end = entry.repair_sent + entry.debt
            if end > first:
                entry.repair_announced = end
                return entry.block, self._lane.repair(entry.symbol_count, first, end - first)
        return None

    def take(self, limit: int, sequence: int) -> list[BlockSymbols]:
        """Up to `limit` symbols to send, in packets numbered from `sequence`."""
        blocks: list[BlockSymbols] = []
        while limit > 0:
            step = self._pay(limit, self.is_prepared) or self._pass(limit) or self._pay(limit, _always)
            if step is None:
                break
            block, esis = step
            block.under_way.append((sequence, len(esis)))
            sequence += len(esis)
            limit -= len(esis)
            blocks.append((block.block, esis))
        return blocks

    def settle(
        self, done: Sequence[tuple[int, int]], needs: Sequence[tuple[int, int]], resolved: int, loss: float,
        *, has_manifest: bool,
    ) -> None:  # fmt: skip
        """Take in a report; packets below sequence `resolved` have arrived or are lost, a share `loss` of them."""
        loss = min(loss, 0.95)
        for first, count in done:
            self.done.add(first, count)
        self._has_manifest = self._has_manifest or has_manifest
        if self._has_manifest:
            self._manifest_next = self._manifest.block_count
        reported = dict(needs)
        self._held.update(b for b, need in reported.items() if b & MANIFEST_BIT and not need and b in self._numbers)
        self._held.difference_update(b for b, need in reported.items() if need)
        for block in [block for block in self._open if self._is_done(block)]:
            if self._passing is self._open.pop(block):
                self._passing = None
        for block, need in reported.items():
            if len(self._open) >= 2 * NEED_COUNT_MAX:
                break
            if block not in self._open and not self._is_done(block) and block in self._numbers:
                # Held in part since an earlier session. Opened beyond the limit if need be: it fills no new memory.
                self._open[block] = _OpenBlock(block, self._numbers.symbol_count(block), passed=True, need=need)
        passing = self._passing
        if passing and passing.block in reported and passing.is_held_in_part(reported[passing.block], resolved, loss):
            passing.passed = True
            self._passing = None
        self._debtors.clear()
        is_last = self._passing is None and not self._can_start() and len(self._open) < self.open_limit
        for entry in self._open.values():
            entry.debt = 0
            if entry.passed:
                # A block that the client does not name is one of which nothing has arrived.
                entry.need = min(reported.get(entry.block, entry.symbol_count), 2 * entry.symbol_count)
                entry.settle(resolved, loss, is_last=is_last)
                if entry.debt:
                    self._debtors.append(entry)

    def _pay(self, limit: int, may_pay: Callable[[int], bool]) -> tuple[_OpenBlock, list[int]] | None:
        block = next((entry for entry in self._debtors if may_pay(entry.block)), None)
        if block is None:
            return None
        count = min(limit, block.debt)
        block.debt -= count
        if not block.debt:
            self._debtors.remove(block)
        return block, self._fresh(block, count)

    def _pass(self, limit: int) -> tuple[_OpenBlock, list[int]] | None:
        block = self._passing
        if block is None:
            block = self._start()
            if block is None:
                return None
        count = min(limit, block.symbol_count - block.pass_sent)
        if self._lane.systematic:
            esis = self._lane.source(block.symbol_count, block.pass_sent, count)
        else:
            esis = self._fresh(block, count)
        block.pass_sent += count
        block.passed = block.pass_sent == block.symbol_count
        self._passing = None if block.passed else block
        return block, esis

    def _fresh(self, block: _OpenBlock, count: int) -> list[int]:
        esis = self._lane.repair(block.symbol_count, block.repair_sent, count)
        block.repair_sent += count
        return esis

    def _start(self) -> _OpenBlock | None:
        if not self._can_start():
            return None
        if self._manifest_next < self._manifest.block_count:
            block = self._manifest_next | MANIFEST_BIT
            self._manifest_next += 1
        else:
            block = self._next
            self._next += 1
        started = _OpenBlock(block, self._numbers.symbol_count(block))
        self._open[block] = started
        self._passing = started
        return started

    def _can_start(self) -> bool:
        while self._manifest_next < self._manifest.block_count and self._is_started(self._manifest_next | MANIFEST_BIT):
            self._manifest_next += 1
        while self._next < self._geometry.block_count and self._is_started(self._next):
            self._next += 1
        if len(self._open) >= min(self.open_limit, NEED_COUNT_MAX):
            return False
        return self._manifest_next < self._manifest.block_count or self._next < self._geometry.block_count

    def _is_done(self, block: int) -> bool:
        if block & MANIFEST_BIT:
            return self._has_manifest or block in self._held
        return block in self.done

    def _is_started(self, block: int) -> bool:
        return block in self._open or self._is_done(block)
