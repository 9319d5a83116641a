"""Who is owed what in a group, and whose debt is paid next: each address has as many symbols in turn as any other.

A receiver that asks without end, or under ever new names, gets the share of one address. All steps cost the same
however many receivers ask: the largest target comes off a heap, and what is paid already is dropped in its turn.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator

__all__ = ["TURN_COUNT", "Debt", "Targets", "Turns"]

TURN_COUNT = 64  # symbols that an address gets in its turn
LOOK_COUNT_MAX = 8  # Debts of an address, and ...
LOOK_PARTY_COUNT_MAX = 64  # ... addresses that are looked at to find one that can be paid now.

Debt = tuple[int, bytes]  # (block, peer id)


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


class _Account:
    """The debts to the receivers of one address, the oldest first."""

    def __init__(self) -> None:
        self.debts: OrderedDict[Debt, None] = OrderedDict()
        self.left = TURN_COUNT  # symbols in this turn


class Turns:
    """Debts in the order in which they are paid: addresses take turns, of TURN_COUNT symbols each."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def add(self, party: str, debt: Debt) -> None:
        """Something is owed to a receiver at the address `party`."""
        account = self._accounts.get(party)
        if account is None:
            account = self._accounts[party] = _Account()
        account.debts.setdefault(debt)

    def next(
        self, limit: int, lacking: Callable[[Debt], int], may_pay: Callable[[int], bool]
    ) -> tuple[int, int] | None:
        """(block, up to `limit` symbols of it) to pay now; None if nothing can be paid.

        `lacking` says how many symbols a debt still is: 0 when it is paid, below 0 when it has to wait.
        """
        for _ in range(min(len(self._accounts), LOOK_PARTY_COUNT_MAX)):
            party, account = next(iter(self._accounts.items()))
            found = self._look(account, lacking, may_pay)
            if found is not None:
                block, count = found[0], min(limit, found[1], account.left)
                account.left -= count
                if not account.left:
                    self._end_turn(party, account)
                return block, count
            self._end_turn(party, account)
        return None

    def ahead(self) -> list[int]:
        """Blocks whose debts are among the next to be paid."""
        blocks: list[int] = []
        for _, account in zip(range(LOOK_COUNT_MAX), self._accounts.values()):
            blocks += (block for _, (block, _) in zip(range(LOOK_COUNT_MAX), account.debts))
        return blocks

    def clear(self) -> None:
        """Nobody is owed anything."""
        self._accounts.clear()

    def _look(
        self, account: _Account, lacking: Callable[[Debt], int], may_pay: Callable[[int], bool]
    ) -> tuple[int, int] | None:
        looked = 0
        while account.debts and looked < LOOK_COUNT_MAX:
            debt = next(iter(account.debts))
            count = lacking(debt)
            if not count:
                account.debts.popitem(last=False)
                continue
            if count > 0 and may_pay(debt[0]):
                return debt[0], count
            account.debts.move_to_end(debt)
            looked += 1
        return None

    def _end_turn(self, party: str, account: _Account) -> None:
        account.left = TURN_COUNT
        if account.debts:
            # One block that is asked for without end does not hold the others up.
            account.debts.move_to_end(next(iter(account.debts)))
            self._accounts.move_to_end(party)
        else:
            del self._accounts[party]
