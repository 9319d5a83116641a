"""What the schedules of a peer, of a group, and of a group that does not answer have in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fountain.geometry import Geometry
from fountain.protocol.schedule.api import Schedule
from fountain.protocol.schedule.group import GroupCarousel
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.oneway import OnewayBudget, OnewayCarousel
from fountain.protocol.schedule.unicast import UnicastCarousel
from fountain.wire.session import MANIFEST_BIT

K, BLOCKS = 10, 6
OBJECT, MANIFEST, LANE = Geometry(BLOCKS * K * 16, 16, K), Geometry(K * 16, 16, K), Lane(1 << 31, systematic=True)
SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "unicast": lambda: UnicastCarousel(OBJECT, MANIFEST, LANE, [], 32, has_manifest=False),
    "group": lambda: GroupCarousel(OBJECT, MANIFEST, LANE),
    "oneway": lambda: OnewayCarousel(OBJECT, MANIFEST, LANE, OnewayBudget(loss=0.1, cycle_count=2)),
}


@pytest.mark.parametrize("limit", [1, 7, 1_000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_has_work_until_it_gives_nothing_and_sends_no_symbol_twice(name: str, limit: int) -> None:
    schedule, seen, sequence = SCHEDULES[name](), set[tuple[int, int]](), 0
    while schedule.has_work:
        taken = [(block, esi) for block, esis in schedule.take(limit, sequence) for esi in esis]
        assert 0 < len(taken) <= limit
        assert len(seen.union(taken)) == len(seen) + len(taken)
        seen.update(taken)
        sequence += len(taken)
    assert schedule.take(limit, sequence) == []
    sources = {(block, esi) for block in (MANIFEST_BIT, *range(BLOCKS)) for esi in range(K)}
    assert sources <= seen


@pytest.mark.parametrize("name", SCHEDULES)
def test_blocks_that_are_not_prepared_never_stop_a_stream(name: str) -> None:
    schedule, count = SCHEDULES[name](), 0
    while schedule.has_work:
        count += sum(len(esis) for _, esis in schedule.take(5, count, lambda _: False))
    assert count >= (BLOCKS + 1) * K
