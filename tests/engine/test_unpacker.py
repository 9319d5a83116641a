"""What a receiver takes from trains of data packets: what is new, authentic, near, and of a block that can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.codes.registry import code_by_name
from fountain.engine.receiving.collector import Collector
from fountain.engine.receiving.unpacker import Unpacker
from fountain.geometry import Geometry
from fountain.integrity import SessionKeys, key_pair, session_keys
from fountain.limits import BLOCK_COUNT_MAX, DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE
from fountain.net.train import Train
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.replay import DATA_WINDOW, DOUBT_COUNT
from fountain.protocol.session.client_session import ClientSession
from fountain.testing import MemorySink, MemorySource, payload
from fountain.wire.data import FLAG_MANIFEST, FLAG_OPEN, pack_headers, pack_open
from fountain.wire.group import SEQUENCE_LIMIT
from fountain.wire.session import MANIFEST_BIT

K, T = 16, 64
SESSION = 7
CODE = code_by_name("raptorq")


def keys() -> SessionKeys:
    made = session_keys(key_pair(b"1" * 32)[0], key_pair(b"2" * 32)[1], b"")
    assert made is not None
    return made


class Stage:
    """An unpacker of one session, and trains made for it by hand: (block, ESI) after (block, ESI)."""

    def __init__(self, *, open: bool = False) -> None:
        self.open = open
        source = MemorySource(
            "object", payload(4 * K * T), symbol_size=T, block_symbol_limit=K, profile_id=CODE.profile_id
        )
        self.session = ClientSession(SESSION, keys())
        self.table = BlockTable(source.geometry, Geometry(len(source.manifest_bytes), T, K), 4)
        collector = Collector(CODE, self.table, MemorySink(source.object_id))
        self.unpacker = Unpacker(collector, symbol_size=T, open=open, loss=0.0, seed=1)

    def train(self, sequence: int, symbols: list[tuple[int, int]], *, flags: int = 0, timestamp_us: int = 1) -> Train:
        train = Train()
        rows = train.lay_out(len(symbols), T + DATA_OVERHEAD_SIZE)
        blocks, esis = (np.array(column, dtype=np.uint32) for column in zip(*symbols))
        pack_headers(
            rows, flags=flags | (FLAG_OPEN if self.open else 0), rtt_hint=0, session=SESSION, sequence=sequence,
            timestamp_us=timestamp_us, block=blocks, esis=esis,
        )  # fmt: skip
        if self.open:
            pack_open(rows, np.zeros((1, T), dtype=np.uint8), np.zeros(len(symbols), dtype=np.int64))
        else:
            for number, row in enumerate(rows, sequence):
                sealed = self.session.keys.data.seal(number, row[:DATA_HEADER_SIZE].tobytes(), bytes(T))
                row[DATA_HEADER_SIZE:] = np.frombuffer(sealed, dtype=np.uint8)
        return train

    def forge(self, lows: list[int], *, sealed: bool = False) -> None:
        """Send a train of these low words of sequence numbers, with checksums that are right, or with false tags."""
        train = self.train(0, [(0, esi) for esi in range(len(lows))])
        rows = train.rows()
        rows[:, 12:16] = np.array(lows, dtype=">u4").view(np.uint8).reshape(-1, 4)
        if not sealed:
            pack_open(rows, np.zeros((1, T), dtype=np.uint8), np.zeros(len(lows), dtype=np.int64))
        self.unpacker.take(train, self.session)

    def take(
        self, sequence: int, symbols: list[tuple[int, int]], *, flags: int = 0, timestamp_us: int = 1
    ) -> int | None:
        """Send this train; the timestamp that was believed."""
        train = self.train(sequence, symbols, flags=flags, timestamp_us=timestamp_us)
        arrival = self.unpacker.take(train, self.session)
        return None if arrival is None else arrival[0]


BOTH = pytest.mark.parametrize("open", [False, True], ids=["sealed", "open"])


@BOTH
def test_a_copy_of_a_train_is_no_arrival(open: bool) -> None:
    stage = Stage(open=open)
    assert stage.take(0, [(0, 0), (0, 1), (0, 2)], timestamp_us=10) == 10
    assert stage.take(0, [(0, 0), (0, 1), (0, 2)], timestamp_us=11) is None
    assert stage.session.counter.received_count == 3
    assert stage.session.counter.duplicate_count == 3


@BOTH
def test_a_train_that_is_new_in_part_is_an_arrival(open: bool) -> None:
    stage = Stage(open=open)
    assert stage.take(0, [(0, 0), (1, 0)]) == 1
    assert stage.take(1, [(1, 0), (2, 0)], timestamp_us=2) == 2
    assert stage.take(1, [(1, 0), (2, 0), (3, 0)], timestamp_us=3) == 3
    assert stage.take(1, [(1, 0), (2, 0), (3, 0)], timestamp_us=4) is None
    assert stage.session.counter.received_count == 4


@BOTH
def test_a_packet_that_comes_late_is_an_arrival_once(open: bool) -> None:
    stage = Stage(open=open)
    assert stage.take(5, [(0, 5)]) == 1
    assert stage.take(4, [(0, 4)], timestamp_us=2) == 2
    assert stage.take(4, [(0, 4)], timestamp_us=3) is None


@pytest.mark.parametrize("ahead", [DOUBT_COUNT, DATA_WINDOW, 1 << 20, (1 << 31) - 2])
def test_one_open_packet_far_ahead_moves_nothing_and_a_second_near_it_does(ahead: int) -> None:
    stage = Stage(open=True)
    assert stage.take(0, [(0, 0)]) == 1
    assert stage.take(1 + ahead, [(0, 1)]) is None
    assert stage.session.counter.expected == 1
    assert stage.take(1 + ahead, [(0, 1)]) is None  # a copy of itself vouches for nothing
    assert stage.take(2 + ahead, [(0, 2)], timestamp_us=2) == 2
    assert stage.session.counter.expected == 3 + ahead
    assert stage.session.counter.received_count == 3


def test_what_forged_numbers_moved_is_moved_back_by_true_ones() -> None:
    stage = Stage(open=True)
    assert stage.take(0, [(0, 0)]) == 1
    assert stage.take(1 << 20, [(0, 1), (0, 2)]) == 1
    assert stage.take(1, [(0, 3)]) is None
    assert stage.take(2, [(0, 4), (0, 5)]) == 1
    assert stage.session.counter.expected == 4


def test_a_sealed_packet_may_be_as_far_ahead_as_it_likes() -> None:
    stage = Stage()
    assert stage.take((1 << 31) - 1, [(0, 1)]) == 1


def test_what_follows_a_forged_jump_within_the_window_still_counts() -> None:
    stage = Stage(open=True)
    assert stage.take(DOUBT_COUNT - 1, [(0, 9)]) == 1
    assert stage.take(0, [(0, 0), (0, 1)], timestamp_us=2) == 2


@BOTH
@pytest.mark.parametrize("block", [BLOCK_COUNT_MAX, MANIFEST_BIT, MANIFEST_BIT | 1, 2**32 - 1])
def test_a_block_number_that_cannot_be_is_dropped_and_counted(open: bool, block: int) -> None:
    stage = Stage(open=open)
    assert stage.take(0, [(block, 0)]) is None
    assert stage.unpacker.malformed_count == 1
    assert stage.unpacker.damaged_count == 0
    assert list(stage.table) == []


def test_a_manifests_block_is_known_by_its_flag_alone() -> None:
    stage = Stage()
    assert stage.take(0, [(0, 0)], flags=FLAG_MANIFEST) == 1
    assert list(stage.table) == [MANIFEST_BIT]


def test_a_packet_of_an_unknown_flag_is_dropped() -> None:
    stage = Stage()
    train = stage.train(0, [(0, 0)])
    train.rows()[0, 1] = 4
    assert stage.unpacker.take(train, stage.session) is None
    assert stage.unpacker.malformed_count == 1


@pytest.mark.parametrize("trains", [[[0, 2**32 - 5], [6, 2**32 - 4]], [[2**32 - 1, 0], [5, 2**31]], [[2**31, 1]] * 3])
def test_numbers_that_go_below_zero_or_downwards_move_nothing_that_true_ones_do_not_move_back(
    trains: list[list[int]],
) -> None:
    stage = Stage(open=True)
    for lows in trains:
        stage.forge(lows)
        assert 0 <= stage.session.counter.expected < SEQUENCE_LIMIT
    assert stage.take(0, [(1, 1), (1, 2), (1, 3)]) == 1
    assert stage.take(3, [(1, 4), (1, 5)], timestamp_us=2) == 2
    assert stage.session.counter.expected <= 7


@given(
    st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), max_size=8), st.integers(0, SEQUENCE_LIMIT)
)
def test_no_numbers_whatever_lead_out_of_their_range(trains: list[list[int]], expected: int) -> None:
    stage = Stage(open=True)
    stage.session.counter.expected = expected
    for lows in trains:
        stage.forge(lows)
        assert 0 <= stage.session.counter.expected <= SEQUENCE_LIMIT


def test_numbers_around_the_farthest_that_may_come_are_taken_one_by_one() -> None:
    """The first is 2^31 - 1 ahead; the second cannot be farther ahead, and so is 2^31 behind."""
    stage = Stage(open=True)
    stage.session.counter.expected = 1 << 40
    for low in (2**31 - 1, 2**31 - 2, 2**31 - 200):
        stage.forge([low, low + 40, low + 300])
        assert 0 <= stage.session.counter.expected < SEQUENCE_LIMIT
    assert stage.session.counter.duplicate_count == 0


@BOTH
def test_a_train_without_packets_is_nothing(open: bool) -> None:
    stage = Stage(open=open)
    train = stage.train(0, [(0, 0)])
    train.length = T  # the shorter packet behind it alone
    assert stage.unpacker.take(train, stage.session) is None
    assert not list(stage.table)


@BOTH
def test_packets_of_a_wrong_tag_open_no_block_and_change_no_block_that_is_open(open: bool) -> None:
    stage = Stage(open=open)
    assert stage.take(0, [(0, 0), (0, 1)]) == 1
    for block in range(4):
        train = stage.train(2, [(block, 30), (block, 31)])
        train.rows()[:, -16:] ^= 1
        assert stage.unpacker.take(train, stage.session) is None
    assert list(stage.table) == [0]
    assert stage.table.needs() == ((0, K - 2),)
    assert stage.session.counter.expected == 2
    assert stage.unpacker.damaged_count == 8
    assert stage.take(2, [(1, 0)], timestamp_us=2) == 2


def test_a_true_packet_behind_false_ones_opens_its_block() -> None:
    stage = Stage()
    train = stage.train(0, [(2, 0), (2, 1), (2, 2)])
    train.rows()[:2, -16:] ^= 1
    assert stage.unpacker.take(train, stage.session) == (1, 0)
    assert stage.table.needs() == ((2, K - 1),)


def test_recordings_of_sealed_packets_open_no_block_and_bring_no_symbol() -> None:
    stage = Stage()
    stage.take(0, [(3, 0)])
    recorded = stage.train(1, [(2, 0), (2, 1)])
    stage.session.counter.accept(1)
    stage.session.counter.accept(2)  # as if their block had been full when they came
    assert stage.unpacker.take(recorded, stage.session) is None
    assert list(stage.table) == [3]
    stage.take(3, [(2, 5)])
    assert stage.unpacker.take(recorded, stage.session) is None
    assert dict(stage.table.needs())[2] == K - 1
