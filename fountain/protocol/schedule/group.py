"""What a group is sent next: the union of what its receivers still want.

The rules
---------
1. Blocks that wait for a cycle are sent upwards from where the stream is, again and again: each of the K source
   symbols once, then as many repair symbols as `ProactiveRepair` says. A block that has another cycle, since somebody
   came late, gets fresh repair symbols alone. These are as good for those who hold a part of it.
2. A need is one number, so one symbol serves the needs of all. Each report says how far a block has to be sent for its
   receiver: what was sent, and its deficit. A later report of the same receiver takes the place of the one before. So
   bad luck that good luck has made up for costs nothing. The block's deficit is that of its neediest receiver. It waits
   for the end of the block's own cycle, and is sent before the next one begins, always in symbols that nobody was sent.
   A deficit whose symbols are still being encoded waits while there is something else to send.
   A receiver that came when the block's cycle had begun, and lacks much of it, waits until everybody else is served.
   But nobody waits for the manifest, without which a receiver can only fill its memory. A receiver to which nothing
   comes is owed nothing but a few symbols when nothing else is sent, so that it can hear that data comes again.
3. Whatever one receiver asks for, the others go on: while blocks wait for a cycle, deficits get three of eight packets
   at most, and addresses take turns with theirs (`AddressTurns`). What a cycle sends for the worst receiver is bounded
   by what a usual one needs.
4. Packets are in flight to a receiver from `resolved` on, the sequence number up to which its report must have counted.
5. A cycle is contiguous, so that loss at any period meets every block alike.
6. A report costs what it says: nothing here goes through all blocks or all receivers for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.runs import Runs, without
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.api import GroupSchedule, always
from fountain.protocol.schedule.cycles import CycleQueue
from fountain.protocol.schedule.deficits import TURN_COUNT, Cycle, Deficits, OwedBlock, Receiver
from fountain.protocol.schedule.fresh import FreshSymbols
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.proactive import ProactiveRepair
from fountain.wire.session import MANIFEST_BIT, Run

__all__ = ["GroupCarousel"]

_LATE_SHARE = 0.25
_THOUSAND = 1000
_MANIFEST_EXTRA_COUNT = 2  # Without the manifest nothing can be verified, and its blocks are small.
DEFICIT_SHARE = 3 / 8  # of the packets at most, while blocks wait for a cycle, ...
_CREDIT_MAX = 256.0  # ... over about so many.
_AHEAD_COUNT_MAX = 2  # times K: repair symbols of a block that are encoded ahead
_LOOK_BLOCK_COUNT_MAX = 512  # blocks on their way that a report is compared with


def _probe(needs: Sequence[tuple[int, int]], missing: Sequence[Run]) -> tuple[list[tuple[int, int]], list[Run]]:
    """A little of what a receiver lacks to which nothing comes."""
    if needs:
        return [(block, min(need, TURN_COUNT)) for block, need in needs[:1]], []
    return [], [(first, 1) for first, _ in missing[:1]]


class GroupCarousel(GroupSchedule):
    """The order of one group's symbols; with `whole` it begins with all of them, else when a report says what lacks."""

    def __init__(self, geometry: Geometry, manifest: Geometry, lane: Lane, *, whole: bool = True) -> None:
        self._numbers = BlockNumbers(geometry, manifest)
        self.deficits = Deficits(self._numbers)
        self.proactive = ProactiveRepair(geometry.block_symbols_max)
        self._fresh = FreshSymbols(lane, self._numbers)
        self._queue = CycleQueue(self._numbers, whole=whole)
        self._cycling: OwedBlock | None = None  # the block that has a cycle
        self._credit = _CREDIT_MAX  # packets of deficits that may go before the cycle goes on
        self._recent: deque[tuple[int, int]] = deque()  # (one above the last sequence, block) of what was sent
        self._group_size = 1

    @property
    def has_work(self) -> bool:
        """As in `Schedule`."""
        return bool(self.deficits) or self.is_cycling

    @property
    def is_cycling(self) -> bool:
        """Whether blocks are still to be sent from their start."""
        return self._cycling is not None or bool(self._queue)

    @property
    def cycle_overhead(self) -> int:
        """As in `GroupSchedule`."""
        return round(_THOUSAND * self.proactive.overhead)

    def expect_receivers(self, count: int) -> None:
        """There are about so many receivers: of many, somebody loses more of the manifest than anybody of a few."""
        self._group_size = count

    def plan_repair(self, loss: float, usual_loss: float = 1.0) -> None:
        """Send as many repair symbols in cycles as the worst receiver, which loses a share `loss`, will need.

        A usual one loses `usual_loss`: what the worst needs far beyond that it has to ask for.
        """
        for entry in self.proactive.take_settled():
            if not any(entry.late):  # A receiver that came late needs more, and not because it was lost.
                taken = self._fresh.taken_count(entry.block) / entry.symbol_count
                self.proactive.learn(taken, was_asked=entry.was_asked)
        self.proactive.plan(loss, usual_loss)

    def is_wanted(self, block: int) -> bool:
        """As in `Schedule`."""
        return block in self.deficits

    def planned(self, limit: int) -> list[tuple[int, int]]:
        """(block, symbols still to come) of what is not queued whole: the cycle that is going on, then the deficits."""
        planned = [] if self._cycling is None else [(self._cycling, self._cycling.cycle_left)]
        planned += [(entry, 0) for entry in islice(self.deficits, limit)]
        return [(entry.block, min(left + entry.late_deficit, 0xFFFF)) for entry, left in planned[:limit]]

    def queued(self, limit: int) -> list[Run]:
        """Runs of blocks that will be sent whole."""
        return self._queue.runs(limit)

    def poll_preparation(self) -> BlockSymbols | None:
        """As in `Schedule`."""
        entries = self.deficits.ahead()
        if self._cycling is not None and self._cycling.cycle is not None and not self._cycling.cycle.is_fresh:
            entries.append(self._cycling)
        for entry in entries:
            coming = entry.late_deficit + (0 if entry.cycle is None else entry.cycle.repair_left)
            named = self._fresh.announce(entry.block, min(coming, _AHEAD_COUNT_MAX * entry.symbol_count))
            if named is not None:
                return named
        return None

    def take(
        self, limit: int, sequence: int, is_prepared: Callable[[int], bool] = always
    ) -> list[BlockSymbols]:  # fmt: skip
        """As in `Schedule`."""
        blocks: list[BlockSymbols] = []
        while limit > 0:
            step = self._next(limit, is_prepared)
            if step is None:
                break
            block, esis = step
            entry = self.deficits.entry(block)
            entry.note_sent(sequence, len(esis))
            self.deficits.revise(entry)
            sequence += len(esis)
            limit -= len(esis)
            if self._recent and self._recent[-1][1] == block:
                self._recent.pop()
            self._recent.append((sequence, block))
            blocks.append((block, esis))
        return blocks

    def settle(
        self, receiver: Receiver, needs: Sequence[tuple[int, int]], missing: Sequence[Run], *, is_last_word: bool
    ) -> bool:  # fmt: skip
        """Take in a report of a receiver; whether it made anything more to be sent.

        Where symbols are in flight a standard deviation less than the mean is owed, because later reports say what is
        missing and nothing takes back what was too much; the mean with `is_last_word`, when only this holds up the end.
        """
        added = False
        if receiver.is_deaf:
            self.release(receiver.peer_id)
            if self.has_work:
                return False
            needs, missing = _probe(needs, missing)
        needed = {block: need for block, need in needs if need}
        self.deficits.keep(receiver.peer_id, needed)
        for block, need in needed.items():
            if block in self._numbers and block not in self._queue:
                entry = self.deficits.entry(block)
                if 2 * need >= entry.symbol_count and not self._queue.has_begun(block):
                    # It was never sent: the others want it as well, and a cycle serves all alike.
                    added |= self._want_whole(receiver, [(block, 1)])
                    continue
                # Of a receiver that was first heard after a while `came` only says that something was lost before.
                is_much = need > _LATE_SHARE * entry.symbol_count
                is_late = receiver.came > entry.began and is_much and not block & MANIFEST_BIT
                is_late = is_late or receiver.peer_id in entry.late
                added |= self.deficits.owe(receiver, entry, need, is_late=is_late, is_last_word=is_last_word)
        if missing:
            runs = Runs()
            for run in missing:
                for first, count in self._clipped(run):
                    runs.add(first, count)
            added |= self._want_whole(receiver, runs.page(0, len(runs) or 1))
        return added

    def release(self, peer_id: bytes) -> None:
        """A receiver takes no part any more: nothing is owed to it."""
        self.deficits.release(peer_id)
        self._queue.release(peer_id)

    def forget(self, sequence: int) -> None:
        """No receiver can still be waiting for packets below `sequence`."""
        while self._recent and self._recent[0][0] <= sequence:
            self._recent.popleft()
        self.deficits.forget(sequence)

    def lose_track(self) -> None:
        """Sequence numbers begin anew: nothing that was sent is in flight."""
        self._recent.clear()
        self.deficits.lose_track()

    # --- Inside --------------------------------------------------------------------------------------------

    def _want_whole(self, receiver: Receiver, runs: Sequence[Run]) -> bool:
        """Let blocks of which a receiver has nothing have a cycle each, unless most of one is on its way."""
        on_their_way = self._on_their_way(receiver.resolved)
        added = False
        self._queue.note_asker(receiver.peer_id)
        for first, count in runs:
            start, end = bisect_left(on_their_way, first), bisect_left(on_their_way, first + count)
            coming = [
                entry
                for block in on_their_way[start:end]
                if (entry := self.deficits.blocks.get(block)) is not None
                and 2 * entry.coming_count(receiver.resolved) >= entry.symbol_count
            ]
            for entry in coming:
                added |= self.deficits.owe(receiver, entry, entry.symbol_count, is_last_word=True)
            for left in without((first, count), ((entry.block, 1) for entry in coming)):
                added |= self._queue.want(left)
        return added

    def _on_their_way(self, resolved: int) -> list[int]:
        """Blocks of which symbols are owed, or in flight where those below `resolved` are not any more; ascending."""
        blocks = {entry.block for entry in islice(self.deficits, _LOOK_BLOCK_COUNT_MAX)}
        if self._cycling is not None:
            blocks.add(self._cycling.block)
        for end, block in islice(reversed(self._recent), _LOOK_BLOCK_COUNT_MAX):
            if end <= resolved:
                break
            blocks.add(block)
        return sorted(blocks)

    def _next(self, limit: int, is_prepared: Callable[[int], bool]) -> BlockSymbols | None:
        """What is sent next: deficits, the cycle, and what is owed to those for whom nobody waits."""
        if not self.is_cycling:
            found = self.deficits.next(limit, is_prepared) or self.deficits.next(limit, always)
            found = found or self.deficits.next_late(limit, always)
            return None if found is None else self._fresh.take(*found)
        if self._credit > 0:
            found = self.deficits.next(limit, is_prepared)
            if found is not None:
                self._credit -= found[1]
                return self._fresh.take(*found)
        step = self._cycle(limit)
        if step is not None:
            earned = len(step[1]) * DEFICIT_SHARE / (1.0 - DEFICIT_SHARE)
            self._credit = min(_CREDIT_MAX, self._credit + earned)
        return step

    def _cycle(self, limit: int) -> BlockSymbols | None:
        entry = self._cycling or self._start()
        if entry is None:
            return None
        cycle = entry.cycle
        assert cycle is not None, "the block that is cycling has a cycle"
        count, sources_left = min(limit, cycle.left), cycle.symbol_count - cycle.sent
        if cycle.is_fresh or sources_left <= 0:
            symbols = self._fresh.take(entry.block, count)
        else:
            symbols = self._fresh.source(entry.block, cycle.sent, min(count, sources_left))
        cycle.sent += len(symbols[1])
        if cycle.sent >= cycle.symbol_count and not cycle.is_fresh:
            # By now more is known of the loss than when the block was begun.
            cycle.total = max(cycle.sent, self._total(entry))
        if not cycle.left:
            self._cycling = entry.cycle = None
            if not cycle.is_fresh and not entry.block & MANIFEST_BIT:
                self.proactive.note_ended(entry)
        return symbols

    def _start(self) -> OwedBlock | None:
        # The manifest goes once more only as often as deficits may be sent.
        block = self._queue.pop(may_repeat=self._credit > 0)
        if block is None:
            return None
        has_begun = self._queue.has_begun(block)
        self._queue.begin(block)
        entry = self._cycling = self.deficits.entry(block)
        if block & MANIFEST_BIT and has_begun:
            self._credit -= entry.symbol_count
        entry.began = -1
        for peer_id in list(entry.late):  # It is sent whole: nobody is late for that.
            entry.late.drop(peer_id)
        is_fresh = has_begun or not self._fresh.lane.systematic
        entry.cycle = Cycle(entry.symbol_count, self._total(entry), is_fresh)
        return entry

    def _total(self, entry: OwedBlock) -> int:
        """Symbols of a block's cycle."""
        extra = round(entry.symbol_count * self.proactive.overhead)
        if entry.block & MANIFEST_BIT:
            extra = max(extra, _MANIFEST_EXTRA_COUNT + (self._group_size.bit_length() - 1) // 2)
        return entry.symbol_count + extra

    def _clipped(self, run: Run) -> list[Run]:
        """The blocks of a run that exist."""
        first, count = run
        limit = self._numbers.block_count(first)
        index = first & ~MANIFEST_BIT
        return [(first, min(count, limit - index))] if index < limit else []
