"""How many symbols are owed beyond those in flight: what is lost on average is sent as well, and chance is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fountain.protocol.schedule.owed import LOSS_MAX, Arrivals, Flight


def test_without_anything_in_flight_the_need_is_sent_over_the_share_that_arrives() -> None:
    assert Arrivals(0, 0.0).deficit(7, -1.0) == 7
    assert Arrivals(0, 0.5).deficit(7, 3.0) == 14
    assert Arrivals(0, 0.5).deficit(0, 3.0) == 0


@pytest.mark.parametrize(("deviations", "deficit"), [(-1.0, 50), (0.0, 55), (3.0, 70)])
def test_what_arrives_of_the_flight_is_subtracted_and_chance_is_added_as_asked(deviations: float, deficit: int) -> None:
    arrivals = Arrivals(100, 0.2)
    assert (arrivals.mean, arrivals.deviation) == (80.0, pytest.approx(4.0))
    assert arrivals.deficit(124, deviations) == deficit


def test_a_flight_that_covers_the_need_leaves_no_deficit_and_the_last_symbol_is_a_whole_one() -> None:
    assert Arrivals(10, 0.0).deficit(10, 0.0) == 0
    assert Arrivals(10, 0.0).deficit(11, 0.0) == 1
    assert Arrivals(1, 0.4).deficit(1, 0.0) == 0
    assert Arrivals(1, 0.7).deficit(1, 0.0) == 2


def test_a_loss_of_everything_counts_as_the_most_that_is_planned_for() -> None:
    assert Arrivals(0, 1.0).deficit(5, 0.0) == Arrivals(0, LOSS_MAX).deficit(5, 0.0) == 100


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=12), st.data())
def test_packets_in_flight_are_those_that_no_report_could_have_counted(
    runs: list[tuple[int, int]], data: st.DataObject
) -> None:
    flight, sent, at = Flight(), set[int](), 0
    for gap, count in runs:
        at += gap
        flight.note_sent(at, count)
        sent |= set(range(at, at + count))
        at += count
    forgotten = data.draw(st.integers(0, at))
    resolved = data.draw(st.integers(forgotten, at))
    flight.forget(forgotten)
    assert flight.count(resolved) == len([sequence for sequence in sent if sequence >= resolved])
    assert bool(flight) == any(sequence >= forgotten for sequence in sent)
    flight.clear()
    assert not flight.count(0)
