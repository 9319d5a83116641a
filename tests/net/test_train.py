"""The shapes of a train."""

from __future__ import annotations

import pytest

from fountain.limits import SEGMENT_COUNT_MAX, TRAIN_SIZE_MAX
from fountain.net import Train


def test_rows_are_the_full_segments_and_the_rest_is_the_remainder() -> None:
    train = Train()
    train.length, train.segment_size = 250, 100
    train.octets[:250] = range(250)
    assert train.segment_count == 3
    assert train.rows().shape == (2, 100)
    assert train.rows()[1, 0] == 100
    assert bytes(train.remainder) == bytes(range(200, 250))
    assert [len(segment) for segment in train.segments()] == [100, 100, 50]


def test_an_empty_train_has_no_segments() -> None:
    train = Train()
    assert (train.segment_count, train.rows().shape[0], bytes(train.remainder), train.has_room) == (0, 0, b"", False)
    assert list(train.segments()) == []


def test_a_train_has_room_until_a_short_segment_or_a_limit() -> None:
    train = Train()
    train.segment_size = 100
    for length, room in ((100, True), (150, False), (100 * SEGMENT_COUNT_MAX, False)):
        train.length = length
        assert train.has_room is room
    train.segment_size, train.length = 60_000, 240_000
    assert not train.has_room


def test_rows_written_by_the_caller_are_what_is_sent() -> None:
    train = Train()
    train.lay_out(3, 4)[:] = [[1], [2], [3]]
    assert bytes(train.view[: train.length]) == b"\1\1\1\1\2\2\2\2\3\3\3\3"


@pytest.mark.parametrize(
    ("count", "size"),
    [(SEGMENT_COUNT_MAX + 1, 10), (2, TRAIN_SIZE_MAX // 2 + 1), (-1, 10), (1, 0), (1, TRAIN_SIZE_MAX + 1)],
)
def test_a_train_beyond_the_limits_is_refused(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="a train cannot hold"):
        Train().lay_out(count, size)
