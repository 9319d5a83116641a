"""Data packets in parts: every packet comes out whole, once, and whatever else comes changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fountain.limits import DATAGRAM_SIZE_SAFE, PART_COUNT_MAX, PART_HEADER_SIZE
from fountain.wire.parts import PART_MEMORY_SIZE_MAX, Joiner, part_count_for, part_size, split

Rows = NDArray[np.uint8]


def packets(count: int, size: int, first: int = 0) -> Rows:
    """Packets that differ, numbered where data packets have their sequence numbers."""
    rows = np.random.default_rng(size).integers(0, 256, (count, size), dtype=np.uint8)
    rows[:, 4:12] = 7
    rows[:, 12:16] = np.arange(first, first + count).astype(">u4").view(np.uint8).reshape(-1, 4)
    return rows


def in_parts(rows: Rows, part_count: int) -> Rows:
    out = np.full((len(rows) * part_count, part_size(rows.shape[1], part_count)), 0xAA, dtype=np.uint8)
    split(rows, part_count, out)
    return out


@given(st.integers(1, 9), st.integers(45, 3000), st.integers(2, 9), st.randoms(use_true_random=False))
def test_whatever_the_order_and_the_trains_every_packet_comes_out_whole(
    count: int, size: int, part_count: int, random: object
) -> None:
    whole = packets(count, size)
    parts = in_parts(whole, part_count)
    joiner = Joiner(size)
    assert (joiner.join(parts) == whole).all(), "in order"
    order = list(range(len(parts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = [row.tobytes() for start in range(0, len(order), 5) for row in joiner.join(parts[order[start : start + 5]])]
    assert sorted(found) == sorted(row.tobytes() for row in whole)
    assert (joiner.pending_count, joiner.malformed_count) == (0, 0)


@pytest.mark.parametrize(
    ("size_max", "count"), [(0, 1), (1452, 1), (1451, 2), (DATAGRAM_SIZE_SAFE, 2), (500, 3), (16, PART_COUNT_MAX)]
)
def test_packets_are_cut_only_where_they_do_not_fit_and_into_what_fits(size_max: int, count: int) -> None:
    assert part_count_for(1452, size_max) == count
    if size_max > PART_HEADER_SIZE and count > 1:
        assert part_size(1452, count) <= size_max


def test_a_copy_of_a_part_is_no_other_part() -> None:
    parts = in_parts(packets(1, 100), 2)
    joiner = Joiner(100)
    assert len(joiner.join(parts[[0, 0, 0]])) == 0
    assert len(joiner.join(parts[[1]])) == 1


@pytest.mark.parametrize(("place", "value"), [(0, 0x1D), (1, 2), (1, 255), (2, 1), (2, 0), (2, 65), (3, 1)])
def test_what_is_no_part_is_counted_and_goes_nowhere(place: int, value: int) -> None:
    parts = in_parts(packets(2, 100), 2)
    parts[2:, place] = value
    joiner = Joiner(100)
    assert joiner.join(parts).tobytes() == packets(1, 100).tobytes()
    assert (joiner.malformed_count, joiner.pending_count) == (2, 0)
    assert len(joiner.join(parts[2:])) == 0


def test_parts_of_another_size_are_of_another_object() -> None:
    joiner = Joiner(100)
    assert joiner.join(in_parts(packets(2, 102), 2)).shape == (0, 100)
    assert joiner.malformed_count == 4


def test_packets_that_stay_without_a_part_make_room_for_others() -> None:
    count = PART_MEMORY_SIZE_MAX // 1000
    whole = packets(count + 10, 1000)
    parts = in_parts(whole, 2)
    joiner = Joiner(1000)
    for start in range(0, len(parts), 200):
        joiner.join(parts[start : start + 200 : 2])
    assert joiner.pending_count == count
    assert len(joiner.join(parts[1:20:2])) == 0, "the oldest"
    assert joiner.join(parts[-1:]).tobytes() == whole[-1].tobytes()
