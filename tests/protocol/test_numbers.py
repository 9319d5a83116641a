"""Runs, windows, counters and sequence numbers, each against the most obvious thing that does the same."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fountain.protocol.base.replay import ReplayWindow, SequenceCounter, expand_sequence
from fountain.protocol.base.runs import Runs

RUNS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=30)


@given(RUNS)
def test_runs_are_a_set_of_blocks(added: list[tuple[int, int]]) -> None:
    runs, blocks = Runs(), set()
    for first, count in added:
        runs.add(first, count)
        blocks.update(range(first, first + count))
    assert runs.count == len(blocks)
    assert {block for block in range(80) if block in runs} == blocks


@given(RUNS)
def test_runs_ascend_and_never_touch(added: list[tuple[int, int]]) -> None:
    page = Runs(added).page(0, 1_000)
    assert len(page) == len(Runs(added))
    assert all(first + count < following for (first, count), (following, _) in itertools.pairwise(page))


@given(RUNS, st.integers(1, 5), st.integers(0, 100))
def test_pages_of_runs_come_round(added: list[tuple[int, int]], size: int, start: int) -> None:
    runs = Runs(added)
    page_count = -(-len(runs) // size)
    pages = [runs.page(start + index, size) for index in range(page_count)]
    assert sorted(run for page in pages for run in page) == list(runs.page(0, 1_000))
    assert all(len(page) <= size for page in pages)
    assert runs.page(start, size) == runs.page(start + page_count, size)


@given(st.lists(st.integers(1, 60), max_size=200))
def test_a_replay_window_accepts_each_number_once_and_none_that_is_too_old(sequences: list[int]) -> None:
    window, seen, highest = ReplayWindow(16), set[int](), 0
    for sequence in sequences:
        assert window.accept(sequence) == (sequence not in seen and sequence > highest - 16)
        seen.add(sequence)
        highest = max(highest, sequence)


def test_the_edge_of_a_replay_window() -> None:
    window = ReplayWindow(16)
    assert window.accept(100)
    assert window.accept(85)
    assert not window.accept(84)
    assert window.accept(1 << 63)
    assert not window.accept(101)


@given(st.lists(st.integers(0, 100), max_size=200))
def test_a_counter_counts_distinct_numbers(sequences: list[int]) -> None:
    counter, seen = SequenceCounter(32), set[int]()
    expected = 0
    for sequence in sequences:
        is_new = sequence not in seen and sequence >= expected - 32
        assert counter.accept(sequence) == is_new
        seen.add(sequence)
        expected = max(expected, sequence + 1)
        assert counter.expected == expected
    assert counter.received_count + counter.duplicate_count == len(sequences)


@given(st.lists(st.tuples(st.integers(0, 80), st.sets(st.integers(0, 40), min_size=1)), max_size=40))
def test_ascending_numbers_count_as_they_do_one_by_one(trains: list[tuple[int, set[int]]]) -> None:
    together, one_by_one = SequenceCounter(32), SequenceCounter(32)
    for first, steps in trains:
        sequences = sorted(first + step for step in steps)
        new = [place for place, sequence in enumerate(sequences) if one_by_one.accept(sequence)]
        assert together.accept_ascending(sequences) == (new[-1] if new else -1)
        assert (together.expected, together.received_count) == (one_by_one.expected, one_by_one.received_count)


@given(st.integers(0, (1 << 40)), st.integers(-(1 << 31) + 1, (1 << 31) - 1))
def test_a_number_is_known_by_its_low_half_when_it_is_near(expected: int, distance: int) -> None:
    sequence = max(0, expected + distance)
    assert expand_sequence(sequence & 0xFFFF_FFFF, expected) == sequence


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 1 << 63))
def test_an_expanded_number_keeps_its_low_half(low: int, expected: int) -> None:
    sequence = expand_sequence(low, expected)
    assert sequence >= 0
    assert sequence & 0xFFFF_FFFF == low
    assert abs(sequence - expected) <= 1 << 31 or sequence < 1 << 32
