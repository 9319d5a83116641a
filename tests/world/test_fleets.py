"""Hundreds, a thousand and ten thousand receivers: little more than the object serves all, and little is said back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.testing import Fleet, FleetFigures, FleetOptions

SENT_SHARE_MAX = 1.05  # of what an ideal code would send
FEEDBACK_SHARE_MAX = 0.01  # of the octets of data
COUNTS = pytest.mark.parametrize("count", [300, pytest.param(1_000, marks=pytest.mark.slow)])


def check(figures: FleetFigures) -> None:
    assert figures.done_count == figures.living_count
    assert figures.sent_share <= SENT_SHARE_MAX
    assert figures.feedback_share <= FEEDBACK_SHARE_MAX
    assert figures.unheard_count <= figures.receiver_count // 200


@COUNTS
def test_receivers_that_lose_each_for_itself_are_served_nearly_as_one(count: int, seed: int) -> None:
    figures = Fleet(seed, FleetOptions(count, late=0.0, dying=0.0, returning=0.0)).run()
    check(figures)
    assert figures.done_count == count
    assert figures.sent_count <= SENT_SHARE_MAX * figures.symbol_count / 0.95


@COUNTS
def test_receivers_that_come_and_go_cost_what_those_who_come_late_missed(count: int, seed: int) -> None:
    check(Fleet(seed, FleetOptions(count)).run())


@COUNTS
def test_where_nothing_is_lost_nothing_is_sent_for_it(count: int, seed: int) -> None:
    figures = Fleet(seed, FleetOptions(count, loss=0.0, late=0.0, dying=0.0, returning=0.0)).run()
    check(figures)
    # RaptorQ needs a symbol more now and then; of so many receivers some always do.
    assert figures.sent_count <= 1.005 * figures.symbol_count


@pytest.mark.parametrize("receiver_count", [1, 10, 100])
def test_few_receivers_are_served_as_well(receiver_count: int, seed: int) -> None:
    figures = Fleet(seed, FleetOptions(receiver_count, late=0.0, dying=0.0, returning=0.0)).run()
    assert figures.done_count == receiver_count
    assert figures.sent_share <= SENT_SHARE_MAX
    assert figures.feedback_share <= FEEDBACK_SHARE_MAX


def test_a_fleet_is_a_function_of_its_seed(seed: int) -> None:
    options = FleetOptions(50, object_size=5_000_000)
    assert Fleet(seed, options).run() == Fleet(seed, options).run()
    assert Fleet(seed, options).run() != Fleet(seed + 1, options).run()


@pytest.mark.slow
def test_ten_thousand_receivers_are_served_nearly_as_one(seed: int) -> None:
    check(Fleet(seed, replace(FleetOptions.large(), late=0.0, dying=0.0, returning=0.0)).run())


@pytest.mark.slow
def test_five_thousand_receivers_may_come_and_go(seed: int) -> None:
    check(Fleet(seed, replace(FleetOptions.large(5_000), object_size=128_000_000)).run())
