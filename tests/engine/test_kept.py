"""Trains that cannot be taken in yet are kept in order and within bounds, and given back octet for octet."""

from __future__ import annotations

import pytest

from fountain.engine.receiving import kept
from fountain.engine.receiving.kept import ENTRY_SIZE, EarlyPackets, KeptTrains
from fountain.limits import DATA_OVERHEAD_SIZE
from fountain.net.train import Train

SIZE = DATA_OVERHEAD_SIZE + 10


def train(fill: int, count: int = 2, *, first: int = 0x1D) -> Train:
    """Packets of nothing but `fill` behind the first octet, and a shorter one behind them."""
    made = Train()
    rows = made.lay_out(count, SIZE)
    rows[:] = fill
    rows[:, 0] = first
    made.length += 3
    return made


def test_trains_come_back_in_order_without_what_is_shorter() -> None:
    held, into = KeptTrains(), Train()
    for fill in (1, 2):
        held.add(train(fill))
    assert held.size == 2 * (2 * SIZE + ENTRY_SIZE)
    assert [bytes(each.view[: each.length]) for each in held.each(into)] == [
        bytes(train(fill).view[: 2 * SIZE]) for fill in (1, 2)
    ]
    held.pop(into)
    assert into.rows().shape == (2, SIZE)
    assert into.rows()[0, 1] == 1
    held.clear()
    assert not held
    assert held.size == 0


def test_a_train_that_exceeds_the_bound_is_not_kept() -> None:
    held = KeptTrains()
    for _ in range(3):
        held.add(train(1), 2 * (2 * SIZE + ENTRY_SIZE))
    assert len(held) == 2


def test_the_oldest_session_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "EARLY_SIZE_MAX", 2 * (2 * SIZE + ENTRY_SIZE))
    early = EarlyPackets()
    assert all(early.keep(session, train(session)) for session in (1, 2, 3))
    assert 1 not in early
    assert [each.rows()[0, 1] for each in early.trains(3)] == [3]
    early.forget(2)
    early.forget(2)
    assert early.size == 2 * SIZE + ENTRY_SIZE
    assert list(early.trains(2)) == []


def test_what_can_be_no_data_is_not_kept() -> None:
    early = EarlyPackets()
    assert not early.keep(1, train(1, first=0x1E))
    assert not early.keep(1, Train())
    assert early.size == 0
