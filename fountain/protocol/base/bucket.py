"""A token bucket: what may pass at once, and how often from then on."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """Lets `burst_count` pass at once, and one more each `interval_ns`.

    It is kept as the virtual time at which all that was admitted is over.
    """

    def __init__(self, interval_ns: int, burst_count: int) -> None:
        self._interval_ns = interval_ns
        self._room_ns = interval_ns * burst_count
        self._finish_ns = 0

    def admit(self, now_ns: int, count: int = 1) -> bool:
        """Whether `count` more may pass now; they are counted if they may."""
        finish_ns = max(self._finish_ns, now_ns) + self._interval_ns * count
        if finish_ns - now_ns > self._room_ns:
            return False
        self._finish_ns = finish_ns
        return True
