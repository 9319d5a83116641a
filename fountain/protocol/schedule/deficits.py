"""Which receivers of a group are owed which blocks, and which are served next: addresses take equal turns.

A receiver that asks without end, or under ever new names, gets the share of one address. All steps cost the same
however many receivers ask: the largest target comes off a heap, and what was sent already is dropped in its turn.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain

from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.schedule.owed import Arrivals, Flight

__all__ = ["TURN_COUNT", "AddressTurns", "Claim", "Cycle", "Deficits", "OwedBlock", "Receiver", "Targets"]

TURN_COUNT = 64  # symbols that an address gets in its turn
LOOK_COUNT_MAX = 8  # Claims of an address, and ...
LOOK_PARTY_COUNT_MAX = 64  # ... addresses that are looked at to find one of which something can be sent now.
GREEDY_FACTOR, GREEDY_COUNT = 4, 1_000  # Who got GREEDY_FACTOR K + GREEDY_COUNT symbols of a block has it, or lies.

Claim = tuple[int, bytes]  # (block, peer id)


@dataclass(frozen=True)
class Receiver:
    """A receiver that has reported: it has counted all packets below `resolved`, and loses a share `loss` of them.

    `came` is the first packet that it could count, `party` its address. `is_deaf`: no data comes to it now.
    """

    peer_id: bytes
    resolved: int
    loss: float
    came: int = 0
    party: str = ""
    is_deaf: bool = False


class Targets:
    """How far a block is to be sent, for each receiver that needs more of it; the largest is at hand."""

    def __init__(self) -> None:
        self._of: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._of)

    def __contains__(self, peer_id: bytes) -> bool:
        return peer_id in self._of

    def get(self, peer_id: bytes) -> int:
        """The target of a receiver; 0 for none."""
        return self._of.get(peer_id, 0)

    def put(self, peer_id: bytes, target: int) -> None:
        """Let this be a receiver's target."""
        if self._of.get(peer_id) != target:
            self._of[peer_id] = target
            heapq.heappush(self._heap, (-target, peer_id))
            if len(self._heap) > 2 * len(self._of) + 16:
                self._heap = [(-target, peer_id) for peer_id, target in self._of.items()]
                heapq.heapify(self._heap)

    def drop(self, peer_id: bytes) -> bool:
        """A receiver needs no more; whether it did."""
        return self._of.pop(peer_id, None) is not None

    def clear(self) -> None:
        """Nobody needs anything."""
        self._of.clear()
        self._heap.clear()

    @property
    def largest(self) -> int:
        """The largest target; 0 for none."""
        heap = self._heap
        while heap and self._of.get(heap[0][1]) != -heap[0][0]:
            heapq.heappop(heap)
        return -heap[0][0] if heap else 0


@dataclass(eq=False)
class Cycle:
    """A block that is sent from its start to its end: `total` symbols, its K source symbols first.

    `is_fresh`: repair symbols alone, since its source symbols were sent in an earlier cycle.
    """

    symbol_count: int
    total: int
    is_fresh: bool
    sent: int = 0

    @property
    def left(self) -> int:
        """Symbols that are still to be sent."""
        return self.total - self.sent

    @property
    def repair_left(self) -> int:
        """Repair symbols of these."""
        return self.total - max(self.sent, self.symbol_count)


@dataclass(eq=False)
class OwedBlock:
    """A block of which symbols are owed or in flight."""

    block: int
    symbol_count: int
    cycle: Cycle | None = None  # while it has one
    began: int = -1  # the packet that its latest cycle began with; -1 until it goes
    sent: int = 0
    deficit: int = 0
    late_deficit: int = 0  # the same with the receivers that came when its cycle had begun
    was_asked: bool = False  # whether its cycle alone was not enough
    urgent: Targets = field(default_factory=Targets)  # how far to send it, for each receiver that needs more ...
    late: Targets = field(default_factory=Targets)  # ... and for those that came late
    since: dict[bytes, int] = field(default_factory=dict)  # what had been sent when a receiver first asked
    flight: Flight = field(default_factory=Flight)

    @property
    def cycle_left(self) -> int:
        """Symbols that its cycle has still to send."""
        return 0 if self.cycle is None else self.cycle.left

    def drop(self, peer_id: bytes) -> bool:
        """Nothing of it is owed to a receiver any more; whether it was."""
        was_urgent, was_late = self.urgent.drop(peer_id), self.late.drop(peer_id)
        return was_urgent or was_late

    def note_sent(self, sequence: int, count: int) -> None:
        """Symbols of it went, in packets from `sequence` on."""
        if self.began < 0:
            self.began = sequence
        self.flight.note_sent(sequence, count)
        self.sent += count

    def coming_count(self, resolved: int) -> int:
        """Symbols that a receiver which has counted all packets below `resolved` is yet to be sent."""
        return self.late_deficit + self.flight.count(resolved) + self.cycle_left


class _Account:
    """The claims of the receivers at one address, the oldest first."""

    def __init__(self) -> None:
        self.claims: OrderedDict[Claim, None] = OrderedDict()
        self.left = TURN_COUNT  # symbols in this turn


class AddressTurns:
    """Claims in the order in which they are served: addresses take turns, of TURN_COUNT symbols each."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def add(self, party: str, claim: Claim) -> None:
        """Something is owed to a receiver at the address `party`."""
        account = self._accounts.get(party)
        if account is None:
            account = self._accounts[party] = _Account()
        account.claims.setdefault(claim)

    def next(
        self, limit: int, lacking: Callable[[Claim], int], may_send: Callable[[int], bool]
    ) -> tuple[int, int] | None:
        """(block, up to `limit` symbols of it) to send now; None if there is nothing that can be sent.

        `lacking` says how many symbols a claim still is: 0 when it is served, below 0 when it has to wait.
        """
        for _ in range(min(len(self._accounts), LOOK_PARTY_COUNT_MAX)):
            party, account = next(iter(self._accounts.items()))
            found = self._look(account, lacking, may_send)
            if found is not None:
                block, count = found[0], min(limit, found[1], account.left)
                account.left -= count
                if not account.left:
                    self._end_turn(party, account)
                return block, count
            self._end_turn(party, account)
        return None

    def ahead(self) -> list[int]:
        """Blocks whose claims are among the next to be served."""
        blocks: list[int] = []
        for _, account in zip(range(LOOK_COUNT_MAX), self._accounts.values()):
            blocks += (block for _, (block, _) in zip(range(LOOK_COUNT_MAX), account.claims))
        return blocks

    def clear(self) -> None:
        """Nobody is owed anything."""
        self._accounts.clear()

    def _look(
        self, account: _Account, lacking: Callable[[Claim], int], may_send: Callable[[int], bool]
    ) -> tuple[int, int] | None:
        looked = 0
        while account.claims and looked < LOOK_COUNT_MAX:
            claim = next(iter(account.claims))
            count = lacking(claim)
            if not count:
                account.claims.popitem(last=False)
                continue
            if count > 0 and may_send(claim[0]):
                return claim[0], count
            account.claims.move_to_end(claim)
            looked += 1
        return None

    def _end_turn(self, party: str, account: _Account) -> None:
        account.left = TURN_COUNT
        if account.claims:
            # One block that is asked for without end does not hold the others up.
            account.claims.move_to_end(next(iter(account.claims)))
            self._accounts.move_to_end(party)
        else:
            del self._accounts[party]


class Deficits:
    """The deficits of all blocks of one stream to a group: how far each receiver needs each block to be sent.

    Receivers that came late have turns of their own, behind all others. A block in a cycle is not in deficit before the
    cycle ends.
    """

    def __init__(self, numbers: BlockNumbers) -> None:
        self.blocks: dict[int, OwedBlock] = {}  # blocks of which symbols are owed or in flight
        self.greedy: set[bytes] = set()  # receivers that go on asking for what they must have
        self._numbers = numbers
        self._urgent: dict[int, OwedBlock] = {}  # blocks in deficit, and ...
        self._late: dict[int, OwedBlock] = {}  # ... those of which receivers that came late lack more
        self._asked: dict[bytes, set[int]] = {}  # of which blocks a receiver needs more
        self._urgent_turns, self._late_turns = AddressTurns(), AddressTurns()

    def __bool__(self) -> bool:
        return bool(self._urgent or self._late)

    def __contains__(self, block: int) -> bool:
        return block in self._urgent or block in self._late

    def __iter__(self) -> Iterator[OwedBlock]:
        """The blocks in deficit, those last of which only receivers lack something that came late."""
        late = (entry for block, entry in self._late.items() if block not in self._urgent)
        return chain(self._urgent.values(), late)

    def entry(self, block: int) -> OwedBlock:
        """What is known of a block."""
        entry = self.blocks.get(block)
        if entry is None:
            entry = self.blocks[block] = OwedBlock(block, self._numbers.symbol_count(block))
        return entry

    def owe(
        self, receiver: Receiver, entry: OwedBlock, need: int, *, is_late: bool = False, is_last_word: bool
    ) -> bool:  # fmt: skip
        """A receiver lacks `need` symbols of a block; whether the block's deficit grew.

        A standard deviation less than the mean is sent, but the mean with `is_last_word`.
        """
        peer_id = receiver.peer_id
        if is_late:
            entry.urgent.drop(peer_id)
        turns, targets = (self._late_turns, entry.late) if is_late else (self._urgent_turns, entry.urgent)
        turns.add(receiver.party, (entry.block, peer_id))
        arrivals = Arrivals(entry.flight.count(receiver.resolved), receiver.loss)
        came = (entry.sent - arrivals.flying_count - entry.since.setdefault(peer_id, entry.sent)) * arrivals.share
        if came > GREEDY_FACTOR * entry.symbol_count + GREEDY_COUNT:
            self.greedy.add(peer_id)
        self._asked.setdefault(peer_id, set()).add(entry.block)
        deficit = arrivals.deficit(min(need, 2 * entry.symbol_count), 0.0 if is_last_word else -1.0)
        if deficit:
            targets.put(peer_id, entry.sent + deficit)
        else:
            targets.drop(peer_id)
        before = entry.late_deficit
        self.revise(entry)
        entry.was_asked |= entry.late_deficit > 0
        return entry.late_deficit > before

    def keep(self, peer_id: bytes, needed: Collection[int]) -> None:
        """A receiver needs no more of all blocks but those that are `needed`."""
        for block in [block for block in self._asked.get(peer_id, ()) if block not in needed]:
            entry = self.blocks.get(block)
            if entry is not None:
                entry.since.pop(peer_id, None)
                if entry.drop(peer_id):
                    self.revise(entry)
            self._unlist(peer_id, block)

    def release(self, peer_id: bytes) -> None:
        """A receiver takes no part any more: nothing is owed to it."""
        self.keep(peer_id, ())
        self.greedy.discard(peer_id)

    def revise(self, entry: OwedBlock) -> None:
        """Compute a block's deficits anew, after its symbols, its cycle or its targets changed."""
        left = entry.cycle_left
        covered = entry.sent + left
        entry.deficit = max(0, entry.urgent.largest - covered)
        entry.late_deficit = max(entry.deficit, entry.late.largest - covered)
        for blocks, deficit in ((self._urgent, entry.deficit), (self._late, entry.late_deficit - entry.deficit)):
            if deficit and not left:
                blocks[entry.block] = entry
            else:
                blocks.pop(entry.block, None)

    def next(self, limit: int, may_send: Callable[[int], bool]) -> tuple[int, int] | None:
        """(block, up to `limit` symbols of it) to send now, for a receiver that did not come late."""
        return self._urgent_turns.next(limit, self._lacking, may_send)

    def next_late(self, limit: int, may_send: Callable[[int], bool]) -> tuple[int, int] | None:
        """The same for the receivers that came late."""
        return self._late_turns.next(limit, self._lacking, may_send)

    def ahead(self) -> list[OwedBlock]:
        """Blocks of which something is among the next to be sent, each once."""
        blocks = dict.fromkeys((*self._urgent_turns.ahead(), *self._late_turns.ahead()))
        return [self.blocks[block] for block in blocks if block in self.blocks]

    def forget(self, sequence: int) -> None:
        """No receiver can still be waiting for packets below `sequence`."""
        for block, entry in list(self.blocks.items()):
            entry.flight.forget(sequence)
            if not entry.flight and not entry.late_deficit and entry.cycle is None:
                self._disown(entry)
                del self.blocks[block]

    def lose_track(self) -> None:
        """Sequence numbers begin anew: nothing that was sent is in flight, and every need has to be reported again."""
        for entry in self.blocks.values():
            entry.flight.clear()
            self._disown(entry)
            entry.urgent.clear()
            entry.late.clear()
            entry.since.clear()
            entry.began = 0
            self.revise(entry)

    def _lacking(self, claim: Claim) -> int:
        """Symbols of a block that are owed to a receiver; below 0 while the block has a cycle."""
        block, peer_id = claim
        entry = self.blocks.get(block)
        target = 0 if entry is None else max(entry.urgent.get(peer_id), entry.late.get(peer_id))
        if entry is None or target <= entry.sent:
            return 0
        return -1 if entry.cycle_left else target - entry.sent

    def _disown(self, entry: OwedBlock) -> None:
        for peer_id in (*entry.urgent, *entry.late, *entry.since):
            self._unlist(peer_id, entry.block)

    def _unlist(self, peer_id: bytes, block: int) -> None:
        asked = self._asked.get(peer_id)
        if asked is not None:
            asked.discard(block)
            if not asked:
                del self._asked[peer_id]
