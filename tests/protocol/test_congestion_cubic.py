"""CUBIC's window, compared with the formulas of RFC 9438."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fountain.limits import NS
from fountain.protocol.rate.cubic import CubicCurve

MS = NS // 1000
RTT_NS = 40 * MS


def after_cut(limit: float, share: float = 0.7, now_ns: int = 100 * NS) -> tuple[CubicCurve, float]:
    curve = CubicCurve()
    curve.begin(limit * share, limit, now_ns)
    return curve, limit * share


def grown(curve: CubicCurve, window: float, start_ns: int, time_ns: int, rtt_ns: int = RTT_NS) -> float:
    """The window after `time_ns` in which as much arrived as was allowed."""
    for now_ns in range(start_ns + rtt_ns, start_ns + time_ns + 1, rtt_ns):
        window = curve.grow(window, round(window), now_ns, rtt_ns)
    return window


def test_the_limit_is_met_again_at_the_knee() -> None:
    curve, window = after_cut(1000.0)
    knee_ns = int((0.3 * 1000 / 0.4) ** (1 / 3) * NS)
    assert grown(curve, window, 100 * NS, knee_ns) == pytest.approx(1000, rel=0.02)


def test_growth_is_slow_at_the_limit_and_fast_far_from_it() -> None:
    curve, window = after_cut(1000.0)
    sizes = [window]
    for second in range(18):
        sizes.append(grown(curve, sizes[-1], (100 + second) * NS, NS))
    steps = [later - sooner for sooner, later in pairwise(sizes)]
    knee = 9  # seconds
    assert min(steps) == min(steps[knee - 2 : knee + 2])
    assert steps[0] > 3 * steps[knee]
    assert steps[-1] > 3 * steps[knee]


def test_a_small_window_grows_as_renos_would() -> None:
    curve, window = after_cut(10.0)
    # Below the limit 3 (1 - beta) / (1 + beta) packets per round trip, above it one.
    rounds = 30
    size = grown(curve, window, 100 * NS, rounds * 10 * MS, 10 * MS)
    below = 3.0 / (3 * 0.3 / 1.7)
    assert size == pytest.approx(10 + rounds - below, abs=1.5)


def test_the_window_never_shrinks_by_growing() -> None:
    curve, window = after_cut(1000.0)
    assert curve.grow(2000.0, 2000, 100 * NS + RTT_NS, RTT_NS) == 2000.0
    assert curve.grow(window, 0, 100 * NS + RTT_NS, RTT_NS) >= window


def test_a_round_trip_grows_the_window_by_half_at_most() -> None:
    curve, window = after_cut(1000.0)
    assert curve.grow(window, round(window), 1000 * NS, RTT_NS) <= 1.5 * window + 1e-6


def test_a_bunch_of_several_windows_counts_as_one() -> None:
    one, window = after_cut(1000.0)
    many, _ = after_cut(1000.0)
    now_ns = 103 * NS
    assert many.grow(window, 5 * round(window), now_ns, RTT_NS) == pytest.approx(
        one.grow(window, round(window), now_ns, RTT_NS)
    )


def test_time_without_use_does_not_count() -> None:
    used, window = after_cut(1000.0)
    paused, _ = after_cut(1000.0)
    for second in range(60):
        paused.pause((100 + second) * NS)
    assert grown(paused, window, 159 * NS, NS) == pytest.approx(grown(used, window, 100 * NS, NS), rel=0.01)


@pytest.mark.parametrize(("window", "limit"), [(999.0, 999.0 * 0.85), (1000.0, 1000.0), (1500.0, 1500.0)])
def test_a_limit_that_was_not_reached_again_is_lowered(window: float, limit: float) -> None:
    curve, _ = after_cut(1000.0)
    assert curve.limit_after(window, 0.7) == pytest.approx(limit)
