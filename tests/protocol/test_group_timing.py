"""When receivers of a group report: few speak before the first is heard, and those first who lack most."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.protocol.group.announcer import PLAN_MIN_NS
from fountain.protocol.group.timing import Jitter, ReportTimes, backoff_ns

MS = 1_000_000
RUN_COUNT = 20


def times(seed: int, round_trip_ns: int, count: int, eagerness: float = 0.5) -> Iterator[list[int]]:
    """When each of `count` receivers would speak, in some runs, ascending."""
    chance = random.Random(seed)
    for _ in range(RUN_COUNT):
        yield sorted(backoff_ns(round_trip_ns, count, eagerness, chance.random()) for _ in range(count))


@pytest.mark.parametrize("round_trip_ns", [MS, 50 * MS, 500 * MS])
@pytest.mark.parametrize("count", [1, 16, 100, 1_000, 10_000])
def test_few_speak_before_the_first_is_heard(seed: int, round_trip_ns: int, count: int) -> None:
    # What the first one says comes back in a Plan: a round trip, and the distance that Plans keep.
    heard_ns = round_trip_ns + PLAN_MIN_NS
    runs = [sum(at < drawn[0] + heard_ns for at in drawn) for drawn in times(seed, round_trip_ns, count)]
    assert sum(runs) / len(runs) <= max(50, count / 100)


@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_the_first_of_many_does_not_wait_long(seed: int, count: int) -> None:
    for drawn in times(seed, 50 * MS, count, eagerness=1.0):
        assert drawn[0] < drawn[-1] / 2
        assert drawn[0] < 3 * 50 * MS


def test_who_lacks_most_speaks_before_everybody_who_lacks_nothing_much(seed: int) -> None:
    eager, patient = times(seed, 50 * MS, 100, 1.0), times(seed, 50 * MS, 100, 0.0)
    assert all(first[-1] <= second[0] for first, second in zip(eager, patient))


@given(
    round_trip_ns=st.integers(0, 134 * 10**9), count=st.integers(0, 2**32 - 1),
    eagerness=st.floats(-10, 10), draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
)  # fmt: skip
def test_whatever_a_plan_says_the_time_is_finite_and_grows_with_the_draw(
    round_trip_ns: int, count: int, eagerness: float, draws: list[float]
) -> None:
    first, second = (backoff_ns(round_trip_ns, count, eagerness, draw) for draw in sorted(draws))
    assert 0 <= first <= second <= 6 * round_trip_ns + 10**9


def test_dice_are_even_and_follow_from_the_secret() -> None:
    rolls = [Jitter(bytes(32)).draw() for _ in range(2)]
    assert rolls[0] == rolls[1] != Jitter(b"\x01" * 32).draw()
    jitter = Jitter(bytes(32))
    many = [jitter.draw() for _ in range(4_000)]
    assert all(0.0 <= roll < 1.0 for roll in many)
    for tenth in range(10):
        assert 300 < sum(tenth / 10 <= roll < (tenth + 1) / 10 for roll in many) < 500


# --- Turns --------------------------------------------------------------------------------------------------


def turns(secret: int = 1) -> ReportTimes:
    return ReportTimes(Jitter(secret.to_bytes(32, "big")))


def test_nobody_speaks_unasked() -> None:
    assert turns().due_ns > 10**18


def test_first_turns_are_spread_over_the_interval() -> None:
    due = []
    for secret in range(200):
        own = turns(secret)
        own.ask(100 * MS, 0)
        due.append(own.due_ns)
    assert 0 <= min(due) < 5 * MS
    assert 95 * MS < max(due) < 100 * MS


def test_later_turns_are_an_interval_apart_give_or_take_a_half() -> None:
    own, now = turns(), 0
    own.ask(100 * MS, now)
    gaps = []
    for _ in range(300):
        now = own.due_ns
        own.reported(100 * MS, now)
        gaps.append(own.due_ns - now)
    assert 50 * MS <= min(gaps) < 60 * MS
    assert 140 * MS < max(gaps) < 150 * MS
    assert sum(gaps) / len(gaps) == pytest.approx(100 * MS, rel=0.05)


def test_asking_again_moves_a_turn_only_as_the_interval_grows_or_shrinks() -> None:
    own = turns()
    own.reported(1_000 * MS, 0)
    before = own.due_ns
    own.ask(1_000 * MS, before // 2)
    assert own.due_ns == before
    own.ask(2_000 * MS, before // 2)
    assert own.due_ns == pytest.approx(2 * before, abs=2)
    own.ask(10 * MS, before // 2)
    assert own.due_ns == pytest.approx(before // 2 + before // 100, abs=2)


def test_turns_stay_spread_when_the_interval_shrinks_for_all() -> None:
    due = []
    for secret in range(200):
        own = turns(secret)
        own.reported(60_000 * MS, 0)
        own.ask(100 * MS, 1_000 * MS)
        due.append(own.due_ns)
    assert 1_050 * MS <= min(due) < 1_060 * MS
    assert 1_140 * MS < max(due) < 1_150 * MS


def test_an_urgent_report_comes_before_the_turn_and_takes_its_place() -> None:
    own = turns()
    own.reported(1_000 * MS, 0)
    own.press(5 * MS, 0)
    own.press(1 * MS, 0)  # Held back once: more Plans with the same lack do not hold it back anew, or hasten it.
    assert own.is_pressed
    assert own.due_ns == 5 * MS
    own.reported(1_000 * MS, 5 * MS)
    assert not own.is_pressed
    assert own.due_ns >= 505 * MS


def test_what_somebody_else_has_asked_for_is_not_urgent_any_more() -> None:
    own = turns()
    own.reported(1_000 * MS, 0)
    turn = own.due_ns
    own.press(5 * MS, 0)
    own.relax()
    assert own.due_ns == turn
    own.rest()
    assert own.due_ns > 10**18
