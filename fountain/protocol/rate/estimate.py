"""What a sender learns from reports: round-trip time (RFC 6298) and loss, of one peer and of receivers of a group."""

from __future__ import annotations

__all__ = ["LATE_MARGIN", "LATE_MAX_NS", "LossEstimate", "RttEstimate", "echoed_rtt_us"]

LATE_MARGIN = 1.25  # A receiver waits for late packets this times the longest that a packet was late of late, ...
LATE_MAX_NS = 50_000_000  # ... up to a round trip or this: what comes later is no use to a controller.
_LOSS_WINDOW_COUNT = 2_000  # packets over which the loss is averaged: about two blocks
_REORDER_NS = 20_000_000  # A report that comes so much later than a packet's round trip would have counted the packet.
_WORD = 0xFFFF_FFFF
RTT_INITIAL_NS = 200_000_000  # before the first report; a stream's first report comes within one round trip


def echoed_rtt_us(echo_timestamp_us: int, hold_us: int, now_ns: int) -> int:
    """The round trip by the echo in a report that comes now, in microseconds.

    `echo_timestamp_us` is the sender's own time on the packet that is echoed, modulo 2^32, and `hold_us` the time for
    which the receiver kept it. Below zero: the two contradict each other, and there is no round trip.
    """
    return ((now_ns // 1_000 - echo_timestamp_us) & _WORD) - hold_us


class RttEstimate:
    """Smoothed round-trip time and its variation, in nanoseconds (RFC 6298 section 2)."""

    def __init__(self) -> None:
        self.smoothed_ns = 0
        self.minimum_ns = 0  # the shortest ever; 0 while unknown
        self._variation_ns = 0

    def sample(self, rtt_ns: int) -> None:
        """Take one measurement into account."""
        rtt_ns = max(rtt_ns, 1_000)
        self.minimum_ns = min(self.minimum_ns or rtt_ns, rtt_ns)
        if not self.smoothed_ns:
            self.smoothed_ns, self._variation_ns = rtt_ns, rtt_ns // 2
            return
        self._variation_ns += (abs(self.smoothed_ns - rtt_ns) - self._variation_ns) // 4
        self.smoothed_ns += (rtt_ns - self.smoothed_ns) // 8

    @property
    def upper_ns(self) -> int:
        """A time within which an answer is nearly certain to have come: smoothed + 4 variations."""
        return self.smoothed_ns + 4 * self._variation_ns if self.smoothed_ns else RTT_INITIAL_NS

    def counted_ns(self, now_ns: int) -> int:
        """Packets that went before this time have arrived or are lost: a report that comes now has counted them."""
        return now_ns - self.upper_ns - _REORDER_NS


class LossEstimate:
    """Fraction of data packets that do not arrive, averaged over about two blocks."""

    def __init__(self) -> None:
        self._average = 0.0  # below 0 for a while when late packets come that were taken for lost
        self._weight = 0.0

    @property
    def fraction(self) -> float:
        """The estimate, from 0 to 1."""
        return max(0.0, self._average)

    def sample(self, expected_count: int, received_count: int) -> None:
        """`received_count` of `expected_count` newly expected packets arrived (late ones may make it more)."""
        if expected_count <= 0:
            return
        share = 1.0 - max(0, received_count) / expected_count
        self._weight = min(self._weight + expected_count, _LOSS_WINDOW_COUNT)
        self._average += (share - self._average) * min(1.0, expected_count / self._weight)
        self._average = max(-1.0, self._average)  # Nobody's counts outweigh what comes after them for long.
