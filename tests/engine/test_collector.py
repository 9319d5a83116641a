"""Decoders of open blocks, their memory, and what becomes of a block; and the receiver's arithmetic of runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.codes.api import SPARE_ROW_COUNT, Code, slab_row_count
from fountain.codes.lt.rows import neighbours
from fountain.codes.registry import code_by_name
from fountain.engine.receiving.assembly import runs_of
from fountain.engine.receiving.collector import (
    OPEN_BLOCK_COUNT_MAX,
    BlockOutcome,
    Collector,
    open_block_limit,
)
from fountain.engine.runtime.workers import InlineWorkers
from fountain.geometry import Geometry
from fountain.limits import BLOCK_SIZE_MAX, BLOCK_SYMBOL_COUNT_MAX, RECEIVE_MEMORY_SIZE_MAX
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.runs import Runs
from fountain.testing import MemorySink, MemorySource, payload
from fountain.wire.session import MANIFEST_BIT

K, T = 8, 64
CODE = code_by_name("raptorq")


class Stage:
    """An object of four blocks, its sink, and a collector between them."""

    def __init__(self, *, capacity: int | None = None, code: Code = CODE) -> None:
        self.code = code
        self.source = MemorySource(
            "object", payload(4 * K * T - 5), symbol_size=T, block_symbol_limit=K, profile_id=code.profile_id
        )
        self.sink = MemorySink(self.source.object_id, capacity=capacity)
        self.sink.set_manifest(self.source.manifest_bytes)
        manifest = Geometry(len(self.source.manifest_bytes), T, K)
        self.table = BlockTable(self.source.geometry, manifest, 3)
        self.collector = Collector(code, self.table, self.sink)

    def rows(self, block: int) -> np.ndarray:
        return self.source.read_block(block, np.empty((K, T), dtype=np.uint8))

    def feed(self, block: int, esis: list[int], *, damage: bool = False) -> None:
        """Give these symbols to the decoder of `block`."""
        encoder = self.code.encoder(self.rows(block))
        symbols = np.empty((len(esis), T), dtype=np.uint8)
        encoder.encode(np.array(esis, dtype=np.uint32), symbols)
        decoder = self.collector.decoder(block)
        assert decoder is not None
        array = np.array(esis, dtype=np.uint32)
        slots = decoder.reserve(array)
        for slot, symbol in zip(slots.tolist(), symbols):
            if slot >= 0:
                decoder.slab[slot] = symbol ^ damage
        progress = decoder.commit(array, slots)
        self.collector.note_progress(block, progress, array)

    def work(self) -> BlockOutcome:
        """Finish one block that is ready."""
        block = self.table.poll_ready()
        assert block is not None
        outcome = self.collector.job(block)
        if outcome.error is None:
            self.collector.settle(outcome)
        return outcome


@pytest.mark.parametrize("esis", [range(K), range(100, 100 + K + 1), [*range(0, K, 2), *range(50, 50 + K // 2 + 1)]])
def test_a_block_goes_to_the_sink_whichever_symbols_came(esis: range | list[int]) -> None:
    stage = Stage()
    stage.table.know_manifest()
    stage.feed(2, list(esis))
    assert stage.work().done
    assert list(stage.sink.verified) == [False, False, True, False]
    assert 2 in stage.table.done
    assert stage.collector.decoder(2) is None


def test_with_a_margin_a_block_with_repair_symbols_waits_for_two_more() -> None:
    stage = Stage()
    stage.table.know_manifest()
    stage.collector.margin = 2
    stage.feed(0, [*range(1, K), K])
    assert stage.table.poll_ready() is None
    stage.feed(0, [K + 1])
    assert stage.table.poll_ready() is None
    stage.feed(0, [K + 2])
    assert stage.work().done


def test_with_a_margin_source_symbols_alone_are_enough() -> None:
    stage = Stage()
    stage.table.know_manifest()
    stage.collector.margin = 2
    stage.feed(0, list(range(K)))
    assert stage.work().done


def test_what_waits_for_a_margin_is_tried_when_no_more_will_come() -> None:
    stage = Stage()
    stage.table.know_manifest()
    stage.collector.margin = 2
    stage.feed(0, [*range(1, K), K])
    stage.feed(1, list(range(K - 1)))
    stage.collector.take_what_is_there()
    assert stage.work().done
    assert stage.table.poll_ready() is None


def test_a_block_waits_for_the_manifest() -> None:
    stage = Stage()
    stage.feed(0, list(range(K)))
    assert stage.table.poll_ready() is None
    stage.table.know_manifest()
    assert stage.work().done


def test_a_block_with_a_wrong_symbol_is_thrown_away_and_collected_again() -> None:
    stage = Stage()
    stage.table.know_manifest()
    stage.feed(1, list(range(K)), damage=True)
    assert not stage.work().done
    assert stage.collector.bad_block_count == 1
    assert dict(stage.table.needs()) == {1: K}
    stage.feed(1, list(range(K)))
    assert stage.work().done
    assert stage.sink.written_block_count == 1


def test_memory_of_a_finished_block_is_used_again() -> None:
    stage = Stage()
    stage.table.know_manifest()
    slabs = set()
    for block in range(4):
        stage.feed(block, list(range(K)))
        decoder = stage.collector.decoder(block)
        assert decoder is None  # it takes no more
        slabs.add(stage.collector._slab_of[block].ctypes.data)
        assert stage.work().done
    assert len(slabs) == 1
    assert stage.table.is_complete
    assert stage.sink.finish()[0][1].name == "object"


def test_no_more_blocks_are_open_than_the_limit() -> None:
    stage = Stage()
    stage.table.know_manifest()
    for block in range(3):
        assert stage.collector.decoder(block) is not None
    assert stage.collector.decoder(3) is None


def test_blocks_of_the_object_leave_room_for_the_manifest_that_is_not_known() -> None:
    stage = Stage()
    for block in range(2):
        assert stage.collector.decoder(block) is not None
    assert stage.collector.decoder(2) is None
    assert stage.collector.decoder(MANIFEST_BIT) is not None
    assert stage.collector.decoder(2) is None


def test_a_full_disk_is_an_outcome() -> None:
    stage = Stage(capacity=0)
    stage.table.know_manifest()
    stage.feed(0, list(range(K)))
    outcome = stage.work()
    assert (outcome.done, outcome.error is not None) == (False, True)


def test_the_manifest_comes_as_octets_once_all_of_it_is_decoded() -> None:
    stage = Stage()
    manifest = stage.source.manifest_bytes
    octets = np.frombuffer(manifest.ljust(-(-len(manifest) // T) * T, b"\0"), dtype=np.uint8).reshape(-1, T)
    decoder = stage.collector.decoder(MANIFEST_BIT)
    assert decoder is not None
    esis = np.arange(len(octets), dtype=np.uint32)
    decoder.slab[decoder.reserve(esis)] = octets
    progress = decoder.commit(esis, np.arange(len(octets), dtype=np.int32))
    stage.table.progress(MANIFEST_BIT, progress.have, progress.need)
    assert stage.collector.take_manifest() is None
    stage.work()
    assert stage.collector.take_manifest() == manifest


@given(st.integers(0, BLOCK_SYMBOL_COUNT_MAX), st.integers(1, 9_000))
def test_open_blocks_fit_the_memory(symbol_count: int, symbol_size: int) -> None:
    limit = open_block_limit(symbol_count, symbol_size)
    for manifest_size in (1 << 20, 50 << 20, 1 << 30):
        beside = open_block_limit(symbol_count, symbol_size, manifest_size)
        assert 2 <= beside <= limit <= max(2, 4 * beside + 3)
    assert 2 <= limit <= OPEN_BLOCK_COUNT_MAX
    slab_size = slab_row_count(symbol_count) * symbol_size
    assert limit * slab_size <= RECEIVE_MEMORY_SIZE_MAX or limit == 2
    if symbol_count * symbol_size <= BLOCK_SIZE_MAX and symbol_size <= 1 << 13:
        assert limit * slab_size <= RECEIVE_MEMORY_SIZE_MAX + limit * SPARE_ROW_COUNT * symbol_size


def test_memory_that_is_taken_back_is_freed_as_blocks_end() -> None:
    stage = Stage()
    stage.table.know_manifest()
    for block in range(3):
        stage.feed(block, list(range(K)))
    stage.table.open_limit = 2
    assert stage.collector.decoder(3) is None
    for _ in range(3):
        assert stage.work().done
    assert len(stage.collector._slabs) == 2


@given(st.lists(st.booleans(), max_size=100))
def test_runs_of_flags_are_those_of_their_indices(flags: list[bool]) -> None:
    runs = Runs(runs_of(np.array(flags, dtype=np.bool_)))
    assert [block in runs for block in range(len(flags))] == flags


def test_workers_in_line_give_results_in_order() -> None:
    workers = InlineWorkers()
    assert workers.is_idle
    workers.submit(lambda: 1)
    workers.submit(lambda: 2)
    assert workers.has_room
    assert not workers.is_idle
    assert [workers.poll(), workers.poll(), workers.poll()] == [1, 2, None]
    assert workers.is_idle


def rank_deficient_esis(count: int) -> list[int]:
    """Repair ESIs of LT symbols that all leave out the same source symbols: together they never say what those are."""
    start, columns = neighbours(K, np.arange(4_000))
    left_out = {0, 1}
    esis = [esi for esi in range(4_000) if not left_out & set(columns[start[esi] : start[esi + 1]].tolist())]
    return esis[:count]


def test_a_block_that_is_full_of_symbols_in_vain_is_emptied_and_collected_again() -> None:
    stage = Stage(code=code_by_name("lt"))
    stage.table.know_manifest()
    esis = rank_deficient_esis(slab_row_count(K))
    assert len(esis) == slab_row_count(K)
    stage.feed(1, esis[:K])
    taken = K
    while stage.collector.bad_block_count == 0:
        assert not stage.work().done
        need = dict(stage.table.needs())[1]
        stage.feed(1, esis[taken : taken + need])
        taken += need
    assert dict(stage.table.needs()) == {1: K}
    stage.feed(1, list(range(5_000, 5_000 + 3 * K)))
    assert stage.work().done


def test_a_block_whose_last_free_row_is_taken_in_vain_is_emptied_at_once() -> None:
    stage = Stage()
    stage.table.know_manifest()
    esis = list(range(100, 100 + K + SPARE_ROW_COUNT))
    decoder = stage.collector.decoder(0)
    assert decoder is not None
    decoder._extra = 2 * K + SPARE_ROW_COUNT  # type: ignore[attr-defined]  # as after a decode that failed
    stage.feed(0, esis[:-1])
    assert stage.collector.bad_block_count == 0
    stage.feed(0, esis[-1:])
    assert stage.collector.bad_block_count == 1
    assert dict(stage.table.needs()) == {0: K}
    stage.feed(0, list(range(K)))
    assert stage.work().done


def spoil(stage: Stage, block: int) -> None:
    stage.feed(block, list(range(K)), damage=True)
    assert not stage.work().done


def test_every_open_block_may_be_spoiled_at_one_blow_and_a_good_one_makes_up_for_that() -> None:
    stage = Stage()
    stage.table.know_manifest()
    for _ in range(2):
        for block in range(3):
            spoil(stage, block)
    assert stage.collector.bad_block_count == 6
    stage.feed(0, list(range(K)))
    assert stage.work().done
    for _ in range(3):
        for block in (1, 2):
            spoil(stage, block)
    assert not stage.collector.is_futile


@pytest.mark.parametrize("blocks", [[0], [0, 1], [0, 1, 2]])
def test_blocks_that_are_bad_again_and_again_end_it(blocks: list[int]) -> None:
    stage = Stage()
    stage.table.know_manifest()
    while not stage.collector.is_futile:
        for block in blocks:
            spoil(stage, block)
        assert stage.collector.bad_block_count < 12
    assert stage.collector.bad_block_count >= 8
