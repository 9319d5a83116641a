"""How long a server of a group goes on for those that still receive when as many as were expected are done."""

from __future__ import annotations

from fountain.engine.serving.stragglers import LOOK_NS, STANDSTILL_NS, UNASKED_NS, WAIT_COUNT, WAIT_MIN_NS, Stragglers
from fountain.limits import NS

START_NS = 1_000 * NS
RATE_BPS = 8_000_000


def ended_after(size: int, gain_until_ns: int, *, count: int = 1, rate_bps: int = RATE_BPS) -> int:
    """How long after `expect` was met the server ends, if receivers gain until then, and hold on to what they have."""
    stragglers, now = Stragglers(size, START_NS), START_NS

    def find() -> list[float]:
        return [min(now - START_NS, gain_until_ns) / (1 << 60)] * count

    while not stragglers.may_end(find, rate_bps, now):
        now += LOOK_NS
    return now - START_NS


def test_nobody_that_still_receives_is_no_wait() -> None:
    assert ended_after(5_000_000, 0, count=0) == 0


def test_receivers_that_gain_nothing_hold_up_the_end_for_a_standstill() -> None:
    assert ended_after(5_000_000, 0) == STANDSTILL_NS
    assert ended_after(5_000_000, 3 * NS) == STANDSTILL_NS + 3 * NS


def test_receivers_that_gain_are_waited_for_while_all_could_be_sent_several_times() -> None:
    assert ended_after(5_000_000, 3_600 * NS) == WAIT_MIN_NS
    assert ended_after(500_000_000, 3_600 * NS) == WAIT_COUNT * 500 * NS
    assert ended_after(500_000_000, 36_000 * NS, rate_bps=RATE_BPS // 2) == WAIT_COUNT * 1_000 * NS


def test_the_end_comes_as_soon_as_the_last_one_has_its_object() -> None:
    stragglers, now = Stragglers(5_000_000, START_NS), START_NS + NS
    assert not stragglers.may_end(lambda: [0.5], RATE_BPS, now)
    assert not stragglers.may_end(lambda: [0.9], RATE_BPS, now + LOOK_NS)
    assert stragglers.may_end(list, RATE_BPS, now + 2 * LOOK_NS)


def test_time_in_which_too_few_were_done_is_no_wait() -> None:
    stragglers, now = Stragglers(5_000_000, START_NS), START_NS
    for _ in range(20):
        now += max(STANDSTILL_NS, UNASKED_NS + LOOK_NS)
        assert not stragglers.may_end(lambda: [0.5], RATE_BPS, now)
