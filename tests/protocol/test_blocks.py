"""The client's table of blocks against the rules at the top of its module, step by step."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fountain.geometry import Geometry
from fountain.protocol.base.blocks import BlockState, BlockTable
from fountain.wire.session import MANIFEST_BIT, NEED_COUNT_MAX, RUN_COUNT_MAX

BLOCKS = 12
OPEN_LIMIT = 5
OBJECT = Geometry(BLOCKS * 160, 16, 10)
MANIFEST = Geometry(480, 16, 10)  # three blocks
ANY_BLOCK = st.one_of(st.integers(0, BLOCKS + 2), st.integers(0, 4).map(lambda index: index | MANIFEST_BIT))


def table(open_limit: int = OPEN_LIMIT) -> BlockTable:
    return BlockTable(OBJECT, MANIFEST, open_limit)


class Blocks(RuleBasedStateMachine):
    """A model that knows of each block its state and need, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.table = table()
        self.need: dict[int, int] = {}
        self.working: set[int] = set()
        self.done: set[int] = set()

    @rule(block=ANY_BLOCK, count=st.integers(1, 12))
    def symbols_arrive(self, block: int, count: int) -> None:
        exists = block & ~MANIFEST_BIT < (3 if block & MANIFEST_BIT else BLOCKS)
        over = block in self.done or (self.table.manifest_known and bool(block & MANIFEST_BIT))
        if block in self.need:
            wanted = self.need[block] > 0
        else:
            wanted = exists and not over and len(self.need) + self.room_for_manifest(block) < OPEN_LIMIT
        assert self.table.admits(block) is wanted
        if wanted:
            self.need[block] = max(0, self.need.get(block, 10) - count)
            self.table.progress(block, 10 - self.need[block], self.need[block])

    def room_for_manifest(self, block: int) -> int:
        """Places that a block of the object must leave free."""
        if block & MANIFEST_BIT or self.table.manifest_known:
            return 0
        mine = {MANIFEST_BIT, MANIFEST_BIT + 1, MANIFEST_BIT + 2}
        begun_count = len(mine & set(self.need))
        return max(0, min(len(mine - self.done) - begun_count, OPEN_LIMIT // 2 - begun_count))

    @rule()
    def a_worker_is_free(self) -> None:
        able = [
            block
            for block, need in self.need.items()
            if need == 0 and block not in self.working and (block & MANIFEST_BIT or self.table.manifest_known)
        ]
        block = self.table.poll_ready()
        assert block in able if able else block is None
        if block is not None:
            self.working.add(block)

    @precondition(lambda self: self.working)
    @rule(outcome=st.sampled_from(["done", "few", "all"]), data=st.data())
    def a_worker_is_done(self, outcome: str, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(sorted(self.working)))
        self.working.remove(block)
        if outcome == "done":
            self.table.finished(block)
            self.done.add(block)
            del self.need[block]
        else:
            self.need[block] = 1 if outcome == "few" else 10
            self.table.unfinished(block, 10 - self.need[block], self.need[block])
        if self.table.manifest_is_collected and not self.table.manifest_known:
            self.table.know_manifest([(0, 2)])
            self.done |= {0, 1}
            for known in [0, 1, *(index | MANIFEST_BIT for index in range(3))]:
                if known not in self.working:
                    self.need.pop(known, None)

    @invariant()
    def it_reports_what_is_open(self) -> None:
        assert set(self.table) == set(self.need)
        assert len(self.need) <= OPEN_LIMIT
        needs = dict(self.table.needs())
        assert needs.items() >= self.need.items()
        assert all(need == 0 for block, need in needs.items() if block not in self.need)
        assert self.table.done.count == len({block for block in self.done if not block & MANIFEST_BIT})
        assert self.table.is_complete == (self.table.manifest_known and self.table.done.count == BLOCKS)


class TestBlocks(Blocks.TestCase):  # type: ignore[misc]
    settings = settings(max_examples=60, stateful_step_count=60)


def test_an_illegal_step_raises_and_changes_nothing() -> None:
    blocks = table()
    assert blocks.admits(3)
    with pytest.raises(AssertionError, match="cannot go from"):
        blocks.unfinished(3, 0, 10)
    assert blocks._states[3] is BlockState.COLLECTING


def test_a_report_never_names_more_than_fits_however_many_blocks_the_manifest_has() -> None:
    blocks = BlockTable(OBJECT, Geometry(16 * 500, 16, 1), 40)
    told: set[int] = set()
    for index in range(300):
        block = index | MANIFEST_BIT
        assert blocks.admits(block)
        blocks.progress(block, 1, 0)
        assert blocks.poll_ready() == block
        blocks.finished(block)
    for _ in range(40):
        needs = blocks.needs()
        assert len(needs) <= NEED_COUNT_MAX
        told |= {block for block, need in needs if need == 0}
        blocks.done_page()
    assert len(told) == 300


def test_runs_that_fill_several_pages_come_with_the_blocks_just_done() -> None:
    blocks = BlockTable(Geometry(16 * 1_000, 16, 1), MANIFEST, 2)
    blocks.know_manifest()
    for block in range(0, 2 * RUN_COUNT_MAX + 20, 2):
        assert blocks.admits(block)
        blocks.progress(block, 1, 0)
        assert blocks.poll_ready() == block
        blocks.finished(block)
    assert (block, 0) in blocks.needs()
    pages = [blocks.done_page() for _ in range(2)]
    assert sum(len(page) for page in pages) == len(blocks.done)
