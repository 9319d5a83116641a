"""What a session sends: in order, each symbol once, no more than is owed, and never too little."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.geometry import Geometry
from fountain.protocol.base.stream import BlockSymbols
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.unicast import UnicastCarousel
from fountain.wire.session import MANIFEST_BIT, NEED_COUNT_MAX

K = 10
OPEN_LIMIT = 6


def carousel(
    block_count: int = 20, *, manifest_count: int = 1, done: list[tuple[int, int]] | None = None,
    has_manifest: bool = False, systematic: bool = True, place: int = 0,
) -> UnicastCarousel:  # fmt: skip
    return UnicastCarousel(
        Geometry(block_count * K * 16, 16, K), Geometry(manifest_count * K * 16, 16, K), Lane(place, systematic),
        done or [], OPEN_LIMIT, has_manifest=has_manifest,
    )  # fmt: skip


def blocks_of(taken: list[BlockSymbols]) -> list[int]:
    return [block for block, _ in taken]


def count_of(taken: list[BlockSymbols]) -> int:
    return sum(len(esis) for _, esis in taken)


def test_the_manifest_goes_first() -> None:
    assert blocks_of(carousel(manifest_count=2).take(3 * K, 0)) == [MANIFEST_BIT, MANIFEST_BIT | 1, 0]


def test_who_has_the_manifest_does_not_get_it_again() -> None:
    assert blocks_of(carousel(has_manifest=True).take(2 * K, 0)) == [0, 1]


def test_blocks_that_are_done_are_left_out() -> None:
    assert blocks_of(carousel(has_manifest=True, done=[(0, 3), (4, 1)]).take(2 * K, 0)) == [3, 5]


def test_no_more_blocks_are_opened_than_the_client_can_hold() -> None:
    stream = carousel()
    assert count_of(stream.take(1_000, 0)) == OPEN_LIMIT * K
    assert not stream.has_work
    assert stream.take(1, OPEN_LIMIT * K) == []


def test_a_block_that_is_done_makes_room_for_the_next() -> None:
    stream = carousel(has_manifest=True)
    stream.take(1_000, 0)
    needs = [(block, 0) for block in range(1, OPEN_LIMIT)]
    stream.settle([(0, 1)], needs, OPEN_LIMIT * K, 0.0, has_manifest=True)
    assert blocks_of(stream.take(1_000, OPEN_LIMIT * K)) == [OPEN_LIMIT]


def test_packets_under_way_are_not_sent_again() -> None:
    stream = carousel(has_manifest=True)
    stream.take(2 * K, 0)
    stream.settle([], [(0, 5), (1, 10)], 5, 0.0, has_manifest=True)  # Five have arrived, fifteen fly.
    assert blocks_of(stream.take(K, 2 * K)) == [2]


def test_packets_that_a_report_has_counted_are_not_under_way() -> None:
    stream = carousel(has_manifest=True)
    stream.take(2 * K, 0)
    stream.settle([], [(0, 8), (1, 10)], 5, 0.0, has_manifest=True)  # Of five that had the time to come, two came.
    assert [(block, len(esis)) for block, esis in stream.take(3, 2 * K)] == [(0, 3)]


def test_a_client_gets_no_more_of_a_block_than_twice_what_the_block_has() -> None:
    stream = carousel(block_count=1, has_manifest=True)
    stream.take(K, 0)
    stream.settle([], [(0, 65_535)], K, 0.0, has_manifest=True)
    assert count_of(stream.take(1_000, K)) == 2 * K


def test_packets_that_were_lost_are_replaced_first_and_by_fresh_ones() -> None:
    stream = carousel(has_manifest=True)
    first = stream.take(2 * K, 0)
    stream.settle([], [(0, 2), (1, 3)], 2 * K, 0.25, has_manifest=True)
    owed = stream.take(7, 2 * K)
    assert [(block, len(esis)) for block, esis in owed] == [(0, 3), (1, 4)]  # 2 and 3, over the share that arrives
    sent = {(block, esi) for block, esis in first for esi in esis}
    assert not sent & {(block, esi) for block, esis in owed for esi in esis}


def test_a_block_that_a_report_does_not_name_is_one_of_which_nothing_came() -> None:
    stream = carousel(has_manifest=True)
    stream.take(K, 0)
    stream.settle([], [], K, 0.0, has_manifest=True)
    assert [(block, len(esis)) for block, esis in stream.take(K, K)] == [(0, K)]


def test_a_block_held_since_an_earlier_session_gets_what_it_needs_and_no_cycle() -> None:
    stream = carousel(has_manifest=True)
    stream.settle([], [(0, 2), (1, 0)], 0, 0.0, has_manifest=True)
    assert [(block, len(esis)) for block, esis in stream.take(K + 2, 0)] == [(0, 2), (2, K)]


def test_the_cycle_of_a_block_that_turns_out_to_be_held_is_cut() -> None:
    stream = carousel(has_manifest=True)
    assert count_of(stream.take(2, 0)) == 2
    stream.settle([], [(0, 3)], 0, 0.0, has_manifest=True)  # Eight more to pass, two of three under way.
    assert [(block, len(esis)) for block, esis in stream.take(K + 1, 2)] == [(0, 1), (1, K)]


def test_a_cycle_goes_on_when_the_report_says_what_was_expected() -> None:
    stream = carousel(has_manifest=True)
    stream.take(6, 0)
    stream.settle([], [(0, 8)], 3, 0.3, has_manifest=True)
    ((block, esis),) = stream.take(4, 6)
    assert (block, esis) == (0, [6, 7, 8, 9])


def test_a_manifest_of_more_blocks_than_the_client_holds_open_is_passed_to_its_end() -> None:
    stream = carousel(manifest_count=50)
    held: list[int] = []
    sequence = 0
    for _ in range(60):
        taken = stream.take(5 * K, sequence)
        sequence += count_of(taken)
        held += [block for block in blocks_of(taken) if block & MANIFEST_BIT]
        stream.settle([], [(block, 0) for block in held[-20:]], sequence, 0.0, has_manifest=False)
    assert held == [index | MANIFEST_BIT for index in range(50)]


def test_a_block_of_the_manifest_that_could_not_be_decoded_gets_more() -> None:
    stream = carousel(manifest_count=2)
    stream.take(2 * K, 0)
    stream.settle([], [(MANIFEST_BIT, 0), (MANIFEST_BIT | 1, 0)], 2 * K, 0.0, has_manifest=False)
    assert stream.take(1, 2 * K)[0][0] == 0
    stream.settle([], [(MANIFEST_BIT, 1), (MANIFEST_BIT | 1, 0)], 2 * K, 0.0, has_manifest=False)
    ((block, (esi,)),) = stream.take(1, 2 * K + 1)
    assert (block, esi >= K) == (MANIFEST_BIT, True)


BLOCKS = st.one_of(st.integers(0, 25), st.integers(0, 3).map(lambda index: index | MANIFEST_BIT))
NEEDS = st.lists(st.tuples(BLOCKS, st.integers(0, 1 << 32)), max_size=64)


@given(st.lists(st.tuples(NEEDS, st.integers(0, 500), st.floats(0, 1), st.integers(1, 64), st.booleans()), max_size=30))
def test_no_report_makes_it_raise_repeat_itself_or_send_without_end(
    reports: list[tuple[list[tuple[int, int]], int, float, int, bool]],
) -> None:
    stream, sequence, sent = carousel(), 0, set[tuple[int, int]]()
    for needs, resolved, loss, limit, has_manifest in reports:
        taken = stream.take(limit, sequence)
        assert count_of(taken) <= limit
        for block, esis in taken:
            for esi in esis:
                assert (block, esi) not in sent
                sent.add((block, esi))
        sequence += count_of(taken)
        stream.settle([], needs, min(resolved, sequence), loss, has_manifest=has_manifest)


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3, 0.7])
@pytest.mark.parametrize("systematic", [True, False])
def test_any_loss_ends_with_every_block_and_little_too_much(loss: float, systematic: bool, seed: int) -> None:
    """A client as simple as can be: it holds what arrives, learns of it at once, and needs K of each block."""
    draw = random.Random(seed)
    stream = carousel(200, systematic=systematic, place=draw.getrandbits(32))
    held: dict[int, set[int]] = {}
    sequence = 0
    while not stream.is_complete:
        for block, esis in stream.take(16, sequence):
            sequence += len(esis)
            held.setdefault(block, set()).update(esi for esi in esis if draw.random() >= loss)
        has_manifest = len(held.get(MANIFEST_BIT, ())) >= K
        done = [(block, 1) for block, esis in sorted(held.items()) if len(esis) >= K and not block & MANIFEST_BIT]
        needs = [(block, K - len(esis)) for block, esis in held.items() if len(esis) < K]
        stream.settle(done, needs, sequence, loss, has_manifest=has_manifest)
    assert sequence * (1 - loss) <= 201 * K * 1.25


@pytest.mark.parametrize(("block_count", "is_last"), [(1, True), (3, False)])
def test_what_is_sent_last_is_sent_with_what_chance_may_take(block_count: int, is_last: bool) -> None:
    size = 1000
    cut = Geometry(block_count * size * 16, 16, size)
    stream = UnicastCarousel(cut, Geometry(16, 16, 10), Lane(0, True), [], OPEN_LIMIT, has_manifest=True)
    stream.take(size, 0)
    stream.settle([], [(0, size)], 0, 0.05, has_manifest=True)
    extra = count_of([segment for segment in stream.take(200, size) if segment[1][0] >= size])
    assert (extra >= 50 + 20) is is_last
    assert extra <= 90


def test_a_client_that_claims_to_hold_everything_in_part_costs_a_bounded_number_of_open_blocks() -> None:
    stream = carousel(block_count=2_000, has_manifest=True)
    for first in range(0, 2_000, NEED_COUNT_MAX):
        needs = [(block, 1) for block in range(first, first + NEED_COUNT_MAX)]
        stream.settle([], needs, 0, 0.0, has_manifest=True, open_limit=65_535)
    assert sum(stream.is_wanted(block) for block in range(2_000)) <= 2 * NEED_COUNT_MAX
    stream = carousel(block_count=2_000, has_manifest=True)
    stream.settle([], [], 0, 0.0, has_manifest=True, open_limit=65_535)
    assert count_of(stream.take(10_000, 0)) == NEED_COUNT_MAX * K
