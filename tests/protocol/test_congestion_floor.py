"""The loss that belongs to a link: learned from calm times, lowered when it is clearly less, never too high."""

from __future__ import annotations

import random

import pytest

from fountain.protocol.rate.floor import LossFloor


def floor_of(expected: int, lost: int, tolerance: float = 0.15) -> LossFloor:
    floor = LossFloor(tolerance)
    floor.learn(expected, lost)
    return floor


def test_nothing_is_explained_before_anything_was_learned() -> None:
    floor = LossFloor(0.15)
    assert floor.fraction == 0.0
    assert floor.explains(1000, 0, 3.0)
    assert not floor.explains(1000, 1, 3.0)


def test_the_first_lesson_counts_in_full() -> None:
    assert floor_of(200, 10).fraction == pytest.approx(0.05)


def test_later_lessons_are_averaged_by_their_packets() -> None:
    floor = floor_of(1000, 100)
    floor.learn(1000, 0)
    assert floor.fraction == pytest.approx(0.05)


def test_a_long_memory_gives_way_within_some_thousand_packets() -> None:
    floor = floor_of(100_000, 10_000)
    assert floor.weight == 4000
    for _ in range(10):
        floor.learn(1000, 0)
    assert floor.fraction < 0.01


def test_no_packets_teach_nothing() -> None:
    floor = floor_of(1000, 50)
    floor.learn(0, 0)
    assert floor.fraction == pytest.approx(0.05)


@pytest.mark.parametrize(("expected", "lost", "fraction"), [(10, 20, 0.5), (10, -3, 0.0)])
def test_packets_that_count_twice_or_back_stay_within_what_a_share_is(
    expected: int, lost: int, fraction: float
) -> None:
    assert floor_of(expected, lost, tolerance=0.5).fraction == fraction


def test_the_floor_never_exceeds_the_tolerance_and_remembers_what_it_was() -> None:
    floor = floor_of(1000, 400)
    assert floor.fraction == 0.15
    floor.tolerance = 0.3
    assert floor.fraction == 0.3
    floor.tolerance = 0.0
    assert floor.fraction == 0.0
    assert not floor.explains(1000, 1, 5.0)


@pytest.mark.parametrize("deviations", [3.0, 5.0])
def test_loss_is_explained_up_to_so_many_deviations_and_no_packet_further(deviations: float) -> None:
    floor = floor_of(4000, 200)
    variance = 0.05 * 1000 * (1 + 1000 / 4000)  # of the loss, and of the floor
    limit = int(50 + deviations * variance**0.5)
    assert floor.explains(1000, limit, deviations)
    assert not floor.explains(1000, limit + 1, deviations)


def test_a_floor_known_from_few_packets_explains_more() -> None:
    sure, unsure = floor_of(4000, 200), floor_of(100, 5)
    assert not sure.explains(1000, 80, 3.0)
    assert unsure.explains(1000, 80, 3.0)


def test_chance_alone_is_hardly_ever_taken_for_congestion(rng: random.Random) -> None:
    floor = floor_of(4000, 200)
    rounds = [sum(rng.random() < 0.05 for _ in range(400)) for _ in range(500)]
    assert sum(not floor.explains(400, lost, 3.0) for lost in rounds) <= 5


def test_doubt_lets_the_next_lesson_weigh_more() -> None:
    floor = floor_of(4000, 0)
    floor.doubt()
    floor.learn(200, 20)
    assert floor.fraction == pytest.approx(0.05)


# --- Downwards ----------------------------------------------------------------------------------------------


def test_clearly_less_loss_lowers_the_floor_at_any_time() -> None:
    floor = floor_of(4000, 400)
    floor.learn_less(300, 0)
    assert floor.fraction < 0.1


def test_less_loss_is_judged_by_300_packets_not_by_299() -> None:
    floor = floor_of(4000, 400)
    floor.learn_less(299, 0)
    assert floor.fraction == pytest.approx(0.1)
    floor.learn_less(1, 0)
    assert floor.fraction < 0.1


def test_a_little_less_loss_may_be_chance_and_lowers_nothing() -> None:
    floor = floor_of(4000, 400)
    floor.learn_less(300, 27)
    assert floor.fraction == pytest.approx(0.1)


def test_more_loss_never_raises_the_floor_from_this_side() -> None:
    floor = floor_of(4000, 40)
    for _ in range(20):
        floor.learn_less(300, 90)
    assert floor.fraction == pytest.approx(0.01)
