"""How long a server of a group goes on for those that still receive when as many as were expected are done."""

from __future__ import annotations

from fountain.engine.serving.stragglers import LOOK_NS, STANDSTILL_NS, WAIT_MIN_NS, Stragglers
from fountain.limits import NS

START_NS = 1_000 * NS


def ended_after(met_ns: int, gain_until_ns: int, *, count: int = 1) -> int:
    """How long after `expect` was met the server ends, if receivers gain until then, and hold on to what they have."""
    stragglers, now = Stragglers(START_NS), START_NS + met_ns

    def find() -> list[float]:
        return [min(now - START_NS, met_ns + gain_until_ns) / (1 << 60)] * count

    while not stragglers.may_end(find, now):
        now += LOOK_NS
    return now - START_NS - met_ns


def test_nobody_that_still_receives_is_no_wait() -> None:
    assert ended_after(5 * NS, 0, count=0) == 0


def test_receivers_that_gain_nothing_hold_up_the_end_for_a_standstill() -> None:
    assert ended_after(5 * NS, 0) == STANDSTILL_NS
    assert ended_after(5 * NS, 3 * NS) == STANDSTILL_NS + 3 * NS


def test_receivers_that_gain_are_waited_for_as_long_as_it_took_the_others() -> None:
    assert ended_after(5 * NS, 3_600 * NS) == WAIT_MIN_NS
    assert ended_after(600 * NS, 3_600 * NS) == 600 * NS


def test_the_end_comes_as_soon_as_the_last_one_has_its_object() -> None:
    stragglers, now = Stragglers(START_NS), START_NS + NS
    assert not stragglers.may_end(lambda: [0.5], now)
    assert not stragglers.may_end(lambda: [0.9], now + LOOK_NS)
    assert stragglers.may_end(list, now + 2 * LOOK_NS)
