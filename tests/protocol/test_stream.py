"""How much goes in one train."""

from __future__ import annotations

import pytest

from fountain.limits import (
    DATA_OVERHEAD_SIZE,
    SEND_SEGMENT_COUNT_MAX,
    SEND_SIZE_MAX,
    SYMBOL_SIZE_MAX,
)
from fountain.net import Train
from fountain.protocol.base.stream import train_packet_count_max


@pytest.mark.parametrize(
    ("symbol_size", "count"),
    [(1408, 4 * 44), (128, 4 * 64), (8960, 4 * 7), (33_000, 7), (SEND_SIZE_MAX, 3), (SYMBOL_SIZE_MAX, 3)],
)
def test_a_train_is_made_of_whole_segmented_sends_and_fits_its_buffer(symbol_size: int, count: int) -> None:
    packet_size = symbol_size + DATA_OVERHEAD_SIZE
    assert train_packet_count_max(symbol_size) == count
    assert count % min(SEND_SEGMENT_COUNT_MAX, max(1, SEND_SIZE_MAX // packet_size)) == 0
    assert Train().lay_out(count, packet_size).shape == (count, packet_size)
