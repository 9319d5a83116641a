"""No congestion control: the rate that somebody chose, whatever else is on the way."""

from __future__ import annotations

from fountain.protocol.rate.api import Controller, Sample
from fountain.protocol.rate.breaker import end_breaker

__all__ = ["FixedRate"]

_UNLIMITED_COUNT = 1 << 40
_TOLERANCE = 0.5  # A chosen rate may be meant for a link that loses so much; with more than 90 % lost it is useless.


class FixedRate:
    """Sends packets of any size at `cap_bps`. For links of one's own: beside it TCP starves."""

    is_steady = True
    is_silent = False

    def __init__(self, packet_size: int, cap_bps: int) -> None:
        assert packet_size > 0
        self.rate_bps = cap_bps
        self.window_count = _UNLIMITED_COUNT
        self.breaker = end_breaker(_TOLERANCE)

    def succeed(self, older: Controller) -> None:
        """The rate is what it is."""
        self.breaker = older.breaker

    def on_report(self, now_ns: int, sample: Sample) -> None:
        """Nothing is learned but whether it makes sense."""
        self.breaker.note(now_ns, sample.expected_count, sample.lost_count, sample.smoothed_rtt_ns)

    def on_silence(self, now_ns: int, sent_sequence: int) -> None:  # noqa: ARG002  an interface
        """A peer that is there and receives nothing trips the breaker; one that is gone is noticed by the server."""
        self.breaker.note_silence(now_ns)
