"""The circuit breaker (RFC 8084): loss so high for so long that sending on can only do harm."""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["END_LOSS", "END_NS", "CircuitBreaker", "end_breaker"]

END_LOSS = 0.5
END_NS = 30 * NS
_END_TOLERANCES = 1.8  # Who tolerates half of all packets lost goes on until nine tenths are.
_SLICE_COUNT = 5
_SLICE_PACKET_COUNT_MIN = 20  # Fewer show nothing.
_SILENCE_PACKET_COUNT = 10  # A silence counts as if so many packets were lost.


class CircuitBreaker:
    """Trips when more than `limit` of the packets was lost in each fifth of `time_ns`, five times in a row.

    In each, not on average: a burst of loss at the beginning does not count against a stream that has given way since.
    No fifth is shorter than a round trip: before that no stream can give way.
    """

    def __init__(self, limit: float, time_ns: int) -> None:
        self.limit = limit
        self.has_tripped = False
        self._slice_ns = time_ns // _SLICE_COUNT
        self._bad_count = 0  # slices in a row
        self._begin_ns: int | None = None  # of this slice
        self._expected = 0
        self._lost = 0

    def note(self, now_ns: int, expected: int, lost: int, round_trip_ns: int = 0) -> None:
        """`lost` of `expected` packets that are newly known of did not arrive."""
        if self._begin_ns is None:
            self._begin_ns = now_ns
        self._expected += expected
        self._lost += lost
        if self._expected < _SLICE_PACKET_COUNT_MIN or now_ns - self._begin_ns < max(self._slice_ns, round_trip_ns):
            return
        self._bad_count = self._bad_count + 1 if self._lost > self.limit * self._expected else 0
        self.has_tripped = self.has_tripped or self._bad_count >= _SLICE_COUNT
        self._begin_ns, self._expected, self._lost = now_ns, 0, 0

    def note_silence(self, now_ns: int) -> None:
        """Nothing was heard of what is under way."""
        self.note(now_ns, _SILENCE_PACKET_COUNT, _SILENCE_PACKET_COUNT)

    def reset(self) -> None:
        """Begin anew."""
        self.has_tripped = False
        self._bad_count = self._expected = self._lost = 0
        self._begin_ns = None


def end_breaker(tolerance: float) -> CircuitBreaker:
    """The one that ends a session which is meant to bear `tolerance`."""
    return CircuitBreaker(max(END_LOSS, _END_TOLERANCES * tolerance), END_NS)
