"""When the next packets may go: a pacer in integer nanoseconds."""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["BURST_NS", "CATCH_UP_NS", "PAIR_NS", "Pacer", "SteadyPacer"]

PAIR_NS = 4_000_000  # Where packets are further apart than half of this, each goes alone.
BURST_NS = 1_000_000  # No train is longer than 1 ms of the rate, and a late sender catches up no more than that.
CATCH_UP_NS = NS // 4  # What is older is not made up for.
_HASTE_PERCENT = 125  # How much faster than the rate while there is something to make up for.


class Pacer:
    """Paces trains of packets at `rate_bps` (bits per second): a train may go when the last one's time is over.

    A sender that wakes late catches up, but only by BURST_NS: after a pause there is no burst.
    """

    def __init__(self, rate_bps: int, now_ns: int) -> None:
        self.rate_bps = rate_bps
        self.burst_count_min = 1  # packets that may go together however long that takes
        self._ready_ns = now_ns

    def train_packet_count(self, packet_size: int, limit: int) -> int:
        """Packets of `packet_size` octets in one train: at most `limit` and BURST_NS of the rate, at least one.

        `burst_count_min` may go together at any rate, and two while they take no longer than PAIR_NS: half as often
        awake, half the work.
        """
        per_burst = self.rate_bps * BURST_NS // (8 * NS * packet_size)
        pair = min(2, self.rate_bps * PAIR_NS // (8 * NS * packet_size))
        return max(1, min(limit, max(per_burst, pair, self.burst_count_min)))

    def change_rate(self, rate_bps: int, now_ns: int) -> None:
        """Go on at another rate: what is left to wait for shrinks or grows with it."""
        if self._ready_ns > now_ns:
            self._ready_ns = now_ns + (self._ready_ns - now_ns) * self.rate_bps // rate_bps
        self.rate_bps = rate_bps

    def may_send(self, now_ns: int) -> bool:
        """Whether a train may go now."""
        self._ready_ns = max(self._ready_ns, now_ns - BURST_NS)
        return self._ready_ns <= now_ns

    def charge(self, size: int) -> None:
        """Account for `size` octets that go out now."""
        self._ready_ns += size * 8 * NS // self.rate_bps

    def idle(self, now_ns: int) -> None:
        """Nothing is to be sent: time that passes now is not missed."""
        self._ready_ns = max(self._ready_ns, now_ns - BURST_NS)

    @property
    def ready_ns(self) -> int:
        """When the next train may go."""
        return self._ready_ns


class SteadyPacer(Pacer):
    """As `Pacer`, but a sender that wakes late goes on at 125 % of the rate until it is where it should be.

    For streams whose rate somebody chose: a group has no window and no other clock, and what a busy machine makes it
    miss would be missing in the air time.
    """

    def __init__(self, rate_bps: int, now_ns: int) -> None:
        super().__init__(rate_bps, now_ns)
        self._spaced_ns = now_ns

    def may_send(self, now_ns: int) -> bool:
        """Whether a train may go now."""
        self._ready_ns = max(self._ready_ns, now_ns - CATCH_UP_NS)
        self._spaced_ns = max(self._spaced_ns, now_ns - BURST_NS)
        return self.ready_ns <= now_ns

    def charge(self, size: int) -> None:
        """Account for `size` octets that go out now."""
        super().charge(size)
        self._spaced_ns += size * 8 * NS * 100 // (self.rate_bps * _HASTE_PERCENT)

    def change_rate(self, rate_bps: int, now_ns: int) -> None:
        """Go on at another rate; what was missed at the old one is not made up for."""
        if rate_bps != self.rate_bps:
            if self._spaced_ns > now_ns:
                self._spaced_ns = now_ns + (self._spaced_ns - now_ns) * self.rate_bps // rate_bps
            super().change_rate(rate_bps, now_ns)
            self.idle(now_ns)

    @property
    def ready_ns(self) -> int:
        """When the next train may go."""
        return max(self._ready_ns, self._spaced_ns)
