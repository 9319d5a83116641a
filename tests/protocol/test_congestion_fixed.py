"""A rate that somebody chose: nothing changes it, and only a stream that brings next to nothing home ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.limits import NS
from fountain.protocol.rate import FixedRate, Sample, control_factory

RATE_BPS = 10_000_000
SAMPLE = Sample(
    expected_count=100, lost_count=0, dropped_count=0, rtt_ns=40_000_000, smoothed_rtt_ns=40_000_000,
    delivered_bps=RATE_BPS, sent_sequence=1000, judged_sequence=900, is_full=True,
)  # fmt: skip


def reported(lost_count: int, seconds: int) -> FixedRate:
    control = FixedRate(1500, RATE_BPS)
    for tenth in range(10 * seconds):
        control.on_report(1000 * NS + tenth * NS // 10, replace(SAMPLE, lost_count=lost_count))
    return control


def test_it_is_made_by_its_name() -> None:
    assert isinstance(control_factory("fixed")(1500, RATE_BPS), FixedRate)


@pytest.mark.parametrize("lost_count", [0, 40, 100])
def test_loss_drops_and_silence_change_neither_rate_nor_window(lost_count: int) -> None:
    control = reported(lost_count, 60)
    control.on_report(2000 * NS, replace(SAMPLE, dropped_count=1000, delivered_bps=1))
    control.on_silence(2001 * NS, 1000)
    assert control.rate_bps == RATE_BPS
    assert control.window_count >= 1 << 32


@pytest.mark.parametrize(("lost_count", "opens"), [(40, False), (90, False), (91, True)])
def test_it_ends_when_more_than_nine_tenths_are_lost(lost_count: int, opens: bool) -> None:
    assert reported(lost_count, 60).breaker.has_tripped is opens


def test_it_ends_when_nothing_is_heard_of_what_it_sends() -> None:
    control = FixedRate(1500, RATE_BPS)
    for second in range(60):
        control.on_silence((1000 + second) * NS, 1000)
    assert control.breaker.has_tripped
