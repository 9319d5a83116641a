"""A pacer that keeps its rate over time: what a moment without a processor has delayed is made up for, gently."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.pacing import BURST_NS, Pacer

__all__ = ["SteadyPacer"]

CATCH_UP_NS = NS // 4  # What is older is not made up for.
_HASTE_PERCENT = 125  # How much faster than the rate while there is something to make up for.


class SteadyPacer(Pacer):
    """As `Pacer`, but a sender that wakes late goes on at 125 % of the rate until it is where it should be.

    A group has no window and no other clock: what a busy machine makes it miss would be missing in the air time.
    """

    def __init__(self, rate_bps: int, now_ns: int) -> None:
        super().__init__(rate_bps, now_ns)
        self._spaced_ns = now_ns
        self._now_ns = now_ns

    def is_open(self, now_ns: int) -> bool:
        """Whether a train may go now."""
        self._now_ns = now_ns
        self._ready_ns = max(self._ready_ns, now_ns - CATCH_UP_NS)
        self._spaced_ns = max(self._spaced_ns, now_ns - BURST_NS)
        return self.ready_ns <= now_ns

    def charge(self, size: int) -> None:
        """Account for `size` octets that go out now."""
        super().charge(size)
        self._spaced_ns += size * 8 * NS * 100 // (self.rate_bps * _HASTE_PERCENT)

    def change_rate(self, rate_bps: int, now_ns: int) -> None:
        """Go on at another rate; what was missed at the old one is not made up for."""
        super().change_rate(rate_bps, now_ns)
        self._ready_ns = max(self._ready_ns, now_ns - BURST_NS)

    def rest(self, now_ns: int) -> None:
        """Nothing is to be sent: time that passes now is not missed."""
        self._ready_ns = max(self._ready_ns, now_ns - BURST_NS)

    @property
    def ready_ns(self) -> int:
        """When the next train may go."""
        return max(self._ready_ns, self._spaced_ns)
