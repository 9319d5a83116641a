"""What a group is sent next: the union of what its receivers still want.

The rules
---------
1. Blocks that are queued are passed upwards from where the stream is, again and again: each of the K source symbols
   once, then as many repair symbols as `overhead` foresees. A block that is passed again (somebody came late) gets
   fresh repair symbols alone, which are as good for those who hold a part of it.
2. A need is one number, so one symbol serves the needs of all. Each report says how far a block has to be sent for
   its receiver: what was sent, and its need less what is under way to it, over the share that arrives. A later report
   of the same receiver takes the place of the one before: bad luck that good luck has made up for costs nothing. What
   the neediest lacks is the block's debt. It waits for the end of the block's own pass, and is paid before the next one
   begins, always with symbols that nobody was sent; but a debt whose symbols are still being encoded waits while
   there is something else to send.
   Who came when the block's pass had begun and lacks much of it waits until everybody else is served; but nobody
   waits for the manifest, without which a receiver can only fill its memory. Who hears nothing is owed nothing, but a
   few symbols when nothing else is sent: so it can hear that it hears again.
3. Whatever one receiver asks for, the others go on: while there are blocks to pass, debts get three of eight packets at
   most, and addresses take turns with theirs (`Turns`). What a pass foresees for the worst receiver is bounded by what
   a usual one needs.
4. Packets are under way to a receiver from `resolved` on, the sequence number up to which its report must have counted.
5. A pass is contiguous, so that loss at any period meets every block alike.
6. A report costs what it tells: nothing here goes through all blocks or all receivers for it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.runs import Runs, without
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.cycles import BlockQueue
from fountain.protocol.schedule.deficits import TURN_COUNT, Debt, Targets, Turns
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.proactive import Foresight
from fountain.wire.session import MANIFEST_BIT, Run

__all__ = ["GroupCarousel"]

_LOSS_MAX = 0.95
_LATE_SHARE = 0.25
_THOUSAND = 1000
_MANIFEST_EXTRA_COUNT = 2  # Without the manifest nothing can be verified, and its blocks are small.
DEBT_SHARE = 3 / 8  # of the packets at most, while there are blocks to pass, ...
_DEBT_CREDIT_MAX = 256.0  # ... over about so many.
FORESEEN_SHARE_MAX = 0.25  # of K, foreseen for the worst receiver beyond what a usual one needs
GREEDY_FACTOR, GREEDY_COUNT = 4, 1_000  # Who got GREEDY_FACTOR K + GREEDY_COUNT symbols of a block has it, or lies.
_AHEAD_COUNT_MAX = 2  # times K: repair symbols of a block that are encoded ahead
_LOOK_COUNT_MAX = 512  # blocks on their way that a report is compared with


def _probe(needs: Sequence[tuple[int, int]], missing: Sequence[Run]) -> tuple[list[tuple[int, int]], list[Run]]:
    """A little of what somebody lacks to whom nothing comes."""
    if needs:
        return [(block, min(need, TURN_COUNT)) for block, need in needs[:1]], []
    return [], [(first, 1) for first, _ in missing[:1]]


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
    urgent: Targets = field(default_factory=Targets)  # how far to send it, for each receiver that needs more ...
    late: Targets = field(default_factory=Targets)  # ... and for those who came late
    since: dict[bytes, int] = field(default_factory=dict)  # what had been sent when a receiver first asked
    under_way: deque[tuple[int, int]] = field(default_factory=deque)  # (first sequence, count), ascending

    def drop(self, peer_id: bytes) -> bool:
        """Nothing of it is owed to a receiver any more; whether it was."""
        was_urgent, was_late = self.urgent.drop(peer_id), self.late.drop(peer_id)
        return was_urgent or was_late

    def note_sent(self, sequence: int, count: int) -> None:
        """Symbols of it went, in packets from `sequence` on."""
        if self.under_way and sum(self.under_way[-1]) == sequence:
            first, before = self.under_way.pop()
            sequence, self.sent, count = first, self.sent - before, before + count
        self.under_way.append((sequence, count))
        self.sent += count

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
        self._manifest_queue = BlockQueue()
        self._queue = BlockQueue()
        self._askers: set[bytes] = set()  # who asked for blocks of the queue
        self.greedy: set[bytes] = set()  # who goes on asking for what it must have
        self._credit = _DEBT_CREDIT_MAX  # packets of debts that may go before the pass goes on
        self._recent: deque[tuple[int, int]] = deque()  # (one above the last sequence, block) of what was sent
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
        self._asked: dict[bytes, set[int]] = {}  # of which blocks a receiver needs more
        self._turns, self._late_turns = Turns(), Turns()
        if whole and manifest.block_count:
            self._manifest_queue.add(MANIFEST_BIT, manifest.block_count)
        if whole and geometry.block_count:
            self._queue.add(0, geometry.block_count)

    @property
    def has_work(self) -> bool:
        """Whether `take` would give something."""
        return bool(self._debtors or self._late_debtors) or self.is_passing

    @property
    def is_passing(self) -> bool:
        """Whether blocks are still to be sent from their start."""
        return self._passing is not None or bool(self._manifest_queue or self._queue)

    @property
    def pass_overhead(self) -> int:
        """Repair symbols foreseen in a pass, in thousandths of K."""
        return round(_THOUSAND * self.overhead)

    def foresee(self, loss: float, usual_loss: float = 1.0) -> None:
        """Put as many repair symbols into passes as the worst receiver, which loses a share `loss`, will need.

        A usual one loses `usual_loss`: what the worst needs far beyond that it has to ask for.
        """
        for entry in self._settling:
            if not any(entry.late):  # Who came late needs more, and not because it was lost.
                taken = self._repair_next.get(entry.block, 0) / entry.symbol_count
                self._foresight.learn(taken, was_asked=entry.was_asked)
        self._settling, self._ended = self._ended, []
        self.overhead = min(self._foresight.overhead(loss), self._foresight.crowd(usual_loss) + FORESEEN_SHARE_MAX)

    def is_wanted(self, block: int) -> bool:
        """Whether symbols of `block` are owed."""
        return block in self._debtors or block in self._late_debtors

    def planned(self, limit: int) -> list[tuple[int, int]]:
        """(block, symbols still to come) of what is not queued whole: the pass that is going on, then the debts."""
        planned = []
        if self._passing is not None:
            block = self._passing.block
            planned.append((block, min(self._pass_left(block) + self._entry(block).late_debt, 0xFFFF)))
        late = (entry for block, entry in self._late_debtors.items() if block not in self._debtors)
        owed = islice(chain(self._debtors.values(), late), limit)
        planned += [(entry.block, min(entry.late_debt, 0xFFFF)) for entry in owed]
        return planned[:limit]

    def queued(self, limit: int) -> list[Run]:
        """Runs of blocks that will be passed whole."""
        return [*self._manifest_queue.runs(limit), *self._queue.runs(limit)][:limit]

    def poll_preparation(self) -> BlockSymbols | None:
        """Repair symbols that will be sent next, told once: they may be encoded ahead."""
        entries = [self._active[block] for block in self._next_debtors() if block in self._active]
        if self._passing is not None and not self._passing.is_fresh:
            entries.append(self._entry(self._passing.block))
        for entry in entries:
            next_repair = self._repair_next.get(entry.block, 0)
            first = max(self._announced.get(entry.block, 0), next_repair)
            coming = min(entry.late_debt + self._extra_left(entry.block), _AHEAD_COUNT_MAX * entry.symbol_count)
            end = next_repair + coming
            if end > first:
                self._announced[entry.block] = end
                return entry.block, self._lane.repair(entry.symbol_count, first, end - first)
        return None

    def take(self, limit: int, sequence: int) -> list[BlockSymbols]:
        """Up to `limit` symbols to send, in packets numbered from `sequence`."""
        blocks: list[BlockSymbols] = []
        while limit > 0:
            step = self._next(limit)
            if step is None:
                break
            block, esis = step
            entry = self._entry(block)
            if entry.began < 0:
                entry.began = sequence
            entry.note_sent(sequence, len(esis))
            self._revise(entry)
            sequence += len(esis)
            limit -= len(esis)
            if self._recent and self._recent[-1][1] == block:
                self._recent.pop()
            self._recent.append((sequence, block))
            blocks.append((block, esis))
        return blocks

    def settle(
        self, peer_id: bytes, needs: Sequence[tuple[int, int]], missing: Sequence[Run], resolved: int, loss: float,
        *, is_last_word: bool, came: int = 0, party: str = "", is_deaf: bool = False,
    ) -> bool:  # fmt: skip
        """Take in a report of a receiver that has counted all packets below `resolved` and loses a share `loss`.

        `came` is the first packet that it could count, `party` its address; `is_deaf`: none comes to it now.

        Where symbols are under way a standard deviation less than the mean is owed, because later reports tell what is
        missing and nothing takes back what was too much; the mean with `is_last_word`, when only this holds up the end.
        Returns whether anything was added.
        """
        loss = min(loss, _LOSS_MAX)
        added = False
        if is_deaf:
            self.release(peer_id)
            if self.has_work:
                return False
            needs, missing = _probe(needs, missing)
        needed = {block: need for block, need in needs if need}
        for block in [block for block in self._asked.get(peer_id, ()) if block not in needed]:
            self._forgive(peer_id, block)
        for block, need in needed.items():
            if block in self._numbers and not self._is_queued(block):
                entry = self._entry(block)
                if 2 * need >= entry.symbol_count and block not in self._passed:
                    # It was never sent: the others want it as well, and a pass serves all alike.
                    added |= self._want_whole(peer_id, [(block, 1)], resolved, loss, party)
                    continue
                # Of whoever was first heard after a while `came` says no more than that something was lost before.
                is_much = need > _LATE_SHARE * entry.symbol_count
                is_late = came > entry.began and is_much and not block & MANIFEST_BIT
                if is_late or peer_id in entry.late:
                    entry.urgent.drop(peer_id)
                    targets, turns = entry.late, self._late_turns
                else:
                    targets, turns = entry.urgent, self._turns
                turns.add(party, (block, peer_id))
                added |= self._owe(peer_id, block, need, resolved, loss, targets, is_last_word=is_last_word)
        if missing:
            runs = Runs()
            for run in missing:
                for first, count in self._clipped(run):
                    runs.add(first, count)
            added |= self._want_whole(peer_id, list(runs.page(0, len(runs) or 1)), resolved, loss, party)
        return added

    def release(self, peer_id: bytes) -> None:
        """A receiver takes no part any more: nothing is owed to it."""
        for block in list(self._asked.get(peer_id, ())):
            self._forgive(peer_id, block)
        self.greedy.discard(peer_id)
        self._askers.discard(peer_id)
        if not self._askers:
            self._queue.clear()  # Whoever relied on another's word asks by itself.

    def forget(self, sequence: int) -> None:
        """No receiver can still be waiting for packets below `sequence`."""
        while self._recent and self._recent[0][0] <= sequence:
            self._recent.popleft()
        for block in list(self._active):
            entry = self._active[block]
            while entry.under_way and sum(entry.under_way[0]) <= sequence:
                entry.under_way.popleft()
            passing = self._passing is not None and self._passing.block == block
            if not entry.under_way and not entry.late_debt and not passing:
                self._disown(entry)
                del self._active[block]

    def lose_track(self) -> None:
        """Sequence numbers begin anew: nothing that was sent is on its way."""
        self._recent.clear()
        for entry in self._active.values():
            entry.under_way.clear()
            self._disown(entry)
            entry.urgent.clear()
            entry.late.clear()
            entry.since.clear()
            entry.began = 0
            self._revise(entry)

    # --- Inside --------------------------------------------------------------------------------------------

    def _owe(
        self, peer_id: bytes, block: int, need: int, resolved: int, loss: float, targets: Targets,
        *, is_last_word: bool,
    ) -> bool:  # fmt: skip
        entry = self._entry(block)
        flying = entry.flying_count(resolved)
        arriving = flying * (1.0 - loss)
        margin = 0.0 if is_last_word else math.sqrt(flying * loss * (1.0 - loss))
        owed = min(need, 2 * entry.symbol_count) - arriving - margin
        came = (entry.sent - flying - entry.since.setdefault(peer_id, entry.sent)) * (1.0 - loss)
        if came > GREEDY_FACTOR * entry.symbol_count + GREEDY_COUNT:
            self.greedy.add(peer_id)
        self._asked.setdefault(peer_id, set()).add(block)
        if flying and owed <= 0.5:
            targets.drop(peer_id)
        else:
            targets.put(peer_id, entry.sent + max(1, round(owed / (1.0 - loss))))
        before = entry.late_debt
        self._revise(entry)
        entry.was_asked |= entry.late_debt > 0
        return entry.late_debt > before

    def _want_whole(self, peer_id: bytes, runs: Sequence[Run], resolved: int, loss: float, party: str) -> bool:
        """Blocks of which somebody has nothing: a pass for each, unless most of one is on its way."""
        on_their_way = self._on_their_way(resolved)
        added = False
        self._askers.add(peer_id)
        for first, count in runs:
            start, end = bisect_left(on_their_way, first), bisect_left(on_their_way, first + count)
            coming = [
                entry
                for block in on_their_way[start:end]
                if (entry := self._active.get(block)) is not None
                and 2 * self._coming_count(entry, resolved) >= entry.symbol_count
            ]
            for entry in coming:
                self._turns.add(party, (entry.block, peer_id))
                added |= self._owe(
                    peer_id, entry.block, entry.symbol_count, resolved, loss, entry.urgent, is_last_word=True
                )
            queue = self._manifest_queue if first & MANIFEST_BIT else self._queue
            for left in without((first, count), ((entry.block, 1) for entry in coming)):
                for run in queue.lacking(left):
                    queue.add(*run)
                    added = True
        return added

    def _on_their_way(self, resolved: int) -> list[int]:
        """Blocks of which symbols are owed, or on their way to whoever has counted all below `resolved`; ascending."""
        blocks = {block for block, _ in zip(chain(self._debtors, self._late_debtors), range(_LOOK_COUNT_MAX))}
        if self._passing is not None:
            blocks.add(self._passing.block)
        for end, block in islice(reversed(self._recent), _LOOK_COUNT_MAX):
            if end <= resolved:
                break
            blocks.add(block)
        return sorted(blocks)

    def _coming_count(self, entry: _Block, resolved: int) -> int:
        """Symbols of a block that a receiver which has counted all below `resolved` is yet to be sent."""
        return entry.late_debt + entry.flying_count(resolved) + self._pass_left(entry.block)

    def _forgive(self, peer_id: bytes, block: int) -> None:
        """A receiver needs no more of a block."""
        entry = self._active.get(block)
        if entry is not None:
            entry.since.pop(peer_id, None)
            if entry.drop(peer_id):
                self._revise(entry)
        self._unlist(peer_id, block)

    def _disown(self, entry: _Block) -> None:
        for peer_id in (*entry.urgent, *entry.late, *entry.since):
            self._unlist(peer_id, entry.block)

    def _unlist(self, peer_id: bytes, block: int) -> None:
        asked = self._asked.get(peer_id)
        if asked is not None:
            asked.discard(block)
            if not asked:
                del self._asked[peer_id]

    def _revise(self, entry: _Block) -> None:
        """Compute a block's debts anew. While it is being passed, nothing has to be paid yet."""
        left = self._pass_left(entry.block)
        covered = entry.sent + left
        entry.debt = max(0, entry.urgent.largest - covered)
        entry.late_debt = max(entry.debt, entry.late.largest - covered)
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

    def _next_debtors(self) -> Iterator[int]:
        """Blocks whose debts are among the next to be paid, each once."""
        return iter(dict.fromkeys((*self._turns.ahead(), *self._late_turns.ahead())))

    def _next(self, limit: int) -> BlockSymbols | None:
        """What is sent next: debts, the pass, and what is owed to those for whom nobody waits."""
        if not self.is_passing:
            paid = self._pay(limit, self.is_prepared) or self._pay(limit, _always)
            return paid or self._pay_late(limit)
        if self._credit > 0:
            paid = self._pay(limit, self.is_prepared)
            if paid is not None:
                self._credit -= len(paid[1])
                return paid
        passed = self._pass(limit)
        if passed is not None:
            earned = len(passed[1]) * DEBT_SHARE / (1.0 - DEBT_SHARE)
            self._credit = min(_DEBT_CREDIT_MAX, self._credit + earned)
        return passed

    def _pay(self, limit: int, may_pay: Callable[[int], bool]) -> BlockSymbols | None:
        return self._paid(self._turns.next(limit, self._lacking, may_pay))

    def _pay_late(self, limit: int) -> BlockSymbols | None:
        return self._paid(self._late_turns.next(limit, self._lacking, _always))

    def _paid(self, found: tuple[int, int] | None) -> BlockSymbols | None:
        if found is None:
            return None
        block, count = found
        return block, self._fresh(block, self._entry(block).symbol_count, count)

    def _lacking(self, debt: Debt) -> int:
        """Symbols that are owed to a receiver of a block; below 0 while the block is being passed."""
        block, peer_id = debt
        entry = self._active.get(block)
        target = 0 if entry is None else max(entry.urgent.get(peer_id), entry.late.get(peer_id))
        if entry is None or target <= entry.sent:
            return 0
        return -1 if self._pass_left(block) else target - entry.sent

    def _pass(self, limit: int) -> BlockSymbols | None:
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
        first = self._pop_queued()
        if first is None:
            return None
        symbol_count = self._numbers.symbol_count(first)
        is_fresh = not self._lane.systematic or first in self._passed
        self._passed.add(first)
        entry = self._entry(first)
        entry.began = -1
        for peer_id in list(entry.late):  # It is passed whole: nobody is late for that.
            entry.late.drop(peer_id)
        self._passing = _Pass(first, symbol_count, self._total(first, symbol_count), is_fresh)
        return self._passing

    def _pop_queued(self) -> int | None:
        """The next block to be passed. Its manifest goes first; once more only as often as debts may be paid."""
        queue = self._manifest_queue or self._queue
        if not queue:
            return None
        block = queue.pop()
        if block & MANIFEST_BIT and block in self._passed:
            if self._credit <= 0 and self._queue:
                self._manifest_queue.add(block)
                return self._queue.pop()
            self._credit -= self._numbers.symbol_count(block)
        return block

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
        return block in (self._manifest_queue if block & MANIFEST_BIT else self._queue)
