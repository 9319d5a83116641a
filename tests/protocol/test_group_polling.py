"""How many receivers may answer, and how often: a small share of the rate, whoever is there."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.limits import NS
from fountain.protocol.group.parties import ALONE_COUNT
from fountain.protocol.group.polling import (
    FEW_COUNT,
    FEW_SHARE,
    INTERVAL_MAX_NS,
    INTERVAL_MIN_NS,
    REPORT_SHARE,
    REPORT_SIZE,
    STAGE_NS,
    Poll,
)

MBIT = 10**6
ROUND_TRIP_NS = NS // 100
RATE_BPS = 100 * MBIT


def numbers(seed: int, count: int) -> list[int]:
    """What receivers compare with the threshold."""
    chance = random.Random(f"{seed} {count}")
    return [chance.getrandbits(32) for _ in range(count)]


def ask(receivers: list[int]) -> tuple[Poll, list[int]]:
    """A poll that everybody answers at once, until all may report; how many had answered by the end of each stage."""
    poll, now, answered = Poll(0), 0, []
    while not poll.is_known:
        heard = sum(number <= poll.threshold for number in receivers)
        answered.append(heard)
        now += STAGE_NS + 2 * ROUND_TRIP_NS
        poll.advance(heard, heard, RATE_BPS, ROUND_TRIP_NS, now)
        assert len(answered) <= 4
    return poll, answered


def test_few_are_asked_at_first_and_all_at_last() -> None:
    poll, thresholds = Poll(0), []
    for stage in range(4):
        thresholds.append(poll.threshold)
        poll.advance(0, 0, RATE_BPS, ROUND_TRIP_NS, (stage + 1) * (STAGE_NS + 2 * ROUND_TRIP_NS))
    assert thresholds[0] <= (1 << 32) // 4096
    assert thresholds[1:3] == [16 * thresholds[0], 256 * thresholds[0]]
    assert thresholds[-1] == (1 << 32) - 1
    assert poll.is_known


def test_a_stage_lasts_as_long_as_an_answer_takes() -> None:
    poll = Poll(0)
    first = poll.threshold
    assert not poll.advance(0, 0, RATE_BPS, ROUND_TRIP_NS, ROUND_TRIP_NS)
    assert poll.threshold == first
    assert poll.advance(0, 0, RATE_BPS, ROUND_TRIP_NS, STAGE_NS + 2 * ROUND_TRIP_NS)
    assert poll.threshold > first


def test_enough_answers_end_the_asking_when_all_who_were_asked_had_time() -> None:
    poll = Poll(0)
    assert not poll.advance(16, 16, RATE_BPS, ROUND_TRIP_NS, 0)
    assert poll.advance(20, 20, RATE_BPS, ROUND_TRIP_NS, STAGE_NS + ROUND_TRIP_NS)
    assert poll.is_known
    assert poll.group_size(20) == 20 * 4096


@pytest.mark.parametrize("count", [1_000, 20_000, 100_000])
def test_the_estimate_is_good_to_a_factor_of_two(seed: int, count: int) -> None:
    poll, answered = ask(numbers(seed, count))
    assert count / 2 <= poll.group_size(answered[-1]) <= count * 2


@pytest.mark.parametrize("others", [0, 1, 40])
def test_one_address_alone_does_not_make_a_group_look_large(others: int) -> None:
    """Made-up receivers that all answer the first stage would let the true ones report once a minute."""
    honest, poll, now = Poll(0), Poll(0), 0
    while not poll.is_known:
        now += STAGE_NS + ROUND_TRIP_NS
        honest.advance(others, others, RATE_BPS, ROUND_TRIP_NS, now)
        poll.advance(others + 1_000, others, RATE_BPS, ROUND_TRIP_NS, now, alone_count=1_000)
        assert poll.group_size(others) <= 2 * max(ALONE_COUNT, honest.group_size(others))
    assert now <= 4 * (STAGE_NS + ROUND_TRIP_NS)


@pytest.mark.parametrize("count", [1, 30, 1_000, 20_000, 100_000])
def test_no_stage_is_a_flood(seed: int, count: int) -> None:
    _, answered = ask(numbers(seed, count))
    assert max(answered) <= 2 * 16 * 16  # Fewer than 16 answered the stage before, which asked a sixteenth.


@given(count=st.integers(1, 100_000), rate_bps=st.integers(1_000, 10**10))
def test_all_reports_together_are_a_small_share_of_the_rate(count: int, rate_bps: int) -> None:
    poll = Poll(0)
    for stage in range(1, 5):
        poll.advance(0, count, rate_bps, 0, stage * NS)
    assert INTERVAL_MIN_NS <= poll.interval_ns <= INTERVAL_MAX_NS
    reports_bps = count * REPORT_SIZE * 8 * NS / poll.interval_ns
    share = max(REPORT_SHARE, FEW_SHARE * min(1.0, FEW_COUNT / count))
    if poll.interval_ns < INTERVAL_MAX_NS and reports_bps > 1.001 * share * rate_bps:
        assert count * NS <= 16.01 * poll.interval_ns  # Whatever the rate, so many reports in a second are few.


def test_once_everybody_had_a_turn_those_who_were_heard_are_those_who_are_there() -> None:
    poll, known_ns = Poll(0), STAGE_NS + ROUND_TRIP_NS
    poll.advance(16, 16, RATE_BPS, ROUND_TRIP_NS, known_ns)
    assert poll.group_size(20) == 16 * 4096
    poll.advance(20, 20, RATE_BPS, ROUND_TRIP_NS, 2 * INTERVAL_MAX_NS + 1)
    assert poll.group_size(20) == 20
    assert poll.group_size(0) == 1
