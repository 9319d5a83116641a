"""No congestion control: the rate that somebody chose, whatever else is on the way."""

from __future__ import annotations

from fountain.protocol.congestion.api import Sample

__all__ = ["FixedRate"]

_UNLIMITED_COUNT = 1 << 40


class FixedRate:
    """Sends packets of any size at `cap_bps`. For links of one's own: beside it TCP starves."""

    def __init__(self, packet_size: int, cap_bps: int) -> None:
        assert packet_size > 0
        self.rate_bps = cap_bps
        self.window_count = _UNLIMITED_COUNT

    def on_report(self, now_ns: int, sample: Sample) -> None:
        """Nothing is learned."""

    def on_silence(self, now_ns: int) -> None:
        """Who is gone is found out by the server."""
