"""What a group is sent next: the union of what its receivers still want.

The rules
---------
1. Blocks that are queued are passed in order: each of the K source symbols once, then as many repair symbols as
   `overhead` foresees. A block that is passed again (somebody came late) gets fresh repair symbols alone, which are as
   good for those who hold a part of it.
2. A need is one number, so one symbol serves the needs of all. Each report says how far a block has to be sent for
   its receiver: what was sent, and its need less what is under way to it, over the share that arrives. A later report
   of the same receiver takes the place of the one before: bad luck that good luck has made up for costs nothing. What
   the neediest lacks is the block's debt. It waits for the end of the block's own pass, and is paid before the next one
   begins, always with symbols that nobody was sent; but a debt whose symbols are still being encoded waits while
   there is something else to send.
   Who came when the block's pass had begun and lacks much of it waits until everybody else is served; but nobody
   waits for the manifest, without which a receiver can only fill its memory.
3. Packets are under way to a receiver from `resolved` on, the sequence number up to which its report must have counted.
4. A pass is contiguous, so that loss at any period meets every block alike.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fountain.geometry import Geometry
from fountain.protocol.block_numbers import BlockNumbers
from fountain.protocol.carousel import Segment
from fountain.protocol.group.foresight import Foresight
from fountain.protocol.lane import Lane
from fountain.protocol.runs import without
from fountain.wire.session import MANIFEST_BIT, Run

__all__ = ["GroupCarousel"]

_LOSS_MAX = 0.95
_LATE_SHARE = 0.25
_THOUSAND = 1000
_MANIFEST_EXTRA_COUNT = 2  # Without the manifest nothing can be verified, and its blocks are small.


def _always(_block: int) -> bool:
    return True


@dataclass(eq=False)
class _Block:
    """A block of which symbols are owed or under way."""

    block: int
    symbol_count: int
    began: int = -1  # the packet that the latest pass of it began with; -1 until it goes
    sent: int = 0
    debt: int = 0
    late_debt: int = 0  # the same for those as well who came when its pass had begun
    was_asked: bool = False  # whether its pass alone was not enough
    targets: dict[bytes, int] = field(default_factory=dict)  # how far to send it, for each receiver that needs more
    late: set[bytes] = field(default_factory=set)  # of these, who came late
    under_way: deque[tuple[int, int]] = field(default_factory=deque)  # (first sequence, count), ascending

    def flying_count(self, resolved: int) -> int:
        """Symbols in packets from sequence `resolved` on."""
        total = 0
        for first, count in reversed(self.under_way):
            if first + count <= resolved:
                break
            total += count - max(0, resolved - first)
        return total


@dataclass(eq=False)
class _Pass:
    """A block that is being sent from its start to its end."""

    block: int
    symbol_count: int
    total: int
    is_fresh: bool  # repair symbols alone: its source symbols were sent in an earlier pass
    sent: int = 0


class GroupCarousel:
    """The order of one group's symbols; with `whole` it begins with all of them, else when a report says what lacks."""

    def __init__(self, geometry: Geometry, manifest: Geometry, lane: Lane, *, whole: bool = True) -> None:
        self.overhead = 0.0  # repair symbols of a pass, as a share of K
        self.crowd = 1  # receivers, about: of many, somebody loses more of the manifest than anybody of a few
        self.is_prepared: Callable[[int], bool] = _always
        self._numbers = BlockNumbers(geometry, manifest)
        self._lane = lane
        self._queue: deque[Run] = deque()
        self._asked: deque[Run] = deque()  # behind these, blocks that were sent before somebody came, ...
        self._askers: set[bytes] = set()  # ... and who asked for such
        self._passing: _Pass | None = None
        self._passed: set[int] = set()
        self._foresight = Foresight(geometry.block_symbols_max)
        self._ended: list[_Block] = []  # blocks passed since `foresee` was called, and ...
        self._settling: list[_Block] = []  # ... those before them, for which whoever lacks something has asked by now
        self._repair_next: dict[int, int] = {}
        self._announced: dict[int, int] = {}
        self._active: dict[int, _Block] = {}
        self._debtors: dict[int, _Block] = {}
        self._late_debtors: dict[int, _Block] = {}
        if whole and manifest.block_count:
            self._queue.append((MANIFEST_BIT, manifest.block_count))
        if whole and geometry.block_count:
            self._queue.append((0, geometry.block_count))

    @property
    def has_work(self) -> bool:
        """Whether `take` would give something."""
        return bool(self._debtors or self._late_debtors) or self.is_passing

    @property
    def is_passing(self) -> bool:
        """Whether blocks are still to be sent from their start."""
        return self._passing is not None or bool(self._queue or self._asked)

    @property
    def pass_overhead(self) -> int:
        """Repair symbols foreseen in a pass, in thousandths of K."""
        return round(_THOUSAND * self.overhead)

    def foresee(self, loss: float) -> None:
        """Put as many repair symbols into passes as the worst receiver, which loses a share `loss`, will need."""
        for entry in self._settling:
            if not entry.late:  # Who came late needs more, and not because it was lost.
                taken = self._repair_next.get(entry.block, 0) / entry.symbol_count
                self._foresight.learn(taken, was_asked=entry.was_asked)
        self._settling, self._ended = self._ended, []
        self.overhead = self._foresight.overhead(loss)

    def is_open(self, block: int) -> bool:
        """Whether symbols of `block` are owed."""
        return block in self._debtors or block in self._late_debtors

    def planned(self, limit: int) -> list[tuple[int, int]]:
        """(block, symbols still to come) of what is not queued whole: the pass that is going on, then the debts."""
        planned = []
        if self._passing is not None:
            block = self._passing.block
            planned.append((block, min(self._pass_left(block) + self._entry(block).late_debt, 0xFFFF)))
        debtors = {**self._debtors, **self._late_debtors}
        planned += [(entry.block, min(entry.late_debt, 0xFFFF)) for entry in debtors.values()]
        return planned[:limit]

    def queued(self, limit: int) -> list[Run]:
        """Runs of blocks that will be passed whole."""
        return [*self._queue, *self._asked][:limit]

    def poll_preparation(self) -> Segment | None:
        """Repair symbols that will be sent next, told once: they may be encoded ahead."""
        entries = list({**self._debtors, **self._late_debtors}.values())
        if self._passing is not None and not self._passing.is_fresh:
            entries.append(self._entry(self._passing.block))
        for entry in entries:
            next_repair = self._repair_next.get(entry.block, 0)
            first = max(self._announced.get(entry.block, 0), next_repair)
            end = next_repair + entry.late_debt + self._extra_left(entry.block)
            if end > first:
                self._announced[entry.block] = end
                return entry.block, self._lane.repair(entry.symbol_count, first, end - first)
        return None

    def take(self, limit: int, sequence: int) -> list[Segment]:
        """Up to `limit` symbols to send, in packets numbered from `sequence`."""
        segments: list[Segment] = []
        while limit > 0:
            step = (
                self._pay(limit, self.is_prepared)
                or self._pass(limit)
                or self._pay(limit, _always)
                or self._pay_late(limit)
            )
            if step is None:
                break
            block, esis = step
            entry = self._entry(block)
            if entry.began < 0:
                entry.began = sequence
            entry.under_way.append((sequence, len(esis)))
            entry.sent += len(esis)
            self._revise(entry)
            sequence += len(esis)
            limit -= len(esis)
            segments.append((block, esis))
        return segments

    def settle(
        self, peer_id: bytes, needs: Sequence[tuple[int, int]], missing: Sequence[Run], resolved: int, loss: float,
        *, is_last_word: bool, came: int = 0,
    ) -> bool:  # fmt: skip
        """Take in a report of a receiver that has counted all packets below `resolved` and loses a share `loss`.

        `came` is the first packet that it could count.

        Where symbols are under way a standard deviation less than the mean is owed, because later reports tell what is
        missing and nothing takes back what was too much; the mean with `is_last_word`, when only this holds up the end.
        Returns whether anything was added.
        """
        loss = min(loss, _LOSS_MAX)
        added = False
        needed = {block: need for block, need in needs if need}
        for block, entry in self._active.items():
            if block not in needed and entry.targets.pop(peer_id, None) is not None:
                self._revise(entry)
        for block, need in needed.items():
            if block in self._numbers and not self._is_queued(block):
                entry = self._entry(block)
                # Of whoever was first heard after a while `came` says no more than that something was lost before.
                is_much = need > _LATE_SHARE * entry.symbol_count
                if came > entry.began and is_much and not block & MANIFEST_BIT:
                    entry.late.add(peer_id)
                added |= self._owe(peer_id, block, need, resolved, loss, is_last_word=is_last_word)
        for run in missing:
            for clipped in self._clipped(run):
                added |= self._want_whole(peer_id, clipped, resolved, loss)
        return added

    def release(self, peer_id: bytes) -> None:
        """A receiver takes no part any more: nothing is owed to it."""
        for entry in self._active.values():
            if entry.targets.pop(peer_id, None) is not None:
                self._revise(entry)
        self._askers.discard(peer_id)
        if not self._askers:
            self._asked.clear()  # Whoever relied on another's word asks by itself.

    def forget(self, sequence: int) -> None:
        """No receiver can still be waiting for packets below `sequence`."""
        for block in list(self._active):
            entry = self._active[block]
            while entry.under_way and sum(entry.under_way[0]) <= sequence:
                entry.under_way.popleft()
            passing = self._passing is not None and self._passing.block == block
            if not entry.under_way and not entry.late_debt and not passing:
                del self._active[block]

    def lose_track(self) -> None:
        """Sequence numbers begin anew: nothing that was sent is on its way."""
        for entry in self._active.values():
            entry.under_way.clear()
            entry.targets.clear()
            entry.late.clear()
            entry.began = 0
            self._revise(entry)

    # --- Inside --------------------------------------------------------------------------------------------

    def _owe(
        self, peer_id: bytes, block: int, need: int, resolved: int, loss: float, *, is_last_word: bool
    ) -> bool:  # fmt: skip
        entry = self._entry(block)
        flying = entry.flying_count(resolved)
        arriving = flying * (1.0 - loss)
        margin = 0.0 if is_last_word else math.sqrt(flying * loss * (1.0 - loss))
        owed = min(need, 2 * entry.symbol_count) - arriving - margin
        if flying and owed <= 0.5:
            entry.targets.pop(peer_id, None)
        else:
            entry.targets[peer_id] = entry.sent + max(1, round(owed / (1.0 - loss)))
        before = entry.late_debt
        self._revise(entry)
        entry.was_asked |= entry.late_debt > 0
        return entry.late_debt > before

    def _want_whole(self, peer_id: bytes, run: Run, resolved: int, loss: float) -> bool:
        """Blocks of which somebody has nothing: a pass for each, unless most of one is on its way."""
        first, count = run
        inside = [entry for block, entry in self._active.items() if first <= block < first + count]
        coming = [entry for entry in inside if 2 * self._coming_count(entry, resolved) >= entry.symbol_count]
        added = False
        for entry in coming:
            added |= self._owe(peer_id, entry.block, entry.symbol_count, resolved, loss, is_last_word=True)
        self._askers.add(peer_id)
        for left in without(run, [*self._queue, *self._asked, *((entry.block, 1) for entry in coming)]):
            if first & MANIFEST_BIT:
                self._queue.appendleft(left)  # It is small, and without it a receiver can only fill its memory.
            else:
                self._asked.append(left)  # Whoever comes late makes nobody else wait.
            added = True
        return added

    def _coming_count(self, entry: _Block, resolved: int) -> int:
        """Symbols of a block that a receiver which has counted all below `resolved` is yet to be sent."""
        return entry.late_debt + entry.flying_count(resolved) + self._pass_left(entry.block)

    def _revise(self, entry: _Block) -> None:
        """Compute a block's debts anew. While it is being passed, nothing has to be paid yet."""
        left = self._pass_left(entry.block)
        covered = entry.sent + left
        entry.late_debt = max(0, max(entry.targets.values(), default=0) - covered)
        entry.debt = entry.late_debt
        if entry.late:
            urgent = (target for peer_id, target in entry.targets.items() if peer_id not in entry.late)
            entry.debt = max(0, max(urgent, default=0) - covered)
        for debtors, debt in ((self._debtors, entry.debt), (self._late_debtors, entry.late_debt - entry.debt)):
            if debt and not left:
                debtors[entry.block] = entry
            else:
                debtors.pop(entry.block, None)

    def _pass_left(self, block: int) -> int:
        passing = self._passing
        return passing.total - passing.sent if passing is not None and passing.block == block else 0

    def _extra_left(self, block: int) -> int:
        """Repair symbols that the pass of a block has still to send."""
        passing = self._passing
        if passing is None or passing.block != block:
            return 0
        return passing.total - max(passing.sent, passing.symbol_count)

    def _pay(self, limit: int, may_pay: Callable[[int], bool]) -> Segment | None:
        entry = next((entry for entry in self._debtors.values() if may_pay(entry.block)), None)
        if entry is None:
            return None
        return entry.block, self._fresh(entry.block, entry.symbol_count, min(limit, entry.debt))

    def _pay_late(self, limit: int) -> Segment | None:
        entry = next(iter(self._late_debtors.values()), None)
        if entry is None:
            return None
        return entry.block, self._fresh(entry.block, entry.symbol_count, min(limit, entry.late_debt))

    def _pass(self, limit: int) -> Segment | None:
        passing = self._passing or self._start()
        if passing is None:
            return None
        count, sources_left = min(limit, passing.total - passing.sent), passing.symbol_count - passing.sent
        if passing.is_fresh or sources_left <= 0:
            esis = self._fresh(passing.block, passing.symbol_count, count)
        else:
            esis = self._lane.source(passing.symbol_count, passing.sent, min(count, sources_left))
        passing.sent += len(esis)
        if passing.sent >= passing.symbol_count and not passing.is_fresh:
            # By now more is known of the loss than when the block was begun.
            passing.total = max(passing.sent, self._total(passing.block, passing.symbol_count))
        if passing.sent >= passing.total:
            self._passing = None
            if not passing.is_fresh and not passing.block & MANIFEST_BIT:
                self._ended.append(self._entry(passing.block))
        return passing.block, esis

    def _start(self) -> _Pass | None:
        queue = self._queue or self._asked
        if not queue:
            return None
        first, count = queue.popleft()
        if count > 1:
            queue.appendleft((first + 1, count - 1))
        symbol_count = self._numbers.symbol_count(first)
        is_fresh = not self._lane.systematic or first in self._passed
        self._passed.add(first)
        entry = self._entry(first)
        entry.began = -1
        entry.late.clear()
        self._passing = _Pass(first, symbol_count, self._total(first, symbol_count), is_fresh)
        return self._passing

    def _total(self, block: int, symbol_count: int) -> int:
        extra = round(symbol_count * self.overhead)
        return symbol_count + (max(extra, self._manifest_extra) if block & MANIFEST_BIT else extra)

    @property
    def _manifest_extra(self) -> int:
        return _MANIFEST_EXTRA_COUNT + (self.crowd.bit_length() - 1) // 2

    def _fresh(self, block: int, symbol_count: int, count: int) -> list[int]:
        start = self._repair_next.get(block, 0)
        self._repair_next[block] = start + count
        return self._lane.repair(symbol_count, start, count)

    def _entry(self, block: int) -> _Block:
        entry = self._active.get(block)
        if entry is None:
            entry = self._active[block] = _Block(block, self._numbers.symbol_count(block))
        return entry

    def _clipped(self, run: Run) -> list[Run]:
        """The blocks of a run that exist."""
        first, count = run
        limit = self._numbers.block_count(first)
        index = first & ~MANIFEST_BIT
        return [(first, min(count, limit - index))] if index < limit else []

    def _is_queued(self, block: int) -> bool:
        return any(first <= block < first + count for first, count in (*self._queue, *self._asked))
