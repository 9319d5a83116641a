"""How long the queue is on the way, as far as round-trip times show."""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["QueueEstimate"]

_WINDOW_NS = 10 * NS  # A shortest round trip is believed for one to two of these.
_NOISE_NS = 1_000_000  # Scheduling and interrupts; less is no queue, ...
_NOISE_SHARE = 64  # ... nor is this part of a long round trip.
_STANDING_NS = 4_000_000
_LONG_NS = 10_000_000


class QueueEstimate:
    """The latest round trip beside the shortest and the longest queue of late."""

    def __init__(self) -> None:
        self.latest_ns = 0
        self._shortest = [0, 0]  # of the running window, and of the one before
        self._peak = [0, 0]
        self._window_ns = 0
        self._now_ns = 0
        self._busy_ns = 0  # when there was a queue last
        self._filled_ns = 0  # when there was one that is no noise, whatever was seen before

    def note(self, rtt_ns: int, now_ns: int) -> None:
        """One measured round trip."""
        if now_ns - self._window_ns >= _WINDOW_NS:
            self._window_ns = now_ns
            self._shortest = [rtt_ns, self._shortest[0]]
            self._peak = [0, self._peak[0]]
        self._shortest[0] = min(self._shortest[0], rtt_ns)
        self.latest_ns = rtt_ns - self.shortest_ns
        self._peak[0] = max(self._peak[0], self.latest_ns)
        self._now_ns = now_ns
        if not self.is_short:
            self._busy_ns = now_ns
        if self.latest_ns > max(_NOISE_NS, self.shortest_ns // 8):
            self._filled_ns = now_ns

    def forget(self) -> None:
        """The way has changed: what was the shortest round trip is not to be had any more."""
        self._shortest = [self.latest_ns + self.shortest_ns, 0]
        self._peak = [0, 0]
        self.latest_ns = 0

    @property
    def is_standing(self) -> bool:
        """Whether a stream that starts has filled the way (HyStart++, RFC 9406)."""
        return self.latest_ns > max(_STANDING_NS, self.shortest_ns // 8)

    @property
    def is_too_long(self) -> bool:
        """Whether a stream that cannot recognise congestion by loss should back off."""
        return self.latest_ns > max(_LONG_NS, self.shortest_ns // 2)

    @property
    def shortest_ns(self) -> int:
        """The round trip without a queue."""
        return min(self._shortest) if all(self._shortest) else max(self._shortest)

    @property
    def calm_ns(self) -> int:
        """For how long the queue has been short."""
        return self._now_ns - self._busy_ns

    @property
    def clear_ns(self) -> int:
        """For how long the queue has been below an eighth of the round trip: nothing is lost by congestion there."""
        return self._now_ns - self._filled_ns

    @property
    def is_short(self) -> bool:
        """Whether there is hardly a queue: below a quarter of what was seen, and an eighth of the round trip."""
        return self.latest_ns <= max(self._noise_ns, min(max(self._peak) // 4, self.shortest_ns // 8))

    @property
    def is_long(self) -> bool:
        """Whether the queue is more than noise, and above half of what was seen."""
        return self.latest_ns > max(self._noise_ns, max(self._peak) // 2)

    @property
    def _noise_ns(self) -> int:
        return max(_NOISE_NS, self.shortest_ns // _NOISE_SHARE)
