"""When a client doubts a stream, and which of its gains are progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.session.stream_history import LIVELY_COUNT, STALL_NS, STALL_NS_MAX, StreamHistory

TIMEOUT_NS = 100 * NS


@dataclass
class Gains:
    """What the history looks at of a table."""

    gain_count: int = 0

    @property
    def table(self) -> BlockTable:
        return cast(BlockTable, self)


@pytest.fixture
def gains() -> Gains:
    return Gains()


@pytest.fixture
def history(gains: Gains) -> StreamHistory:
    history = StreamHistory(TIMEOUT_NS, 0)
    history.resume(gains.table)
    history.renew(0)
    return history


def test_the_first_stream_is_steady_with_its_first_symbol(history: StreamHistory, gains: Gains) -> None:
    assert not history.has_gained(gains.table)
    gains.gain_count = 1
    assert history.has_gained(gains.table)
    assert not history.has_gained(gains.table)
    assert history.is_steady(1)


def test_a_stream_after_a_stall_must_bring_more_than_a_window_and_then_last(
    history: StreamHistory, gains: Gains
) -> None:
    history.stall()
    history.renew(NS)
    gains.gain_count = LIVELY_COUNT + 1
    assert history.has_gained(gains.table)
    assert not history.is_steady(NS + STALL_NS - 1)
    assert history.is_steady(NS + STALL_NS)
    assert not history.is_suspect


def test_another_stream_that_nothing_is_suspected_of_is_steady_beyond_a_first_window(
    history: StreamHistory, gains: Gains
) -> None:
    history.renew(NS)
    for gains.gain_count, is_steady in ((LIVELY_COUNT, False), (LIVELY_COUNT + 1, True)):
        assert history.has_gained(gains.table)
        assert history.is_steady(NS) == is_steady


def test_each_stall_in_vain_doubles_the_wait_up_to_a_bound(history: StreamHistory) -> None:
    waits = []
    for _ in range(12):
        waits.append(history.stall_ns(0))
        history.stall()
    assert waits == [min(STALL_NS << count, STALL_NS_MAX) for count in range(12)]


def test_a_short_timeout_doubts_a_stream_after_half_of_it() -> None:
    assert StreamHistory(4 * NS, NS).stall_ns(0) == NS + 2 * NS


def test_a_new_stream_is_not_stalled(history: StreamHistory) -> None:
    history.stall()
    assert history.is_stalled
    history.renew(NS)
    assert not history.is_stalled
    assert history.is_suspect
